"""Golden values of whole comparisons (drift/compare): the same tables through Evidently's
DataDriftPreset."""

import math
import os
import sys
import warnings

# Evidently sums over sets of texts, whose order follows from it: the last digits do, too.
if os.environ.get("PYTHONHASHSEED") != "0":
    os.execve(sys.executable, [sys.executable] + sys.argv, {**os.environ, "PYTHONHASHSEED": "0"})

import pandas as pd
from scipy import stats

import inputs

warnings.filterwarnings("ignore")
os.environ["DO_NOT_TRACK"] = "1"

from evidently import Report  # noqa: E402
from evidently.legacy.calculations.stattests import registry  # noqa: E402
from evidently.presets import DataDriftPreset  # noqa: E402

NAMES = {
    test.display_name: name
    for name, by_type in registry._registered_stat_tests.items()
    for test in by_type.values()
}


def column(kind, spec):
    x = inputs.values(spec)
    if kind == "int":
        return pd.Series(x.astype("int64"))
    if kind == "bool":
        return pd.Series(x > 0)
    if kind == "cat":
        return pd.Series([None if math.isnan(v) else "k%d" % v for v in x], dtype=object)
    return pd.Series(x)


def homogeneity(reference, current):
    """p of the chi-squared test that both sides are of one distribution, as ours."""
    table = pd.crosstab(
        pd.concat([reference, current], ignore_index=True),
        [0] * len(reference) + [1] * len(current),
    )
    return stats.chi2_contingency(table, correction=False).pvalue


def proportions(reference, current):
    """p of Evidently's z test by the upper tail: 2 * (1 - cdf) has no digits where it is small."""
    first = min(set(reference) | set(current))
    n, m = len(reference), len(current)
    p, q = (reference != first).mean(), (current != first).mean()
    pooled = (p * n + q * m) / (n + m)
    if pooled in (0, 1):
        return 1.0
    return 2 * stats.norm.sf(abs(p - q) / math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m)))


def compare(name, columns, **options):
    reference = pd.DataFrame({c["name"]: column(c["kind"], c["reference"]) for c in columns})
    current = pd.DataFrame({c["name"]: column(c["kind"], c["current"]) for c in columns})
    result = Report([DataDriftPreset(**options)], include_tests=True).run(current, reference).dict()
    drifted = {
        t["metric_config"]["params"]["column"]: t["status"] == "FAIL"
        for t in result["tests"]
        if t["id"] == "drift"
    }
    want = {}
    for m in result["metrics"]:
        if m["config"]["type"].endswith("ValueDrift"):
            c = m["config"]["column"]
            method = NAMES.get(m["config"]["method"], m["config"]["method"])
            want[c] = {
                "stattest": method,
                "threshold": m["config"]["threshold"],
                "score": inputs.number(m["value"]),
                "drifted": drifted[c],
            }
            if method == "chisquare":
                want[c]["homogeneity"] = inputs.number(
                    homogeneity(reference[c].dropna(), current[c].dropna())
                )
            if method == "z":
                p = proportions(reference[c].dropna(), current[c].dropna())
                assert abs(p - m["value"]) < 1e-14
                want[c]["tail"] = inputs.number(p)
        else:
            share, count = m["value"]["share"], m["value"]["count"]
    return {
        "name": name,
        "columns": columns,
        "method": options.get("method", ""),
        "num_method": options.get("num_method", ""),
        "cat_method": options.get("cat_method", ""),
        "threshold": options.get("threshold"),
        "share": share,
        "drifted": share >= options.get("drift_share", 0.5),
        "count": count,
        "want": want,
    }


def pair(name, kind, n, m, seed, reference, current):
    return {
        "name": name,
        "kind": kind,
        "reference": {"n": n, "seed": seed, **reference},
        "current": {"n": m, "seed": seed + 1000, **current},
    }


def table(n, m, seed, shift):
    """Columns of many kinds, moved by shift."""
    normal, uniform, heavy = {"kind": "normal"}, {"kind": "uniform"}, {"kind": "heavy"}

    def levels(k):
        return {"kind": "int", "levels": k}

    return [
        pair("same", "float", n, m, seed + 1, normal, normal),
        pair("moved", "float", n, m, seed + 2, normal, {**normal, "shift": shift}),
        pair("wider", "float", n, m, seed + 3, uniform, {**uniform, "scale": 1 + shift}),
        pair("heavy", "float", n, m, seed + 4, heavy, {**heavy, "scale": 1 + shift}),
        pair("ties", "float", n, m, seed + 5, {**normal, "quantum": 0.25}, {**normal, "quantum": 0.25, "shift": shift}),
        pair("holes", "float", n, m, seed + 6, {**normal, "nan_every": 7}, {**normal, "nan_every": 3, "shift": shift}),
        pair("tiny", "float", n, m, seed + 7, {**normal, "scale": 1e-5}, {**normal, "scale": 1e-5, "shift": shift * 1e-5}),
        pair("far", "float", n, m, seed + 8, {**normal, "shift": 1e6}, {**normal, "shift": 1e6 + shift}),
        pair("few floats", "float", n, m, seed + 9, levels(4), levels(4)),
        pair("two floats", "float", n, m, seed + 10, levels(2), levels(2)),
        pair("one float", "float", n, m, seed + 11, {"kind": "const", "value": 3}, {"kind": "const", "value": 3}),
        pair("many integers", "int", n, m, seed + 12, levels(100), {**levels(100), "shift": math.floor(40 * shift)}),
        pair("eleven integers", "int", n, m, seed + 13, levels(11), levels(11)),
        pair("ten integers", "int", n, m, seed + 14, levels(10), levels(10)),
        pair("three integers", "int", n, m, seed + 15, levels(3), levels(3)),
        pair("two integers", "int", n, m, seed + 16, levels(2), levels(2)),
        pair("words", "cat", n, m, seed + 17, levels(6), levels(6)),
        pair("fewer words", "cat", n, m, seed + 18, levels(6), levels(5)),
        pair("words and holes", "cat", n, m, seed + 19, {**levels(5), "nan_every": 9}, {**levels(5), "nan_every": 4}),
        pair("two words", "cat", n, m, seed + 20, levels(2), levels(2)),
        pair("flag", "bool", n, m, seed + 21, levels(2), levels(2)),
        pair("rarer flag", "bool", n, m, seed + 22, levels(2), levels(3)),
    ]


cases = []
for i, (n, m) in enumerate([(100, 100), (300, 100), (500, 800), (1000, 700), (1001, 700), (3000, 1200), (20000, 9000)]):
    for j, shift in enumerate([0.0, 0.08, 0.5]):
        cases.append(compare("%d against %d, moved by %g" % (n, m, shift), table(n, m, 10000 * i + 3000 * j, shift)))

for i, (n, m) in enumerate([(200, 200), (5000, 2000)]):
    columns = table(n, m, 200000 + 10000 * i, 0.3)
    values = [c for c in columns if c["kind"] in ("float", "int")]
    for method in ["jensenshannon", "psi", "kl_div"]:
        cases.append(compare("%s, %d against %d" % (method, n, m), columns, method=method))
    floats = [c for c in columns if c["kind"] == "float" and c["name"] != "one float"]
    for method in ["wasserstein", "ks", "hellinger", "anderson", "es"]:
        if method in ("es", "anderson"):
            floats = [c for c in floats if not c["name"].endswith("floats")]
        cases.append(compare("%s, %d against %d" % (method, n, m), floats, num_method=method))
    cases.append(compare("thresholds, %d against %d" % (n, m), columns, threshold=0.2))

inputs.write("drift/compare/testdata/golden_compare.json", cases)
