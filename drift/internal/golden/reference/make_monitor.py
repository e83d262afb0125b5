"""Golden values of the monitor (drift/testdata/golden.json): its scores and its quality as
SciPy, NumPy and scikit-learn give them."""

import json
import pathlib

import numpy as np
from scipy import special, stats
from scipy.stats.contingency import association
from sklearn import metrics

SEED = 20260101
rng = np.random.default_rng(SEED)


def groups(reference, most=10):
    """The group of each bin: from either end, a group is closed by the first bin that reaches the
    next tenth, and the middle is the edge nearest to half. Up to ten bins stay as they are."""
    n, below = len(reference), np.concatenate([[0], np.cumsum(reference)])
    if n <= most:
        return np.arange(n)
    if below[-1] == 0:
        return np.zeros(n, int)
    parts = np.arange(1, most // 2) * below[-1]
    edges = set(np.searchsorted(below * most, parts)) | set(n - np.searchsorted((below[-1] - below)[::-1] * most, parts))
    edges -= {0, n}
    off = np.abs(2 * below[1:n] - below[-1])
    nearest = np.flatnonzero(off == off.min())[[0, -1]] + 1
    both = edges | set(nearest)
    if nearest[0] == nearest[1] or len(both) < most:
        edges = both
    return np.searchsorted(sorted(edges), np.arange(n), side="right")


def merged(counts, group):
    return np.array([counts[group == g].sum() for g in range(group.max() + 1)])


def psi(reference, current):
    """Jeffreys divergence of the smoothed shares, as the sum of two relative entropies."""
    p, q = reference + 0.5, current + 0.5
    p, q = p / p.sum(), q / q.sum()
    return float(special.rel_entr(p, q).sum() + special.rel_entr(q, p).sum())


def two_rows(reference, current):
    table = np.stack([reference, current])
    return table[:, table.sum(axis=0) > 0]


def case(name, reference, current, numeric, missing=(0, 0), other=(0, 0)):
    reference, current = np.asarray(reference), np.asarray(current)
    if numeric:
        g = groups(reference)
        r, c = merged(reference, g), merged(current, g)
    else:
        r, c = np.append(reference, other[0]), np.append(current, other[1])
    if sum(missing):
        r, c = np.append(r, missing[0]), np.append(c, missing[1])
    out = {
        "name": name, "numeric": numeric, "reference": reference.tolist(), "current": current.tolist(),
        "missing": list(missing), "other": list(other), "psi": psi(r, c),
    }
    table = two_rows(r, c)
    if table.shape[1] > 1:
        test = stats.chi2_contingency(table, correction=False)
        out["chi2_p"] = float(test.pvalue)
        # Both rows with the same total: V of the shares, in whole numbers.
        n = table.sum(axis=1)
        out["cramers_v"] = float(association(table * n[::-1, None], method="cramer"))
    if numeric:
        x, y = np.repeat(np.arange(len(reference)), reference), np.repeat(np.arange(len(current)), current)
        test = stats.ks_2samp(x, y)
        out["ks"], out["ks_p"] = float(test.statistic), float(test.pvalue)
    return out


def drift_cases():
    yield case("equal", [100] * 12, [50] * 12, True)
    yield case("two bins", [10, 20], [25, 5], True)
    yield case("heavy first bin", [500] + [10] * 30, [300] + [20] * 30, True)
    yield case("heavy last bin", [10] * 30 + [700], [10] * 31, True)
    yield case("empty tail", [30, 50, 40, 20, 0, 0, 0], [10, 20, 30, 20, 5, 3, 1], True)
    yield case("disjoint", [40, 60, 0, 0], [0, 0, 30, 70], True)
    yield case("one row", [40, 60, 10], [0, 1, 0], True)
    yield case("missing grows", [100] * 10, [80] * 10, True, missing=(5, 300))
    yield case("all missing", [100] * 10, [1] + [0] * 9, True, missing=(0, 300))
    yield case("new category", [500, 300, 200], [400, 250, 150], False, other=(2, 200))
    yield case("vanished category", [500, 300, 200], [600, 400, 0], False)
    yield case("bool with missing", [900, 100], [80, 20], False, missing=(0, 7))
    for i in range(40):
        bins = int(rng.integers(2, 60))
        shape = rng.dirichlet(np.full(bins, rng.uniform(0.2, 3)))
        moved = rng.dirichlet(shape * bins * rng.uniform(5, 200) + 1e-3)
        numeric = i % 2 == 0
        more = {} if i % 3 else {"missing": tuple(int(v) for v in rng.integers(0, 50, 2))}
        if not numeric:
            more["other"] = tuple(int(v) for v in rng.integers(0, 9, 2))
        yield case(
            f"random {i}", rng.multinomial(int(rng.integers(50, 20000)), shape),
            rng.multinomial(int(rng.integers(20, 5000)), moved), numeric, **more,
        )
    airports = rng.dirichlet(np.full(250, 0.3))
    yield case("250 airports", rng.multinomial(500000, airports), rng.multinomial(16500, airports), False, other=(0, 3))


def quality_cases():
    for i in range(25):
        n = int(rng.integers(2, 3000))
        y = rng.random(n) < rng.uniform(0.02, 0.9)
        y[:2] = [True, False]
        score = np.clip(rng.normal(0.35 + 0.2 * y, 0.2), 0, 1).astype(np.float32)
        if i % 2:
            score = np.round(score, 1 + i % 3)  # ties
        at = float(rng.uniform(0.1, 0.9))
        said = score.astype(np.float64) >= at
        values = np.unique(score)
        tn, fp, fn, tp = (int(v) for v in metrics.confusion_matrix(y, said, labels=[False, True]).ravel())
        yield {
            "positives": [int((y & (score == v)).sum()) for v in values],
            "negatives": [int((~y & (score == v)).sum()) for v in values],
            "tp": tp, "fp": fp, "fn": fn, "tn": tn,
            "accuracy": float(metrics.accuracy_score(y, said)),
            "precision": float(metrics.precision_score(y, said)) if tp + fp else None,
            "recall": float(metrics.recall_score(y, said)),
            "roc_auc": float(metrics.roc_auc_score(y, score)),
        }


def group_cases():
    for reference in ([1] * 10, [1] * 25, [0, 0, 5], [100, 1, 1, 1, 1, 1], [3, 0, 0, 0, 4, 4, 4, 4], [0] * 12, [7],
                      [5] * 40, [1] * 11, [90] + [1] * 20, [1] * 20 + [90], [10] * 5 + [0] * 4 + [10] * 5, [1, 2, 3, 4] * 6, [4, 3, 2, 1] * 6):
        yield {"reference": reference, "groups": groups(np.array(reference)).tolist()}


golden = {
    "made_by": "drift/internal/golden/reference/make_monitor.py",
    "seed": SEED,
    "drift": list(drift_cases()),
    "groups": list(group_cases()),
    "quality": list(quality_cases()),
}
text = json.dumps(golden, allow_nan=False)
path = pathlib.Path(__file__).resolve().parents[3] / "testdata" / "golden.json"
path.write_text(text.replace("}, {", "},\n{") + "\n")
print("drift/testdata/golden.json", len(golden["drift"]), "drift cases,", len(golden["quality"]), "quality cases")
