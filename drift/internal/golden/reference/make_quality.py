"""Golden values of drift/quality from scikit-learn, SciPy, statsmodels and River.

A case holds specs of its inputs (see inputs.py) and its figures by name; "nan" stands for
a figure that the reference does not define (it raises, or answers NaN). Inputs:

  confusion    labels = truth; predictions = truth where noise < keep, else guess
  multilabel   a column a label: truth[l] < share; predictions flipped where noise[l] >= keep;
               scores[l] = score[l] + shift where the label is set
  ranking      positive = truth < share; score + shift where positive
  binary       positive = truth < share; p = 0.5*u + 0.5*positive*v
  multiclass   p_c = (u_c + boost where c is the label) / sum over classes
  regression   prediction = target + error
  delong       as ranking; b has a noise spec added to the scores of a
  bca          columns of rows, and the indices that every resample draws
"""

import decimal
import math
import warnings

import inputs
import numpy as np
import sklearn.metrics as m
from river import metrics as river_metrics
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

warnings.simplefilter("ignore")
SEED = 0


def seed():
    global SEED
    SEED += 1
    return SEED


def integers(n, k):
    return {"kind": "int", "n": n, "seed": seed(), "levels": k}


def uniform(n):
    return {"kind": "uniform", "n": n, "seed": seed()}


def normal(n, **more):
    return {"kind": "normal", "n": n, "seed": seed(), **more}


def const(n, value):
    return {"kind": "const", "n": n, "value": value}


def figure(f, *args, **kw):
    """The figure, or NaN where the reference raises."""
    try:
        v = f(*args, **kw)
    except ValueError:
        v = math.nan
    return [inputs.number(x) for x in v] if np.ndim(v) else inputs.number(v)


ZERO = {"0": 0, "1": 1, "nan": np.nan}


def prf(want, y, p, w, averages, labels=None):
    for average in averages:
        for name, z in ZERO.items():
            kw = {"average": None if average == "class" else average, "zero_division": z, "sample_weight": w}
            if labels is not None:
                kw["labels"] = labels
            key = f"{average}/{name}" + ("/labels" if labels is not None else "")
            want["precision/" + key] = figure(m.precision_score, y, p, **kw)
            want["recall/" + key] = figure(m.recall_score, y, p, **kw)
            for beta in (0.5, 1, 2):
                want[f"fbeta{beta}/" + key] = figure(m.fbeta_score, y, p, beta=beta, **kw)


def confusion(k, truth, noise, guess, keep, weights=None, labels=None):
    y, g = inputs.values(truth).astype(int), inputs.values(guess).astype(int)
    p = np.where(inputs.values(noise) < keep, y, g)
    w = None if weights is None else inputs.values(weights)
    want = {"accuracy": figure(m.accuracy_score, y, p, sample_weight=w),
            "balanced_accuracy": figure(m.balanced_accuracy_score, y, p, sample_weight=w),
            "matthews": figure(m.matthews_corrcoef, y, p, sample_weight=w)}
    every = list(range(k))
    for name in (None, "linear", "quadratic"):
        want[f"kappa/{name or ''}"] = figure(m.cohen_kappa_score, y, p, labels=every, weights=name, sample_weight=w)
    if k <= 4:
        for by in (None, "true", "pred", "all"):
            cells = m.confusion_matrix(y, p, labels=every, normalize=by, sample_weight=w)
            want[f"matrix/{by or ''}"] = [inputs.number(v) for v in cells.ravel()]
    prf(want, y, p, w, ["micro", "macro", "weighted", "class"])
    if labels:
        prf(want, y, p, w, ["micro", "macro", "weighted", "class"], labels)
    if len(set(y) | set(p)) == 2 and set(y) | set(p) == {0, 1}:
        for positive in (0, 1):
            for name, z in ZERO.items():
                key = f"binary{positive}/{name}"
                kw = {"pos_label": positive, "zero_division": z, "sample_weight": w}
                want["precision/" + key] = figure(m.precision_score, y, p, **kw)
                want["recall/" + key] = figure(m.recall_score, y, p, **kw)
                want["fbeta1/" + key] = figure(m.f1_score, y, p, **kw)
    return {"family": "confusion", "k": k, "truth": [truth], "noise": [noise], "guess": guess, "keep": keep,
            "weights": weights, "labels": labels, "want": want}


