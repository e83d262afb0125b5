"""Golden values of the tests over cells, of bins, choices and corrections (drift/stattest)."""

import math
import warnings
from decimal import Decimal, getcontext

import numpy as np
import pandas as pd
from evidently.legacy.calculations.stattests import get_stattest, registry
from evidently.legacy.calculations.stattests.chisquare_stattest import _chi_stat_test
from evidently.legacy.calculations.stattests.g_stattest import _g_stat_test
from evidently.legacy.calculations.stattests.hellinger_distance import _hellinger_distance
from evidently.legacy.calculations.stattests.jensenshannon import _jensenshannon
from evidently.legacy.calculations.stattests.kl_div import _kl_div
from evidently.legacy.calculations.stattests.psi import _psi
from evidently.legacy.calculations.stattests.tvd_stattest import _total_variation_distance
from evidently.legacy.calculations.stattests.utils import get_binned_data
from evidently.legacy.core import ColumnType
from nannyml.chunk import DefaultChunker
from nannyml.drift.univariate.methods import LInfinityDistance
from nannyml.thresholds import ConstantThreshold, StandardDeviationThreshold
from scipy import special, stats
from scipy.spatial.distance import jensenshannon
from scipy.stats.contingency import association
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_effectsize, proportions_ztest

import inputs

getcontext().prec = 60
getcontext().Emin = -999999
getcontext().Emax = 999999


def listed(*v):
    return {"kind": "list", "values": [inputs.number(x) for x in v]}


def counts(n, seed, levels, **more):
    return {"kind": "int", "n": n, "seed": seed, "levels": levels, **more}


def cell_pairs():
    """Pairs of specs whose values are the rows in cells."""
    yield listed(10, 20, 30), listed(15, 15, 30)
    yield listed(10, 20, 30), listed(20, 40, 60)
    yield listed(5), listed(9)
    yield listed(100, 0, 0), listed(0, 50, 70)
    yield listed(100, 0, 3), listed(90, 0, 70)
    yield listed(1, 0), listed(0, 1)
    yield listed(1, 1), listed(1, 1)
    yield listed(999999, 1), listed(999998, 2)
    yield listed(1000000, 1000000, 1000000), listed(1001000, 999000, 1000000)
    yield listed(1e12, 2e12, 3e12), listed(1e12 + 4e6, 2e12, 3e12 - 4e6)
    yield listed(1e6, 1e6 - 1, 1e6), listed(1e6 - 1, 1e6, 1e6)
    yield listed(1e12, 2e12, 3e12), listed(1e12 + 1, 2e12, 3e12 - 1)
    yield listed(1e15, 1e15 + 1), listed(1e15 + 1, 1e15)
    yield listed(7, 1e9), listed(21, 3e9 + 1)
    yield listed(300, 200, 100), listed(100, 200, 300)
    yield listed(3000, 2000, 1000), listed(1000, 2000, 3000)  # p below 1e-300
    yield listed(1300, 1000, 700), listed(700, 1000, 1300)
    yield listed(1450, 1000, 550), listed(550, 1000, 1450)
    yield listed(2.5, 3.25, 0.5), listed(1.75, 0.125, 6)
    yield listed(1e-3, 2e-3, 5e-3), listed(4e-3, 1e-3, 1e-3)
    yield listed(1e-200, 3e-200), listed(2e-200, 1e-200)
    yield listed(1e150, 3e150, 2e150), listed(2e150, 3e150, 4e150)
    yield listed(*[100] * 30), listed(*[97, 103] * 15)
    for i, n in enumerate((2, 3, 5, 8, 10, 12, 20, 30, 50, 100, 300, 1000)):
        yield counts(n, 10 + i, 1000), counts(n, 40 + i, 400)
        if n > 3:
            yield counts(n, 70 + i, 8), counts(n, 100 + i, 5)  # many empty cells
        yield counts(n, 130 + i, 30, shift=100), counts(n, 160 + i, 30, shift=100)
        yield counts(n, 190 + i, 40000, shift=1e5), counts(n, 220 + i, 4000, shift=1e4)
    for i in range(4):  # a reference that is many times larger, or smaller
        yield counts(5 + i, 400 + i, 1e9, shift=1e8), counts(5 + i, 410 + i, 20)
        yield counts(5 + i, 420 + i, 9), counts(5 + i, 430 + i, 1e9, shift=1e8)
    for i in range(10):
        yield counts(6 + i, 300 + i, 60, shift=20), counts(6 + i, 330 + i, 60, shift=20)
    yield counts(100000, 1, 20, shift=1), counts(100000, 2, 20, shift=1)
    yield counts(20000, 3, 3), counts(20000, 4, 3)


