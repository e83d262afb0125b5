"""Golden values of PAPE by its published definition (arXiv 2401.08348, section 3), with NumPy
and scikit-learn's isotonic regression. The classifier of the sides is the share of the chunk in
each category, which both sides compute alike: all that follows is deterministic.
"""

import numpy as np
from sklearn.isotonic import IsotonicRegression

import inputs
from inputs import number, values

METRICS = ["roc_auc", "f1", "precision", "recall", "specificity", "accuracy"]
LEVELS = 6


def category(d):
    """Categories 0 to 5; of "shift" 1 and more the greatest of so many more draws."""
    c = values({"kind": "int", "n": d["n"], "seed": d["seed"] + 10, "levels": LEVELS})
    for k in range(d["shift"]):
        c = np.maximum(c, values({"kind": "int", "n": d["n"], "seed": d["seed"] + 11 + k, "levels": LEVELS}))
    return c


def binary(d):
    s = values({"kind": "uniform", "n": d["n"], "seed": d["seed"], "quantum": d["quantum"]})
    u = values({"kind": "uniform", "n": d["n"], "seed": d["seed"] + 1})
    c = category(d)
    return s, (s >= 0.5).astype(int), (u < s * (1.0 + c) / 6.0).astype(int), c


def multiclass(d):
    k = d["classes"]
    raw = [values({"kind": "uniform", "n": d["n"], "seed": d["seed"] + 20 + j, "quantum": d["quantum"]}) for j in range(k)]
    raw = [r * r + 0.001 for r in raw]
    total = raw[0]
    for r in raw[1:]:
        total = total + r
    scores = [r / total for r in raw]
    u = values({"kind": "uniform", "n": d["n"], "seed": d["seed"] + 1})
    c = category(d)
    mix = (1.0 + c) / 6.0
    y, p = np.full(d["n"], k - 1), np.zeros(d["n"], dtype=int)
    reached, done = np.zeros(d["n"]), np.zeros(d["n"], dtype=bool)
    for j in range(k):
        reached = reached + (scores[j] * mix + (1.0 - mix) / k)
        y = np.where(~done & (u < reached), j, y)
        done = done | (u < reached)
        if j:
            p = np.where(scores[j] > np.choose(p, scores), j, p)
    return scores, p, y, c


def ratios(reference, chunk):
    """n_ref/n_chunk * p/(1-p), with the bounds of the authors' code."""
    p = np.zeros(LEVELS)
    for k in range(LEVELS):
        ours, theirs = (reference == k).sum(), (chunk == k).sum()
        p[k] = theirs / (ours + theirs) if ours + theirs else 0.0
    p = p[reference.astype(int)]
    return np.maximum(0.001, len(reference) / len(chunk) * p / np.maximum(0.05, 1.0 - p))


def calibrated(s, y, w, new):
    return np.clip(IsotonicRegression(out_of_bounds="clip").fit(s, y, sample_weight=w).predict(new), 0.0, 1.0)


def metrics(p, s, predicted):
    """The expected figures where p are the probabilities of class 1."""
    order = np.argsort(s, kind="stable")[::-1]
    tps = np.round(np.r_[0, np.cumsum(p[order])], 5)
    fps = np.round(np.r_[0, 1 + np.arange(len(p)) - np.cumsum(p[order])], 5)
    area = np.sum(np.diff(fps) * (tps[1:] + tps[:-1]) / 2) / tps[-1] / fps[-1]
    tp, fp = p[predicted == 1].sum(), (1 - p)[predicted == 1].sum()
    fn, tn = p[predicted == 0].sum(), (1 - p)[predicted == 0].sum()
    return [area, tp / (tp + (fp + fn) / 2), tp / (tp + fp), tp / (tp + fn), tn / (tn + fp), (tp + tn) / len(p)]


def binary_case(reference, analysis, size):
    s, _, y, c = binary(reference)
    new_s, new_p, new_y, new_c = binary(analysis)
    want = []
    for at in range(0, len(new_s), size):
        part = slice(at, at + size)
        w = ratios(c, new_c[part])
        p = calibrated(s, y, w, new_s[part])
        want.append({"effective": number(w.sum() ** 2 / (w**2).sum()),
                     "values": [number(v) for v in metrics(p, new_s[part], new_p[part])]})
    return {"part": "binary", "reference": reference, "analysis": analysis, "size": size,
            "sums": [int(y.sum()), int(new_y.sum())], "want": want}


def multiclass_case(reference, analysis, size):
    scores, _, y, c = multiclass(reference)
    new_scores, new_p, new_y, new_c = multiclass(analysis)
    want = []
    for at in range(0, analysis["n"], size):
        part = slice(at, at + size)
        w = ratios(c, new_c[part])
        p = [calibrated(s, y == j, w, new[part]) for j, (s, new) in enumerate(zip(scores, new_scores))]
        total = np.sum(p, axis=0)
        p = [np.where(total == 0, 1 / len(p), q / np.where(total == 0, 1, total)) for q in p]
        by = [metrics(q, new[part], (new_p[part] == j).astype(int)) for j, (q, new) in enumerate(zip(p, new_scores))]
        mean = np.mean(by, axis=0)
        mean[5] = np.choose(new_p[part], p).mean()
        want.append({"effective": number(w.sum() ** 2 / (w**2).sum()), "values": [number(v) for v in mean]})
    return {"part": "multiclass", "reference": reference, "analysis": analysis, "size": size,
            "sums": [int(y.sum()), int(new_y.sum())], "want": want}


def side(n, seed, shift=0, quantum=0, classes=3):
    return {"n": n, "seed": seed, "shift": shift, "quantum": quantum, "classes": classes}


CASES = [
    (side(5000, 100), side(2000, 200), 500),
    (side(5000, 300), side(2000, 400, shift=1), 700),
    (side(3000, 500, quantum=0.05), side(1200, 600, shift=2, quantum=0.05), 300),
    (side(2000, 700, classes=5), side(900, 800, shift=3, classes=5), 900),
]


def main():
    cases = [binary_case(*c) for c in CASES] + [multiclass_case(*c) for c in CASES]
    inputs.write("drift/estimate/testdata/golden_pape.json", cases)


if __name__ == "__main__":
    main()