def confusions():
    for n, k, keep in ((4, 2, 0.5), (20, 2, 0.7), (1000, 2, 0.9), (100_000, 2, 0.2),
                       (30, 3, 0.5), (1000, 3, 0.6), (1000, 12, 0.8), (50_000, 4, 0.95)):
        yield confusion(k, integers(n, k), uniform(n), integers(n, k), keep, labels=[k - 1, 0] if k > 2 else None)
        yield confusion(k, integers(n, k), uniform(n), integers(n, k), keep, {**uniform(n), "shift": 0.01})
    # Repeated rows, a rare class that is never predicted, one that is never true.
    yield confusion(2, integers(500, 2), uniform(500), integers(500, 2), 0.6, {**integers(500, 4), "shift": 1})
    yield confusion(4, integers(300, 4), uniform(300), const(300, 1), 0.0)
    yield confusion(4, const(300, 2), uniform(300), integers(300, 4), 0.1)
    yield confusion(3, const(10, 1), uniform(10), const(10, 1), 1)
    yield confusion(2, const(10, 0), uniform(10), const(10, 1), 0)
    yield confusion(2, integers(50, 2), uniform(50), const(50, 0), 0)
    yield confusion(2, integers(50, 2), uniform(50), const(50, 0), 1)
    yield confusion(3, {"kind": "list", "values": [0, 1, 2, 2]}, const(4, 0), integers(4, 3), 1)
    yield confusion(3, {"kind": "list", "values": [0, 0, 1, 1]}, const(4, 1), {"kind": "list", "values": [1, 1, 0, 0]}, 0)


def averaged(want, prefix, f, y, s, w, averages):
    for average in averages:
        want[f"{prefix}/{average}"] = figure(f, y, s, average=average, sample_weight=w)


def multilabel(k, n, share, keep, shift, weights=None, quantum=None):
    truth, noise = [uniform(n) for _ in range(k)], [uniform(n) for _ in range(k)]
    score = [normal(n, **({"quantum": quantum} if quantum else {})) for _ in range(k)]
    y = np.column_stack([inputs.values(t) < share for t in truth]).astype(int)
    flip = np.column_stack([inputs.values(u) >= keep for u in noise])
    p = np.where(flip, 1 - y, y)
    s = np.column_stack([inputs.values(c) for c in score]) + shift * y
    w = None if weights is None else inputs.values(weights)
    want = {"accuracy": figure(m.accuracy_score, y, p, sample_weight=w)}
    prf(want, y, p, w, ["micro", "macro", "weighted", "samples", "class"])
    averages = ["micro", "macro", "weighted"] + (["samples"] if not (y.all(axis=1) | ~y.any(axis=1)).any() else [])
    averaged(want, "roc_auc", m.roc_auc_score, y, s, w, averages)
    averaged(want, "average_precision", m.average_precision_score, y, s, w, averages)
    return {"family": "multilabel", "k": k, "truth": truth, "noise": noise, "score": score, "share": share,
            "keep": keep, "shift": shift, "weights": weights, "want": want}


def multilabels():
    yield multilabel(3, 500, 0.4, 0.8, 1.0)
    yield multilabel(3, 500, 0.4, 0.8, 1.0, {**uniform(500), "shift": 0.1}, 0.25)
    yield multilabel(6, 2000, 0.2, 0.9, 0.5)
    yield multilabel(8, 300, 0.5, 0.6, 0.0, integers(300, 3))
    yield multilabel(6, 40, 0.5, 0.6, 0.0, None, 0.5)


def rankingInput(n, share, shift, score):
    truth = uniform(n)
    y = (inputs.values(truth) < share).astype(int)
    return truth, y, inputs.values(score) + shift * y