def shares(cells):
    cells = [Decimal(float(c)) for c in cells]
    total = sum(cells)
    return [c / total for c in cells]


def decimal_kl(p, q):
    return sum((a * (a / b).ln() for a, b in zip(p, q) if a), Decimal(0))


def decimal_js(p, q):
    m = [(a + b) / 2 for a, b in zip(p, q)]
    return ((decimal_kl(p, m) + decimal_kl(q, m)) / 2).sqrt()


def decimal_hellinger(p, q):
    return (sum(((a.sqrt() - b.sqrt()) ** 2 for a, b in zip(p, q)), Decimal(0)) / 2).sqrt()


def cells_case(reference, current):
    """Figures by SciPy; with 60 digits where SciPy's own rounding would be the error (and the
    cells are few enough), as the loss of digits in sums that cancel."""
    r, c = inputs.values(reference), inputs.values(current)
    out = {"reference": reference, "current": current}
    p, q = r / r.sum(), c / c.sum()
    few = len(r) <= 300
    near = float(np.abs(p - q).sum()) < 0.02
    if few:
        P, Q = shares(r), shares(c)
        SP, SQ = shares(r + 0.5), shares(c + 0.5)
    near &= few
    smooth_p, smooth_q = r + 0.5, c + 0.5
    out["jensenshannon"] = decimal_js(P, Q) if near else jensenshannon(p, q)
    out["hellinger"] = decimal_hellinger(P, Q) if near else math.sqrt(max(0, 1 - np.sqrt(p * q).sum()))
    if few and not near:
        out["hellinger"] = decimal_hellinger(P, Q)
    out["kl_div"] = decimal_kl(SP, SQ) if near else stats.entropy(smooth_p, smooth_q)
    sp, sq = smooth_p / smooth_p.sum(), smooth_q / smooth_q.sum()
    out["psi"] = decimal_kl(SP, SQ) + decimal_kl(SQ, SP) if near else special.rel_entr(sp, sq).sum() + special.rel_entr(sq, sp).sum()
    out["l_infinity"] = max(abs(a - b) for a, b in zip(P, Q)) if few else np.abs(p - q).max()
    out["tvd"] = sum(abs(a - b) for a, b in zip(P, Q)) / 2 if few else np.abs(p - q).sum() / 2
    table = np.stack([r, c])
    table = table[:, table.sum(axis=0) > 0]
    if table.sum() < 1e100 and table.sum() > 1e-100:
        chi = stats.chi2_contingency(table, correction=False)
        g = stats.chi2_contingency(table, correction=False, lambda_="log-likelihood")
        out["chisquare"], out["chisquare_p"] = chi.statistic, chi.pvalue
        out["g_test"], out["g_test_p"] = g.statistic, g.pvalue
        uneven = few and max(r.sum() / c.sum(), c.sum() / r.sum()) > 1e4
        if near or uneven:  # SciPy's sum cancels
            nr, nc = sum(map(Decimal, map(float, r))), sum(map(Decimal, map(float, c)))
            x = sum((Decimal(float(a)) * nc - Decimal(float(b)) * nr) ** 2 / (Decimal(float(a)) + Decimal(float(b))) for a, b in zip(r, c) if a + b) / nr / nc
            m = [(a * nr + b * nc) / (nr + nc) for a, b in zip(P, Q)]
            y = 2 * (nr * decimal_kl(P, m) + nc * decimal_kl(Q, m))
            df = table.shape[1] - 1
            out["chisquare"], out["chisquare_p"] = x, stats.chi2.sf(float(x), df) if df else 1
            out["g_test"], out["g_test_p"] = y, stats.chi2.sf(float(y), df) if df else 1
        v = 0 if near and p.tolist() == q.tolist() else math.sqrt(sum((a - b) ** 2 / (a + b) for a, b in zip(P, Q) if a + b) / 2) if few else math.sqrt(((p - q) ** 2 / (p + q))[p + q > 0].sum() / 2)
        out["cramers_v"] = v
        if table.shape[1] > 1 and few and not near and table.max() < 1e6 and (table == np.floor(table)).all():
            # The same by SciPy: V of the table in which both sides have the same total.
            n = table.sum(axis=1).astype(int)
            out["cramers_v"] = association(table.astype(int) * n[::-1, None], method="cramer")
    return {k: v if isinstance(v, dict) else inputs.number(v) for k, v in out.items()}


