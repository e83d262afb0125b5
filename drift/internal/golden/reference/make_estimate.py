"""Golden values of drift/estimate: scikit-learn's isotonic regression, NannyML's CBPE and DLE.

NannyML sorts scores by numpy's unstable argsort, whose order of ties depends on the
processor. Its modules get a numpy here whose argsort is stable, so that the values are the
same everywhere; "plain" is the decision on calibration without that.
"""

import logging
import os
import warnings

os.environ["NML_DISABLE_USAGE_LOGGING"] = "1"
warnings.filterwarnings("ignore")
logging.disable(logging.CRITICAL)

import lightgbm
import nannyml as nml
import numpy as np
import pandas as pd
from nannyml import calibration
from nannyml.performance_estimation.confidence_based import metrics as cbpe_metrics
from nannyml.performance_estimation.direct_loss_estimation import metrics as dle_metrics
from nannyml.sampling_error import binary_classification, multiclass_classification
from sklearn.isotonic import IsotonicRegression

import inputs
from inputs import number, values


class StableArray(np.ndarray):
    def argsort(self, *args, **kwargs):
        return np.argsort(np.asarray(self), kind="stable")


class StableNumpy:
    """numpy with a stable argsort, as a function and as a method of asarray's results."""

    def __getattr__(self, name):
        return getattr(np, name)

    @staticmethod
    def argsort(a):
        return np.argsort(np.asarray(a), kind="stable")

    @staticmethod
    def asarray(a, *args, **kwargs):
        return np.asarray(a, *args, **kwargs).view(StableArray)


def stable(on):
    for module in (calibration, cbpe_metrics, binary_classification, multiclass_classification):
        module.np = StableNumpy() if on else np


# --- isotonic regression -------------------------------------------------------------------

U = {"kind": "uniform"}
ISOTONIC = [
    # x, y, weights (or None)
    ({**U, "n": n, "seed": 10 + n}, {"kind": "int", "n": n, "seed": 20 + n, "levels": 2}, None)
    for n in (1, 2, 3, 10, 100, 1000, 100000, 1000000)
] + [
    ({**U, "n": 500, "seed": 1}, {"kind": "normal", "n": 500, "seed": 2}, {**U, "n": 500, "seed": 3}),
    ({**U, "n": 500, "seed": 4, "quantum": 0.0625}, {"kind": "normal", "n": 500, "seed": 5}, None),
    ({**U, "n": 500, "seed": 4, "quantum": 0.0625}, {"kind": "normal", "n": 500, "seed": 5},
     {"kind": "int", "n": 500, "seed": 6, "levels": 3}),
    ({**U, "n": 500, "seed": 4, "quantum": 0.0625}, {"kind": "heavy", "n": 500, "seed": 5},
     {"kind": "heavy", "n": 500, "seed": 6}),
    ({"kind": "normal", "n": 2000, "seed": 7, "scale": 1e6}, {"kind": "normal", "n": 2000, "seed": 8, "scale": 1e-300}, None),
    ({"kind": "normal", "n": 2000, "seed": 7, "shift": 1e9}, {"kind": "normal", "n": 2000, "seed": 8, "scale": 1e290}, None),
    ({"kind": "normal", "n": 2000, "seed": 7, "scale": 1e-14}, {"kind": "normal", "n": 2000, "seed": 8}, None),
    ({"kind": "normal", "n": 50, "seed": 7, "scale": 1e-300}, {"kind": "normal", "n": 50, "seed": 8}, None),
    ({"kind": "const", "n": 20, "value": 0.5}, {"kind": "normal", "n": 20, "seed": 9}, None),
    ({**U, "n": 20, "seed": 9}, {"kind": "const", "n": 20, "value": 0.5}, None),
    ({"kind": "list", "values": [1, 2, 3, 4, 5, 6]}, {"kind": "list", "values": [6, 5, 4, 3, 2, 1]}, None),
    ({"kind": "list", "values": [1, 2, 3, 4, 5, 6]}, {"kind": "list", "values": [1, 2, 3, 4, 5, 6]}, None),
    ({"kind": "list", "values": [1, 2, 3, 4, 5, 6]}, {"kind": "list", "values": [1, 3, 2, 4, 3, 5]},
     {"kind": "list", "values": [1, 2, 0, 4, 1e-9, 1e9]}),
    ({"kind": "heavy", "n": 3000, "seed": 11}, {"kind": "heavy", "n": 3000, "seed": 11, "shift": -5}, None),
    ({**U, "n": 3000, "seed": 12}, {**U, "n": 3000, "seed": 12}, None),
    ({**U, "n": 3000, "seed": 12}, {**U, "n": 3000, "seed": 12, "scale": -1}, None),
]