def ranking(n, share, shift, score, weights=None):
    truth, y, s = rankingInput(n, share, shift, score)
    w = None if weights is None else inputs.values(weights)
    want = {"roc_auc": figure(m.roc_auc_score, y, s, sample_weight=w)}
    if y.any():
        precision, recall, _ = m.precision_recall_curve(y, s, sample_weight=w)
        want["average_precision"] = figure(m.average_precision_score, y, s, sample_weight=w)
        want["pr_auc"] = figure(m.auc, recall, precision)
        _, fp, _, tp, _ = m.confusion_matrix_at_thresholds(y, s, sample_weight=w)
        pick = np.unique(np.linspace(0, len(tp) - 1, 12).astype(int))
        share_, gain = ((fp + tp) / (fp[-1] + tp[-1]))[pick], (tp / tp[-1])[pick]
        want["gain/index"] = pick.tolist()
        want["gain/share"], want["gain/gain"] = [inputs.number(v) for v in share_], [inputs.number(v) for v in gain]
        want["gain/lift"] = [inputs.number(v) for v in gain / share_]
        x, g = np.concatenate([[0], (fp + tp) / (fp[-1] + tp[-1])]), np.concatenate([[0], tp / tp[-1]])
        want["gain/at"] = [inputs.number(np.interp(q, x, g)) for q in (0.05, 0.1, 0.5, 1)]
    if y.any() and not y.all():
        fpr, tpr, _ = m.roc_curve(y, s, sample_weight=w, drop_intermediate=False)
        pick = np.unique(np.linspace(0, len(tpr) - 1, 12).astype(int))
        want["roc/index"] = pick.tolist()
        want["roc/fpr"], want["roc/tpr"] = ([inputs.number(v) for v in fpr[pick]], [inputs.number(v) for v in tpr[pick]])
    return {"family": "ranking", "truth": [truth], "score": [score], "share": share, "shift": shift,
            "weights": weights, "want": want}


def rankings():
    for n, share, shift, quantum in ((2, 0.5, 1, None), (5, 0.5, 0, None), (40, 0.5, 1, 0.5), (40, 0.1, 0.5, None),
                                     (1000, 0.3, 1, None), (1000, 0.01, 2, 0.125), (100_000, 0.2, 0.7, None),
                                     (1_000_000, 0.2, 0.7, 0.015625)):
        more = {"quantum": quantum} if quantum else {}
        yield ranking(n, share, shift, normal(n, **more))
        if n >= 40:
            yield ranking(n, share, shift, normal(n, **more), {**uniform(n), "shift": 0.001})
    yield ranking(300, 0.4, 0.5, normal(300, quantum=0.25), integers(300, 3))
    yield ranking(50, 0, 0, normal(50))
    yield ranking(50, 1, 0, normal(50))
    yield ranking(50, 0.5, 0, const(50, 3))
    yield ranking(50, 0.5, 100, normal(50))
    yield ranking(50, 0.5, -100, normal(50))
    yield ranking(200, 0.5, 0, {"kind": "heavy", "n": 200, "seed": seed(), "scale": 1e290})
    yield ranking(200, 0.5, 0, normal(200, scale=1e-300))


def ece(y, p, w, bins):
    """Expected calibration error: bins as sklearn.calibration.calibration_curve."""
    ids = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], p)
    observed = np.bincount(ids, weights=w * y, minlength=bins)
    predicted = np.bincount(ids, weights=w * p, minlength=bins)
    return np.abs(observed - predicted).sum() / w.sum()


def binary(n, share, bins, u=None, v=None, weights=None):
    truth, u, v = uniform(n), u or uniform(n), v or uniform(n)
    y = (inputs.values(truth) < share).astype(int)
    p = 0.5 * inputs.values(u) + 0.5 * y * inputs.values(v)
    w = None if weights is None else inputs.values(weights)
    want = {"log_loss": figure(m.log_loss, y, p, labels=[0, 1], sample_weight=w),
            "brier": inputs.number(m.brier_score_loss(y, p, sample_weight=w, pos_label=1)),
            "ece": inputs.number(ece(y, p, np.ones(n) if w is None else w, bins))}
    return {"family": "binary", "truth": [truth], "score": [u, v], "share": share, "bins": bins, "weights": weights,
            "want": want}


def multiclass(k, n, boost, bins, weights=None, quantum=None):
    truth = integers(n, k)
    u = [{**uniform(n), "quantum": quantum} if quantum else uniform(n) for _ in range(k)]
    y = inputs.values(truth).astype(int)
    p = np.column_stack([inputs.values(c) + np.where(y == i, boost, 0.0) + 0.001 for i, c in enumerate(u)])
    total = p[:, 0].copy()
    for c in range(1, k):
        total = total + p[:, c]
    p = p / total[:, None]
    w = None if weights is None else inputs.values(weights)
    labels = list(range(k))
    ones = np.ones(n) if w is None else w
    top = p.argmax(axis=1)
    calibration = ece(y, p[:, 1], ones, bins) if k == 2 else ece(top == y, p[np.arange(n), top], ones, bins)
    want = {"log_loss": figure(m.log_loss, y, p, labels=labels, sample_weight=w),
            "brier": figure(m.brier_score_loss, y, p, labels=labels, sample_weight=w),
            "ece": inputs.number(calibration)}
    if k > 2:
        for average in ("macro", "weighted", "micro"):
            want[f"roc_auc/ovr/{average}"] = figure(
                m.roc_auc_score, y, p, multi_class="ovr", average=average, labels=labels, sample_weight=w)
        for average in ("macro", "weighted"):
            if w is None:
                want[f"roc_auc/ovo/{average}"] = figure(
                    m.roc_auc_score, y, p, multi_class="ovo", average=average, labels=labels)
        if len(set(y)) == k:
            averaged(want, "average_precision", m.average_precision_score, y, p, w, ["macro", "weighted", "micro"])
    return {"family": "multiclass", "k": k, "truth": [truth], "score": u, "boost": boost, "bins": bins,
            "weights": weights, "want": want}