def survival_cases():
    """The chi-square distribution where p is down to 1e-300: SciPy, and a closed form of 60
    digits for even degrees of freedom."""
    for df in (1, 2, 3, 4, 7, 10, 29, 100, 1000, 9999, 100000, 1000000):
        for p in (0.999, 0.5, 0.05, 1e-5, 1e-30, 1e-100, 1e-200, 1e-299):
            x = float(stats.chi2.isf(p, df))
            want = Decimal(float(stats.chi2.sf(x, df)))
            if df % 2 == 0 and df <= 10000:
                h, term, total = Decimal(x) / 2, Decimal(1), Decimal(0)
                for i in range(df // 2):
                    total += term
                    term = term * h / (i + 1)
                want = (-h).exp() * total
            yield {"df": df, "x": x, "p": inputs.number(want)}


def fit_cases():
    for o, e in (
        ([10, 20, 30], [15, 15, 30]), ([10, 20], [20, 10]), ([16, 18, 16, 14, 12, 12], [16, 16, 16, 16, 16, 8]),
        ([1000, 0, 500], [400, 600, 500]), ([300, 600, 2100], [1000, 1000, 1000]), ([5], [5]), ([7, 7], [7, 7]),
        ([200, 300, 500, 100], [220.5, 279.5, 480, 120]), ([5000, 3000, 1000], [4000, 4000, 1000]),
    ):
        a, b = stats.chisquare(o, e), stats.power_divergence(o, e, lambda_="log-likelihood")
        p = lambda v: 1 if len(o) == 1 else inputs.number(v)  # SciPy: NaN without a degree of freedom
        yield {"observed": o, "expected": e, "chisquare": a.statistic, "chisquare_p": p(a.pvalue), "g_test": b.statistic, "g_test_p": p(b.pvalue)}
    for seed in range(1, 13):
        r, c = inputs.values(counts(8, seed, 50, shift=30)), inputs.values(counts(8, seed + 50, 50, shift=20))
        r, c = r.astype(int), c.astype(int)
        ref, cur = pd.Series(np.repeat(np.arange(8), r)), pd.Series(np.repeat(np.arange(8), c))
        expected = r * (len(cur) / len(ref))
        b = stats.power_divergence(c, expected, lambda_="log-likelihood")
        case = {"observed": c.tolist(), "expected": expected.tolist(), "chisquare": stats.chisquare(c, expected).statistic,
                "chisquare_p": float(_chi_stat_test(ref, cur, ColumnType.Categorical, 0.05)[0]), "g_test": b.statistic, "g_test_p": b.pvalue}
        yield case
        c = np.roll(r, seed)  # as many rows: Evidently's g_test can judge them
        cur = pd.Series(np.repeat(np.arange(8), c))
        yield {"observed": c.tolist(), "expected": r.tolist(), "chisquare": stats.chisquare(c, r).statistic,
               "chisquare_p": float(_chi_stat_test(ref, cur, ColumnType.Categorical, 0.05)[0]),
               "g_test": stats.power_divergence(c, r, lambda_="log-likelihood").statistic, "g_test_p": float(_g_stat_test(ref, cur, ColumnType.Categorical, 0.05)[0])}


BINARY = [
    (8, 2, 1, 5), (3, 1, 1, 3), (10, 10, 10, 10), (7, 3, 3, 7), (1, 1, 1, 1), (100, 2, 1000, 5), (0, 5, 5, 0), (12, 0, 9, 3),
    (5, 0, 7, 0), (0, 5, 0, 7), (30, 14, 7, 16), (190, 800, 200, 900), (100, 100, 60, 140), (2, 7, 8, 2), (5, 1, 10, 10),
    (5, 16, 16, 25), (10, 5, 10, 1), (10, 5, 10, 0), (5, 1, 20, 14), (9, 1, 9, 1), (500, 500, 480, 520), (300, 700, 200, 800),
    (1000, 1000, 700, 1300), (2000, 2000, 1200, 2800), (2500, 2500, 1500, 3500), (1200, 300, 300, 1200), (999, 1, 1, 999),
    (500, 0, 0, 500), (100000, 100000, 100300, 99700), (500000, 500000, 490000, 510000), (500000, 500000, 487000, 513000),
    (999990, 10, 999960, 40), (10, 999990, 40, 999960), (400000, 600000, 4000, 6200), (20000, 80000, 26000, 74000), (3, 17, 1, 11),
    (33000, 1000, 64, 8), (1, 0, 0, 1), (1, 0, 1, 0), (2, 0, 0, 1), (50, 950, 140, 860), (6, 6, 1, 12), (61, 5, 60, 21), (400, 1, 380, 9),
    (47, 197, 126, 118), (2, 28, 23, 7), (8, 2, 10, 0), (49, 9, 8, 50), (0, 60, 20, 40),
]


for i, u in enumerate(inputs.uniform(77, 40)):  # as many rows on both sides: the tails are mirror images
    rows = (20, 300, 4000, 60000)[i % 4]
    first = int(rows * (0.1 + 0.8 * u))
    second = min(max(first + int((i - 20) * rows**0.5 / 3), 0), rows)
    BINARY.append((first, rows - first, second, rows - second))


def fisher_decimal(a, b, c, d):
    """Two-sided, from all tables with 60 digits; equally likely ones to 1e-30."""
    n1, n2, n = a + b, c + d, a + c
    low, high = max(0, n - n2), min(n, n1)
    weights, w = {a: Decimal(1)}, Decimal(1)
    for k in range(a, high):
        w = w * ((n1 - k) * (n - k)) / ((k + 1) * (n2 - n + k + 1))
        weights[k + 1] = w
    w = Decimal(1)
    for k in range(a, low, -1):
        w = w * (k * (n2 - n + k)) / ((n1 - k + 1) * (n - k + 1))
        weights[k - 1] = w
    limit = 1 + Decimal(10) ** -30
    return sum(v for v in weights.values() if v <= limit) / sum(weights.values())


def binary_cases():
    for a, b, c, d in BINARY:
        out = {"table": [a, b, c, d], "p": 1.0, "odds": "nan", "z": 0.0, "z_p": 1.0}
        if min(a + b, c + d, a + c, b + d) > 0:
            scipy = stats.fisher_exact([[a, b], [c, d]])
            out["odds"] = inputs.number(scipy.statistic)
            out["p"] = inputs.number(fisher_decimal(a, b, c, d))
            if a + b + c + d < 5000 and out["p"] > 1e-250:
                out["p_scipy"] = float(scipy.pvalue)
            z, p = proportions_ztest([b, d], [a + b, c + d])
            out["z"], out["z_p"] = float(z), float(p)
            if a * d == b * c:
                out["z"], out["z_p"] = 0.0, 1.0
        out["h"] = 0.0 if a * d == b * c else float(proportion_effectsize(b / (a + b), d / (c + d)))
        yield out


def evidently_cases():
    """Whole columns through Evidently, bins and all."""
    def pairs():
        for i, n in enumerate((25, 60, 200, 1000, 5000, 40000)):
            yield {"kind": "normal", "n": n, "seed": 500 + i}, {"kind": "normal", "n": n // 2 + 3, "seed": 520 + i, "shift": 0.3}
            yield {"kind": "heavy", "n": n, "seed": 540 + i}, {"kind": "heavy", "n": n, "seed": 560 + i, "scale": 1.5}
            yield {"kind": "normal", "n": n, "seed": 580 + i, "quantum": 0.5}, {"kind": "normal", "n": n, "seed": 600 + i, "quantum": 0.5, "scale": 1.3}
            yield {"kind": "int", "n": n, "seed": 620 + i, "levels": 12}, {"kind": "int", "n": n * 2, "seed": 640 + i, "levels": 14}
            yield {"kind": "int", "n": n, "seed": 660 + i, "levels": 900}, {"kind": "int", "n": n, "seed": 680 + i, "levels": 1000}
        yield {"kind": "normal", "n": 300, "seed": 700, "scale": 1e-300}, {"kind": "normal", "n": 200, "seed": 701, "scale": 2e-300}
        yield {"kind": "normal", "n": 300, "seed": 702, "scale": 1e300}, {"kind": "normal", "n": 200, "seed": 703, "scale": 2e300}
        yield {"kind": "normal", "n": 300, "seed": 704, "shift": 1e12}, {"kind": "normal", "n": 200, "seed": 705, "shift": 1e12}
        yield {"kind": "const", "n": 40, "value": 3}, {"kind": "int", "n": 30, "seed": 706, "levels": 5}
        for levels in (20, 21):  # the mark between values and intervals
            yield {"kind": "int", "n": 900, "seed": 708, "levels": levels}, {"kind": "int", "n": 700, "seed": 709, "levels": 23}
        yield {"kind": "uniform", "n": 50, "seed": 707}, {"kind": "const", "n": 20, "value": 0.5}
    for r, c in pairs():
        integers = r["kind"] == "int" and c["kind"] == "int"
        ref, cur = pd.Series(inputs.values(r)), pd.Series(inputs.values(c))
        if integers:
            ref, cur = ref.astype("int64"), cur.astype("int64")
        num = ColumnType.Numerical
        p, q = get_binned_data(ref, cur, num, 30, False)
        out = {"reference": r, "current": c, "integers": integers,
               "p": sorted(map(inputs.number, p)), "q": sorted(map(inputs.number, q))}
        for name, f in (("jensenshannon", _jensenshannon), ("psi", _psi), ("kl_div", _kl_div), ("hellinger", _hellinger_distance)):
            out[name] = inputs.number(f(ref.copy(), cur.copy(), num, 0.1)[0])
        if abs(math.log10(r.get("scale", 1))) > 100 or r.get("shift"):
            # Evidently multiplies densities with bin widths, which loses all digits here.
            edges = np.histogram_bin_edges(np.unique(np.concatenate([ref, cur])), "sturges")
            out["hellinger"] = inputs.number(decimal_hellinger(*(shares(np.histogram(x, edges)[0]) for x in (ref, cur))))
        yield out


def category_cases():
    """Categories through Evidently and NannyML: rows by category of both sides."""
    for seed in range(1, 13):
        r, c = inputs.values(counts(4 + seed, seed, 60)).astype(int), inputs.values(counts(4 + seed, seed + 100, 40)).astype(int)
        names = np.arange(len(r))  # not texts, which Python's sets order anew each time
        ref, cur = pd.Series(np.repeat(names, r), name="x"), pd.Series(np.repeat(names, c), name="x")
        cat = ColumnType.Categorical
        keep = (r + c) > 0
        out = {"reference": r[keep].tolist(), "current": c[keep].tolist()}
        for name, f in (("jensenshannon", _jensenshannon), ("psi", _psi), ("kl_div", _kl_div), ("hellinger", _hellinger_distance)):
            out[name] = inputs.number(f(ref.copy(), cur.copy(), cat, 0.1)[0])
        out["tvd"] = inputs.number(_total_variation_distance(ref, cur))
        method = LInfinityDistance(chunker=DefaultChunker(), threshold=ConstantThreshold(upper=0.1))
        method.fit(ref)
        out["l_infinity"] = inputs.number(method.calculate(cur))
        yield out


def bins_cases():
    specs = [
        {"kind": "normal", "n": 1000, "seed": 1}, {"kind": "heavy", "n": 777, "seed": 2}, {"kind": "int", "n": 500, "seed": 3, "levels": 6},
        {"kind": "int", "n": 400, "seed": 4, "levels": 400}, {"kind": "normal", "n": 2, "seed": 5}, {"kind": "normal", "n": 11, "seed": 6},
        {"kind": "normal", "n": 100000, "seed": 7, "quantum": 0.25}, {"kind": "normal", "n": 64, "seed": 8, "scale": 1e300},
        {"kind": "normal", "n": 65, "seed": 9, "scale": 1e-300}, {"kind": "normal", "n": 1024, "seed": 10, "shift": 1e9},
        {"kind": "uniform", "n": 3, "seed": 11}, {"kind": "uniform", "n": 200000, "seed": 12, "scale": -7.0},
    ]
    for spec in specs:
        x = inputs.values(spec)
        current = {"kind": "normal", "n": 500, "seed": 99, "scale": spec.get("scale", 1.0) * 1.5, "shift": spec.get("shift", 0.0)}
        y = inputs.values(current)
        integers = spec["kind"] == "int"
        data = x.astype("int64") if integers else x
        for kind, n, edges in (
            [("quantile", n, np.unique(np.quantile(x, np.arange(n + 1) / n))) for n in (1, 4, 10, 50)]
            + [("width", n, np.histogram_bin_edges(x, n)) for n in (1, 7, 30)]
            + [("sturges", 0, np.histogram_bin_edges(data, "sturges"))]
        ):
            inside = np.clip(y, edges[0], edges[-1])  # the first and last bin take what lies outside
            yield {"spec": spec, "current": current, "integers": integers, "bins": kind, "n": n, "edges": [inputs.number(e) for e in edges],
                   "counts": np.histogram(x, edges)[0].tolist(), "current_counts": np.histogram(inside, edges)[0].tolist()}


def correction_cases():
    for p in (
        [0.01, 0.04, 0.03], [0.5], [1.0, 1.0, 1.0], [0.0, 0.2, 1.0], [1e-300, 1e-10, 0.04, 0.05, 0.9], [0.05] * 7, [0.2, 0.1, 0.2, 0.1, 0.001],
        inputs.uniform(1, 40).tolist(), (inputs.uniform(2, 25) ** 4).tolist(), (inputs.uniform(3, 200) ** 9).tolist(),
    ):
        yield {"p": p, "bh": stats.false_discovery_control(p, method="bh").tolist(), "bonferroni": multipletests(p, method="bonferroni")[1].tolist()}


def choice_cases():
    for numeric in (True, False):
        for rows in (10, 999, 1000, 1001, 5000):
            for distinct in (1, 2, 3, 5, 6, 7):
                ref = pd.Series(np.arange(rows) % distinct)
                for more in (0, 1):  # a value that only the current data have
                    cur = pd.Series(np.arange(50) % distinct + more)
                    test = get_stattest(ref, cur, ColumnType.Numerical if numeric else ColumnType.Categorical, None)
                    name = next(n for n, t in registry._registered_stat_tests.items() if test in t.values())
                    yield {"numeric": numeric, "distinct": len(set(ref) | set(cur)), "rows": rows, "name": name, "threshold": test.default_threshold}


def threshold_cases():
    for spec in ({"kind": "uniform", "n": 12, "seed": 1}, {"kind": "normal", "n": 50, "seed": 2, "shift": 3.0}, {"kind": "const", "n": 5, "value": 0.2},
                 {"kind": "list", "values": [0.1]}, {"kind": "uniform", "n": 10, "seed": 3, "nan_every": 4}, {"kind": "heavy", "n": 30, "seed": 4}):
        x = inputs.values(spec)
        for k in (1, 2.5, 3):
            low, high = StandardDeviationThreshold(k, k).thresholds(x)
            yield {"spec": spec, "k": k, "lower": float(low), "upper": float(high), "q": [float(np.nanquantile(x, v)) for v in (0, 0.05, 0.5, 0.95, 1)]}


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    base = "drift/stattest/testdata/golden_"
    inputs.write(base + "cells.json", [cells_case(r, c) for r, c in cell_pairs()])
    inputs.write(base + "chi2.json", list(survival_cases()))
    inputs.write(base + "fit.json", list(fit_cases()))
    inputs.write(base + "binary.json", list(binary_cases()))
    inputs.write(base + "evidently.json", list(evidently_cases()))
    inputs.write(base + "categories.json", list(category_cases()))
    inputs.write(base + "bins.json", list(bins_cases()))
    inputs.write(base + "corrections.json", list(correction_cases()))
    inputs.write(base + "choice.json", list(choice_cases()))
    inputs.write(base + "thresholds.json", list(threshold_cases()))