def isotonic_case(x, y, w):
    xs, ys = values(x), values(y)
    ws = None if w is None else values(w)
    f = IsotonicRegression(out_of_bounds="clip", increasing=True).fit(xs, ys, ws)
    lo, hi = xs.min(), xs.max()
    at = [lo - 1, lo, hi, hi + 1] + [lo + (hi - lo) * k / 11 for k in range(1, 11)]
    at += [xs[len(xs) // 3], xs[len(xs) // 2]]
    return {"part": "isotonic", "x": x, "y": y, "w": w, "points": len(f.X_thresholds_),
            "at": [number(v) for v in at], "want": [number(v) for v in f.predict(at)]}


# --- CBPE ----------------------------------------------------------------------------------
# A row's target is 1 when a uniform number is below a*s*s + b*s + c, s its score.

def binary_frame(d):
    s = np.clip(values(d["scores"]), 0.0, 1.0)
    u = values({"kind": "uniform", "n": len(s), "seed": d["seed"]})
    y = (u < (d["a"] * s) * s + d["b"] * s + d["c"]).astype(int)
    frame = pd.DataFrame({"s": s, "p": (s >= d["cut"]).astype(int), "y": y})
    if d.get("unknown"):
        frame["y"] = frame["y"].astype(float)
        frame.loc[d["unknown"] - 1 :: d["unknown"], "y"] = np.nan
    return frame


FIGURES = ["value", "sampling_error", "lower_confidence_boundary", "upper_confidence_boundary",
           "realized", "lower_threshold", "upper_threshold", "alert"]


def figures(result, metric):
    """One row a chunk, in the order of FIGURES. Bounds without a sampling error are none:
    DLE's lower one is then 0, which Python's max makes of 0 and NaN."""
    out = []
    for i in range(len(result.data)):
        row = dict(result.data.iloc[i][metric])
        if np.isnan(row["sampling_error"]):
            row["lower_confidence_boundary"] = row["upper_confidence_boundary"] = None
        out.append([number(float("nan") if row[f] is None else row[f]) for f in FIGURES])
    return out


def data(n, seed, a=0.0, b=1.0, c=0.0, cut=0.5, **scores):
    return {"scores": {"kind": "uniform", "n": n, "seed": seed, **scores},
            "seed": seed + 1000, "a": a, "b": b, "c": c, "cut": cut}


BINARY = [
    # reference, analysis, chunk size
    (data(5000, 1), data(2000, 2), 500),
    (data(5000, 3, a=1, b=0), data(2000, 4, a=1, b=0, scale=0.5), 500),
    (data(5000, 5, a=-1, b=2), data(2000, 6, a=-1, b=2, scale=0.5, shift=0.5), 700),
    (data(3000, 7, a=1, b=0, quantum=0.05), data(1000, 8, a=1, b=0, quantum=0.05), 300),
    (data(3000, 9, b=0.05, c=0.01, cut=0.9), data(900, 10, b=0.05, c=0.01, cut=0.9), 300),
    (data(3000, 11, b=0.3, c=0.7, cut=0.1), data(900, 12, b=0.3, c=0.7, cut=0.1), 300),
    (data(40, 13), data(30, 14), 10),
    (data(2000, 15, b=0, c=0.5), data(500, 16, b=0, c=0.5), 100),
    (data(2000, 17, b=1e9, c=-5e8), data(500, 18, b=1e9, c=-5e8), 100),  # separable
    (data(2000, 19, cut=2), data(500, 20, cut=2), 100),  # nothing predicted positive
    (data(2000, 21, cut=-1), data(500, 22, cut=0.99), 100),  # all predicted positive
    (data(2000, 23, kind="normal", scale=0.1, shift=0.5, a=2, b=-1, c=0.2), {**data(600, 24), "unknown": 3}, 200),
    (data(2000, 25, kind="int", levels=2), data(500, 26, kind="int", levels=2), 100),  # scores 0 and 1
    (data(60000, 27, a=1, b=0), data(30000, 28, a=1, b=0), 15000),
    (data(1001, 29, a=1, b=0), data(77, 30, a=1, b=0), 200),
    (data(500, 31, b=0, c=2), data(100, 32, b=0, c=2), 100),  # one class
]


def decide(y, s):
    """Whether NannyML calibrates, and the errors that decide."""
    errors = []
    inner = calibration._calculate_expected_calibration_error

    def spy(*args):
        errors.append(float(inner(*args)))
        return errors[-1]

    calibration._calculate_expected_calibration_error = spy
    try:
        needed = calibration.needs_calibration(y, s, calibration.IsotonicCalibrator())
    finally:
        calibration._calculate_expected_calibration_error = inner
    return bool(needed), errors


def calibration_case(k):
    """Scores that are calibrated as they are, so that chance decides: the hardest to agree on."""
    side = data(300 + 10 * k, 50000 + k)
    f = binary_frame(side)
    stable(False)
    plain, _ = decide(f["y"], f["s"])
    stable(True)
    needed, errors = decide(f["y"], f["s"])
    return {"part": "calibration", "reference": side, "plain": plain, "needed": needed, "errors": errors}


BINARY_METRICS = ["roc_auc", "f1", "precision", "recall", "specificity", "accuracy"]


def binary_case(reference, analysis, size):
    ref, ana = binary_frame(reference), binary_frame(analysis)
    stable(False)
    plain, _ = decide(ref["y"], ref["s"])
    stable(True)
    needed, errors = decide(ref["y"], ref["s"])
    est = nml.CBPE(metrics=BINARY_METRICS, y_pred_proba="s", y_pred="p", y_true="y",
                   problem_type="classification_binary", chunk_size=size)
    est.fit(ref)
    result = est.estimate(ana)
    return {"part": "binary", "reference": reference, "analysis": analysis, "size": size,
            "plain": plain, "needed": needed, "errors": errors,
            "positives": [int(ref["y"].sum()), int(ana["y"].sum())],
            "want": {m: figures(result, m) for m in BINARY_METRICS}}


# --- CBPE, multiclass ----------------------------------------------------------------------
# Scores are uniform numbers to a power, scaled to add up to 1; the target is the first class
# up to which the probabilities, mixed with the uniform ones by "mix", exceed a uniform number.

def multiclass_frame(d):
    n, k = d["n"], d["classes"]
    raw = [values({"kind": "uniform", "n": n, "seed": d["seed"] + j, "quantum": d.get("quantum", 0)}) for j in range(k)]
    raw = [r * r * (1.0 if j else d.get("first", 1.0)) + 0.001 for j, r in enumerate(raw)]
    total = raw[0]
    for r in raw[1:]:
        total = total + r
    scores = [r / total for r in raw]
    u = values({"kind": "uniform", "n": n, "seed": d["seed"] + 100})
    target = np.full(n, k - 1)
    best = np.zeros(n, dtype=int)
    reached = np.zeros(n)
    done = np.zeros(n, dtype=bool)
    for j in range(k):
        reached = reached + (scores[j] * d["mix"] + (1.0 - d["mix"]) / k)
        target = np.where(~done & (u < reached), j, target)
        done = done | (u < reached)
        if j > 0:
            best = np.where(scores[j] > np.choose(best, scores), j, best)
    frame = pd.DataFrame({"s%d" % j: scores[j] for j in range(k)})
    frame["p"] = np.minimum(best, d.get("top", k))
    frame["y"] = target
    if d.get("unknown"):
        frame["y"] = frame["y"].astype(float)
        frame.loc[d["unknown"] - 1 :: d["unknown"], "y"] = np.nan
    return frame


def mdata(n, seed, classes=3, mix=0.8, **more):
    return {"n": n, "seed": seed, "classes": classes, "mix": mix, **more}


MULTICLASS = [
    (mdata(5000, 1000), mdata(2000, 2000), 500),
    (mdata(5000, 3000, classes=5, mix=0.5), mdata(1500, 4000, classes=5, mix=0.5), 500),
    (mdata(3000, 5000, mix=1.0), mdata(900, 6000, mix=1.0, first=3.0), 300),
    (mdata(3000, 7000, quantum=0.1), mdata(900, 8000, quantum=0.1), 300),
    (mdata(3000, 9000, top=1), mdata(900, 10000, top=0), 300),  # a class, then two, never predicted
    (mdata(60, 11000), mdata(40, 12000), 12),
    (mdata(2000, 13000, mix=0.0), mdata(700, 14000, mix=0.0, unknown=2), 200),
    (mdata(4000, 15000, classes=10), mdata(1000, 16000, classes=10), 1000),
    (mdata(2000, 17000, mix=0.9, first=0.05), mdata(600, 18000, mix=0.9, first=0.05), 50),
]


def multiclass_case(reference, analysis, size):
    ref, ana = multiclass_frame(reference), multiclass_frame(analysis)
    k = reference["classes"]
    stable(True)
    needed = [decide((ref["y"] == j).astype(int).to_numpy(), ref["s%d" % j].to_numpy())[0] for j in range(k)]
    est = nml.CBPE(metrics=BINARY_METRICS, y_pred_proba={j: "s%d" % j for j in range(k)}, y_pred="p", y_true="y",
                   problem_type="classification_multiclass", chunk_size=size)
    est.fit(ref)
    result = est.estimate(ana)
    return {"part": "multiclass", "reference": reference, "analysis": analysis, "size": size,
            "needed": needed, "sums": [int(ref["y"].sum()), int(ref["p"].sum())],
            "want": {m: figures(result, m) for m in BINARY_METRICS}}



# --- DLE -----------------------------------------------------------------------------------
# Features a (uniform, missing in every 17th row of "missing"), b (normal) and c (categories);
# the prediction is shift + 3*a2 + b*slope (a2 is a without the missing), and the target that
# plus a normal error, wider where a2 is greater and by category.

WIDTH = [0.2, 1.0, 0.5, 2.0, 0.1, 0.7]


def regression_frame(d):
    n, seed = d["n"], d["seed"]
    a2 = values({"kind": "uniform", "n": n, "seed": seed, "scale": d.get("scale", 1.0), "shift": d.get("move", 0.0)})
    b = values({"kind": "normal", "n": n, "seed": seed + 1})
    c = values({"kind": "int", "n": n, "seed": seed + 2, "levels": d.get("levels", 6)}).astype(int)
    e = values({"kind": "normal", "n": n, "seed": seed + 3})
    pred = d.get("shift", 0.0) + 3.0 * a2 + b * d.get("slope", 0.5)
    y = pred + (e * (a2 * a2 + 0.1)) * np.array(WIDTH)[c] * d.get("noise", 1.0)
    if d.get("quantum"):
        pred, y = np.floor(pred / d["quantum"]) * d["quantum"], np.floor(y / d["quantum"]) * d["quantum"]
    a = a2.copy()
    if d.get("missing"):
        a[16::17] = np.nan
    frame = pd.DataFrame({"a": a, "b": b, "c": pd.Series(["c%d" % v for v in c], dtype="object"), "p": pred, "y": y})
    if d.get("unknown"):
        frame.loc[d["unknown"] - 1 :: d["unknown"], "y"] = np.nan
    return frame


REGRESSION_METRICS = ["mae", "mape", "mse", "rmse", "msle", "rmsle"]


class Stub:
    """A nanny that expects 0.3*b + 0.02*p + 0.1: negative for some rows."""

    def predict(self, X):
        return X["b"].to_numpy() * 0.3 + X["p"].to_numpy() * 0.02 + 0.1


def rdata(n, seed, **more):
    return {"n": n, "seed": seed, **more}


LOGS = REGRESSION_METRICS
NO_LOGS = REGRESSION_METRICS[:4]
REGRESSION = [
    # reference, analysis, chunk size, metrics
    (rdata(3000, 1, shift=9), rdata(1000, 11, shift=9), 300, LOGS),
    (rdata(3000, 21), rdata(1000, 31), 500, NO_LOGS),  # negative targets
    (rdata(1000, 41, shift=50, noise=1e-3, unknown=3), rdata(500, 51, shift=50, noise=1e-3, unknown=2), 77, LOGS),
    (rdata(1000, 61, shift=1e6, slope=1e5), rdata(500, 71, shift=1e6, slope=1e5, unknown=1), 100, LOGS),
    (rdata(40, 81, shift=9), rdata(7, 91, shift=9), 7, LOGS),
    (rdata(1000, 101, shift=20, quantum=1), rdata(300, 111, shift=20, quantum=1), 100, LOGS),
    (rdata(1000, 121, shift=20, noise=0), rdata(300, 131, shift=20), 100, LOGS),  # no error at all
    (rdata(60000, 141, shift=9), rdata(30000, 151, shift=9), 15000, LOGS),
    (rdata(1000, 161, slope=0, quantum=1), rdata(300, 171, slope=0, quantum=1), 100, NO_LOGS),  # targets of 0
]


def dle(ref, ana, size, metrics):
    lightgbm.register_logger(logging.getLogger("lightgbm"))
    est = nml.DLE(feature_column_names=["a", "b", "c"], y_pred="p", y_true="y", metrics=metrics, chunk_size=size)
    est.fit(ref)
    result = est.estimate(ana)
    return {m: figures(result, m) for m in metrics}


def regression_case(reference, analysis, size, metrics):
    ref, ana = regression_frame(reference), regression_frame(analysis)
    train = dle_metrics.Metric._train_direct_error_estimation_model
    dle_metrics.Metric._train_direct_error_estimation_model = lambda self, *args, **kwargs: Stub()
    try:
        want = dle(ref, ana, size, metrics)
    finally:
        dle_metrics.Metric._train_direct_error_estimation_model = train
    return {"part": "regression", "reference": reference, "analysis": analysis, "size": size, "metrics": metrics,
            "sums": [number(ref["y"].sum()), number(ana["p"].sum())], "want": want}


# What NannyML estimates with its own nanny, for ours to be compared with.
NANNY = [
    (rdata(3000, 1001, shift=9, missing=True), rdata(2000, 2001, shift=9, missing=True), 500, LOGS),
    (rdata(3000, 3001, shift=9), rdata(2000, 4001, shift=9, scale=0.5, move=0.5), 500, ["mae", "rmse"]),
    (rdata(3000, 5001, shift=9, missing=True), rdata(2000, 6001, shift=9, levels=3, missing=True), 500, ["mae", "rmse"]),
    (rdata(3000, 7001, shift=20, slope=3.0), rdata(2000, 8001, shift=20, slope=3.0, scale=0.3), 500, ["mae", "rmse"]),
    (rdata(2000, 9001, shift=9), rdata(2000, 9101, shift=9, scale=0.5, move=0.5), 500, LOGS),
]


def nanny_case(reference, analysis, size, metrics):
    want = dle(regression_frame(reference), regression_frame(analysis), size, metrics)
    return {"part": "nanny", "reference": reference, "analysis": analysis, "size": size, "metrics": metrics, "want": want}



def main():
    cases = [isotonic_case(*c) for c in ISOTONIC]
    cases += [calibration_case(k) for k in range(150)]
    cases += [binary_case(*c) for c in BINARY]
    cases += [multiclass_case(*c) for c in MULTICLASS]
    cases += [regression_case(*c) for c in REGRESSION]
    cases += [nanny_case(*c) for c in NANNY]
    inputs.write("drift/estimate/testdata/golden_estimate.json", cases)


if __name__ == "__main__":
    main()