def probabilities():
    for n, share, bins in ((1, 0.5, 10), (2, 0.5, 3), (100, 0.3, 10), (1000, 0.01, 15), (200_000, 0.4, 20)):
        yield binary(n, share, bins)
        yield binary(n, share, bins, weights={**uniform(n), "shift": 0.01})
    # Probabilities of 0, 1 and on the edges of bins.
    yield binary(500, 0.5, 10, u={**integers(500, 3), "scale": 0.5}, v=const(500, 1))
    yield binary(500, 0.5, 5, u={**integers(500, 11), "scale": 0.1}, v={**integers(500, 11), "scale": 0.1})
    yield binary(100, 0, 10)
    yield binary(100, 1, 10, u=const(100, 2), v=const(100, 0))
    for k, n, boost, bins in ((2, 200, 0.5, 10), (3, 60, 0.4, 10), (3, 2000, 0.2, 15), (10, 5000, 1, 10), (5, 20_000, 0.3, 10)):
        yield multiclass(k, n, boost, bins)
        yield multiclass(k, n, boost, bins, weights={**uniform(n), "shift": 0.01}, quantum=0.125)
    yield multiclass(4, 5, 0.5, 10)  # a class without rows


def quietly(v):
    """Infinite where the reference overflows: no figure."""
    return "nan" if math.isinf(v) or math.isnan(v) else inputs.number(v)


def regression(target, error, weights=None):
    y = inputs.values(target)
    p = y + inputs.values(error)
    w = None if weights is None else inputs.values(weights)
    kw = {"sample_weight": w}
    with np.errstate(all="ignore"):
        want = {"mae": m.mean_absolute_error(y, p, **kw), "mse": m.mean_squared_error(y, p, **kw),
                "rmse": m.root_mean_squared_error(y, p, **kw), "mape": m.mean_absolute_percentage_error(y, p, **kw),
                "r2": m.r2_score(y, p, **kw), "median": m.median_absolute_error(y, p, **kw),
                "bias": float(np.average(p - y, weights=w))}
        for q in (0, 0.05, 0.5, 0.9, 1):
            want[f"quantile/{q}"] = m.mean_pinball_loss(y, p, alpha=q, **kw)
        if len(y) <= 2000:
            r = river_metrics.SMAPE()
            for i in range(len(y)):
                if w is None or w[i]:  # a first weight of 0 turns River's mean into NaN
                    r.update(y[i], p[i], 1.0 if w is None else w[i])
            want["smape"] = r.get() / 100
    return {"family": "regression", "truth": [target], "score": [error], "weights": weights,
            "want": {k: quietly(v) for k, v in want.items()}}


def regressions():
    for n in (1, 2, 3, 10, 101, 1000, 100_000, 1_000_000):
        yield regression(normal(n, scale=2, shift=5), normal(n, scale=0.5))
        if 1 < n < 1_000_000:
            yield regression(normal(n, scale=2, shift=5), normal(n, scale=3, shift=0.7), {**uniform(n), "shift": 0.01})
    yield regression(normal(400), normal(400), {**integers(400, 4)})
    yield regression(normal(500, quantum=0.5), normal(500, quantum=0.5))  # zeros among targets
    yield regression(normal(500, shift=1e6), normal(500))
    yield regression(normal(500, shift=1e9), normal(500))
    yield regression(normal(500, scale=1e150), normal(500, scale=1e149))
    yield regression(normal(500, scale=1e200), normal(500, scale=1e200))
    yield regression(normal(500, scale=1e-140), normal(500, scale=1e-141))
    yield regression(normal(500, scale=1e-300), normal(500, scale=1e-301))
    yield regression({"kind": "heavy", "n": 500, "seed": seed()}, {"kind": "heavy", "n": 500, "seed": seed()})
    yield regression(const(20, 4), normal(20))
    yield regression(const(20, 4), const(20, 0))
    yield regression(const(20, 0), const(20, 1))
    yield regression(normal(20), const(20, 0))


def wilsons():
    for n in (1, 2, 10, 57, 1000, 1_000_000):
        for k in sorted({0, 1, n // 3, n // 2, n - 1, n}):
            for confidence in (0.5, 0.95, 0.999):
                want = proportion_confint(k, n, alpha=1 - confidence, method="wilson")
                exact = exact_wilson(k, n, confidence)
                assert np.allclose(want, exact, rtol=1e-9, atol=1e-15), (k, n, want, exact)
                if k == 0 or k == n or n > 100_000:
                    want = exact  # a difference of doubles has lost its last digits
                yield {"family": "wilson", "k": k, "n": n, "confidence": confidence,
                       "want": {"interval": [inputs.number(v) for v in want]}}


def exact_wilson(k, n, confidence):
    """The formula in 50 digits, with SciPy's quantile."""
    with decimal.localcontext(decimal.Context(prec=50)):
        z2 = decimal.Decimal(float(stats.norm.ppf((1 - confidence) / 2))) ** 2
        p, n = decimal.Decimal(k) / n, decimal.Decimal(n)
        half = (z2 * (p * (1 - p) / n + z2 / (4 * n * n))).sqrt()
        return [float((p + z2 / (2 * n) + sign * half) / (1 + z2 / n)) for sign in (-1, 1)]


def students():
    for mean, deviation, n in ((0.5, 2, 2), (3, 0.1, 3), (-7, 1e-9, 10), (1e9, 4, 100), (0, 1, 1_000_000), (2, 0, 5),
                               (0, 1, 33), (0, 1, 34), (0, 3, 120), (0, 1, 1000), (0, 1, 100_001), (0, 1, 10**9)):
        for confidence in (0.01, 0.49, 0.5, 0.9, 0.95, 0.9999):
            t = stats.t.ppf(1 - (1 - confidence) / 2, n - 1) * deviation / math.sqrt(n)
            yield {"family": "student", "mean": mean, "deviation": deviation, "n": n, "confidence": confidence,
                   "want": {"interval": [inputs.number(mean - t), inputs.number(mean + t)]}}
    # Of errors; the rows of weights are repeated.
    for target, error, weights in ((normal(2), normal(2), None), (normal(30), normal(30, scale=3, shift=1), None),
                                   (normal(5000, shift=1e6), normal(5000), None),
                                   (normal(200), normal(200, shift=-0.5), integers(200, 4))):
        y = inputs.values(target)
        e = y + inputs.values(error) - y
        if weights:
            e = np.repeat(e, inputs.values(weights).astype(int))
        want = {}
        for name, v in (("mae", np.abs(e)), ("bias", e)):
            low, high = stats.t.interval(0.95, len(v) - 1, loc=v.mean(), scale=stats.sem(v))
            want[name] = [inputs.number(low), inputs.number(high)]
        yield {"family": "errors", "truth": [target], "score": [error], "weights": weights, "want": want}


def kernel(y, s):
    """Placements by their definition: the mean over the other class of 1 above, 1/2 equal."""
    p, n = s[y == 1], s[y == 0]
    k = (p[:, None] > n[None, :]) + 0.5 * (p[:, None] == n[None, :])
    return k.mean(axis=1), k.mean(axis=0)


def delongs():
    for n, share, shift, noise, quantum, weights in (
            (20, 0.5, 1, 0.5, None, False), (20, 0.5, 0, 1, 0.5, False), (200, 0.3, 1, 0.3, None, False),
            (200, 0.1, 1, 2, 0.25, False), (1000, 0.4, 2, 0.1, None, False), (2500, 0.5, 1, 0.05, 0.125, False),
            (2500, 0.5, 0.2, 1, None, False), (150, 0.4, 0.8, 1, 0.25, True), (2500, 0.5, 3, 12, None, False)):
        truth, a, b = uniform(n), normal(n, **({"quantum": quantum} if quantum else {})), normal(n, scale=noise)
        y = (inputs.values(truth) < share).astype(int)
        sa = inputs.values(a) + shift * y
        sb = sa + inputs.values(b)
        w = integers(n, 4) if weights else None
        case = {"family": "delong", "truth": [truth], "score": [a, b], "share": share, "shift": shift, "weights": w}
        if weights:
            index = np.repeat(np.arange(n), inputs.values(w).astype(int))
            y, sa, sb = y[index], sa[index], sb[index]
        (pa, na), (pb, nb) = kernel(y, sa), kernel(y, sb)
        sp, sn = np.cov(pa, pb), np.cov(na, nb)
        s = sp / len(pa) + sn / len(na)
        z = stats.norm.ppf(0.975)
        variance = s[0, 0] + s[1, 1] - 2 * s[0, 1]
        d = pa.mean() - pb.mean()
        half = z * math.sqrt(s[0, 0])
        case["want"] = {
            "auc": m.roc_auc_score(y, sa), "variance": s[0, 0],
            "interval": [max(pa.mean() - half, 0), min(pa.mean() + half, 1)],
            "a": m.roc_auc_score(y, sa), "b": m.roc_auc_score(y, sb),
            "statistic": d / math.sqrt(variance), "p_value": 2 * stats.norm.sf(abs(d) / math.sqrt(variance)),
            "difference": [d - z * math.sqrt(variance), d + z * math.sqrt(variance)]}
        case["want"] = {k: [inputs.number(x) for x in v] if isinstance(v, list) else inputs.number(v)
                        for k, v in case["want"].items()}
        yield case


def mcnemars():
    for b, c in ((0, 1), (1, 0), (3, 3), (0, 5), (10, 25), (100, 100), (499, 501), (0, 100), (0, 1000), (2, 1010),
                 (1000, 2000), (4000, 6000), (50_000, 50_500), (1_000_000, 1_010_000), (500_000_000, 500_050_000),
                 (15, 15), (16, 17), (7, 400), (0, 0)):
        want = {}
        for name, kw in (("exact", {"exact": True}), ("corrected", {"exact": False}),
                         ("plain", {"exact": False, "correction": False})):
            if b + c == 0 and name != "exact":
                continue
            r = mcnemar([[7, b], [c, 9]], **kw)
            want[name] = [inputs.number(r.statistic), inputs.number(r.pvalue)]
        yield {"family": "mcnemar", "k": b, "n": c, "want": want}


def bca(name, n, resamples, columns, statistic):
    """BCa of the same resamples: indices are floor(n*u) of one spec, a row a resample."""
    index = {"kind": "int", "n": n * resamples, "seed": seed(), "levels": n}
    drawn = inputs.values(index).astype(int).reshape(resamples, n)
    data = [inputs.values(c) for c in columns]
    distribution = np.array([statistic(*(d[i] for d in data)) for i in drawn])
    from scipy.stats._resampling import BootstrapResult

    out = {}
    for confidence in (0.5, 0.9, 0.95, 0.99):
        r = stats.bootstrap(data, statistic, paired=True, vectorized=False, n_resamples=0, method="BCa",
                            confidence_level=confidence, bootstrap_result=BootstrapResult(None, distribution, None))
        out[f"interval/{confidence}"] = [inputs.number(v) for v in r.confidence_interval]
    out["standard_error"] = inputs.number(r.standard_error)
    out["value"] = inputs.number(statistic(*data))
    return {"family": "bca", "name": name, "n": n, "k": resamples, "score": columns, "index": index, "want": out}


def bcas():
    for n, resamples in ((10, 300), (40, 500), (120, 400)):
        yield bca("mae", n, resamples, [normal(n), normal(n, scale=2, shift=0.3)], m.mean_absolute_error)
        yield bca("mse", n, resamples, [normal(n), normal(n, scale=2)], m.mean_squared_error)
        yield bca("r2", n, resamples, [normal(n, scale=5), normal(n)], m.r2_score)
        yield bca("median", n, resamples, [normal(n), normal(n)], m.median_absolute_error)
        yield bca("accuracy", n, resamples, [integers(n, 2), integers(n, 2)], m.accuracy_score)
    yield bca("roc_auc", 60, 300, [integers(60, 2), normal(60, quantum=0.25)], m.roc_auc_score)
    yield bca("log_loss", 60, 300, [integers(60, 2), uniform(60)],
              lambda y, p: m.log_loss(y, p, labels=[0, 1]))


if __name__ == "__main__":
    inputs.write("drift/quality/testdata/golden_figures.json",
                 [*confusions(), *multilabels(), *rankings(), *probabilities(), *regressions()])
    inputs.write("drift/quality/testdata/golden_inference.json",
                 [*wilsons(), *students(), *delongs(), *mcnemars(), *bcas()])
