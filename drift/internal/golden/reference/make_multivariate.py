"""Golden values of comparisons of several columns: NannyML's PCA reconstruction error, energy
distances by their formula, and the pieces of the domain classifier's figures.

A column is a sum of generated inputs, {"parts": [[factor, spec], ...], "categorical": bool}.
"""

import os
import warnings

os.environ["NML_DISABLE_USAGE_LOGGING"] = "1"

import nannyml
import numpy as np
import pandas as pd
from scipy import stats
from sklearn.metrics import roc_auc_score

import inputs

warnings.filterwarnings("ignore")


def normal(n, seed, **more):
    return {"kind": "normal", "n": n, "seed": seed, **more}


def levels(n, seed, levels, **more):
    return {"kind": "int", "n": n, "seed": seed, "levels": levels, **more}


def const(n, value):
    return {"kind": "const", "n": n, "value": value}


def col(*parts, categorical=False):
    return {"parts": [p if isinstance(p, list) else [1.0, p] for p in parts], "categorical": categorical}


def cat(spec):
    return col(spec, categorical=True)


def values(column):
    out = np.zeros(len(inputs.values(column["parts"][0][1])))
    for factor, spec in column["parts"]:
        out = out + factor * inputs.values(spec)
    return out


def correlated(n, seed, d, factor, shift=0.0, scale=1.0):
    """d columns with a common part."""
    return [
        col([factor, normal(n, seed)], normal(n, seed + 1 + j, shift=shift * j, scale=scale)) for j in range(d)
    ]


def cases():
    """name, reference, current, parameters of NannyML."""
    n = 2000
    yield "null", correlated(n, 1, 5, 2.0), correlated(n, 50, 5, 2.0), {}
    yield "correlation lost", correlated(n, 1, 5, 2.0), correlated(n, 60, 5, 0.5), {}
    yield "correlation gained", correlated(n, 1, 5, 0.3), correlated(n, 60, 5, 3.0), {}
    yield "shift", correlated(n, 1, 4, 1.0), correlated(n, 70, 4, 1.0, shift=2.0), {}
    yield "two columns", correlated(500, 3, 2, 1.0), correlated(500, 80, 2, 0.1), {}
    yield "many columns", correlated(1000, 4, 40, 1.0), correlated(800, 90, 40, 0.6), {}
    yield "collinear", correlated(n, 5, 3, 1.0) + correlated(n, 5, 3, 1.0), correlated(n, 150, 6, 1.0), {}
    base = correlated(n, 6, 3, 1.5)
    yield "constant", base + [col(const(n, 5.0))], correlated(n, 160, 3, 1.5) + [col(const(n, 5.0))], {}
    yield "constant moves", base + [col(const(n, 5.0))], correlated(n, 160, 3, 1.5) + [col(const(n, 9.0))], {}
    gaps = [col(normal(n, 10, nan_every=3), [0.5, normal(n, 11)]), col(normal(n, 11, nan_every=7)), col(normal(n, 12))]
    more = [col(normal(n, 20, nan_every=2)), col(normal(n, 21, nan_every=5)), col(normal(n, 22, shift=1.0))]
    yield "missing", gaps, more, {}
    mixed = [cat(levels(n, 30, 3)), cat(levels(n, 31, 8, nan_every=4)), col(normal(n, 32)), col(normal(n, 32), [0.4, normal(n, 33)])]
    other = [cat(levels(n, 40, 4)), cat(levels(n, 41, 9, nan_every=9)), col(normal(n, 42)), col(normal(n, 43))]
    yield "categories", mixed, other, {}
    yield "categories only", [cat(levels(n, 44 + j, 2 + j)) for j in range(4)], [cat(levels(n, 50 + j, 3 + j)) for j in range(4)], {}
    yield "mode of equals", [cat({"kind": "list", "values": [2, 1, 3, "nan", 3, 1, 2, 0, "nan", 1, 2, 3] * 10}), col(normal(120, 60)), col(normal(120, 61))], [
        cat({"kind": "list", "values": [1, 2, "nan", 0] * 30}), col(normal(120, 62)), col(normal(120, 63))], {}
    yield "large", [col(normal(n, 70, scale=1e12, shift=3e12)), col([1e12, normal(n, 70)], normal(n, 71, scale=1e12)), col(normal(n, 72, scale=1e-9))], [
        col(normal(n, 73, scale=1e12, shift=3e12)), col(normal(n, 74, scale=1e12)), col(normal(n, 75, scale=1e-9))], {}
    yield "offset", [col(normal(n, 76, shift=1e6)), col(normal(n, 77, shift=-1e6), [2.0, normal(n, 76)])], [
        col(normal(n, 78, shift=1e6)), col(normal(n, 79, shift=-1e6))], {}
    yield "more columns than rows", correlated(30, 100, 50, 1.0), correlated(20, 300, 50, 1.0), {}
    yield "few rows", correlated(60, 110, 12, 1.0), correlated(45, 310, 12, 1.0), {}
    yield "rest", correlated(1037, 120, 5, 1.0), correlated(911, 320, 5, 0.8), {}
    yield "heavy", [col({"kind": "heavy", "n": n, "seed": 130 + j}) for j in range(4)], [
        col({"kind": "heavy", "n": n, "seed": 140 + j}) for j in range(4)], {}
    yield "components", correlated(n, 1, 6, 2.0), correlated(n, 60, 6, 0.5), {"n_components": 2}
    yield "all but one", correlated(n, 1, 6, 2.0), correlated(n, 60, 6, 0.5), {"n_components": 5}
    yield "explained", correlated(n, 1, 6, 2.0), correlated(n, 60, 6, 0.5), {"n_components": 0.9}
    yield "chunk size", correlated(n, 1, 6, 2.0), correlated(n, 60, 6, 0.5), {"chunk_size": 150}
    yield "chunk number", correlated(n, 1, 6, 2.0), correlated(n, 60, 6, 0.5), {"chunk_number": 7}
    yield "tall", correlated(200_000, 170, 6, 1.0), correlated(100_000, 370, 6, 0.9), {}


def frame(columns):
    out = {}
    for j, c in enumerate(columns):
        v = values(c)
        if c["categorical"]:
            v = np.array([np.nan if np.isnan(x) else "c%d" % x for x in v], dtype=object)
        out["x%02d" % j] = v
    return pd.DataFrame(out)


def chunks(data, period):
    rows = data[data[("chunk", "period")] == period]
    return [
        {
            "first": int(r[("chunk", "start_index")]),
            "last": int(r[("chunk", "end_index")]),
            "error": inputs.number(r[("reconstruction_error", "value")]),
            "sampling_error": inputs.number(r[("reconstruction_error", "sampling_error")]),
            "drifted": bool(r[("reconstruction_error", "alert")]),
        }
        for _, r in rows.iterrows()
    ]


def pca():
    for name, reference, current, config in cases():
        a, b = frame(reference), frame(current)
        calculator = nannyml.DataReconstructionDriftCalculator(column_names=list(a.columns), **config)
        calculator.fit(a)
        result = calculator.calculate(b).data
        whole = [calculator._calculate_dre_results(x.copy()) for x in (a, b)]
        lower = calculator.lower_threshold_value
        yield {
            "name": name,
            "reference": reference,
            "current": current,
            "config": config,
            "components": int(calculator._pca.n_components_),
            "explained": inputs.number(calculator._pca.explained_variance_ratio_.sum()),
            "reference_error": inputs.number(whole[0][0]),
            "current_error": inputs.number(whole[1][0]),
            "current_sampling_error": inputs.number(whole[1][1] / np.sqrt(len(b))),
            "lower": None if lower is None else inputs.number(lower),
            "upper": inputs.number(calculator.upper_threshold_value),
            "reference_chunks": chunks(result, "reference"),
            "current_chunks": chunks(result, "analysis"),
        }


def squares(columns, reference):
    """Squared distances of all pairs, by column."""
    out = []
    for c, r in zip(columns, reference):
        x, ref = c["values"], values(r)
        if r["categorical"]:
            code = np.where(np.isnan(ref), -1e9, ref)
            _, counts = np.unique(code, return_counts=True)
            g = 1 - np.sum((counts / len(ref)) ** 2)
            x = np.where(np.isnan(x), -1e9, x)
            out.append((x[:, None] != x[None, :]) * (2 / (g if g > 0 else 1)))
        else:
            mean = np.nanmean(ref)
            filled = np.where(np.isnan(ref), mean, ref)
            deviation = filled.std() if len(set(filled)) > 1 else 1.0
            z = (np.where(np.isnan(x), mean, x) - mean) / deviation
            out.append((z[:, None] - z[None, :]) ** 2)
    return out


def energies():
    for name, reference, current, config in cases():
        if config:
            continue
        m, n = (min(len(values(c[0])), 300) for c in (reference, current))
        # The first rows of long inputs.
        pooled = [{"values": np.concatenate([values(r)[:m], values(c)[:n]])} for r, c in zip(reference, current)]
        short = [{**r, "parts": [[1.0, {"kind": "list", "values": values(r)[:m].tolist()}]]} for r in reference]
        s = squares(pooled, short)

        def energy(d, unbiased):
            within = [d[:m, :m].sum(), d[m:, m:].sum()]
            a, b = (m * (m - 1), n * (n - 1)) if unbiased else (m * m, n * n)
            return 2 * d[:m, m:].sum() / (m * n) - within[0] / a - within[1] / b

        d = np.sqrt(sum(s))
        amounts = [max(0.0, energy(v / np.where(d > 0, d, 1), True)) for v in s]
        yield {
            "name": name,
            "reference": reference,
            "current": current,
            "rows": [m, n],
            "distance": inputs.number(np.sqrt(max(0.0, energy(d, False)))),
            "shares": [inputs.number(a / sum(amounts)) if sum(amounts) else 0.0 for a in amounts],
        }
    for seed in range(8):
        a, b = normal(150 + seed, 400 + seed), normal(100, 500 + seed, shift=0.3 * seed, scale=1 + 0.2 * seed)
        x, y = inputs.values(a), inputs.values(b)
        yield {
            "name": "scipy %d" % seed,
            "reference": [col(a)],
            "current": [col(b)],
            "rows": [len(x), len(y)],
            "distance": stats.energy_distance((x - x.mean()) / x.std(), (y - x.mean()) / x.std()),
            "shares": [],  # SciPy has none
        }


def classifier():
    for seed, (n, q) in enumerate([(10, 0.0), (100, 0.0), (1000, 0.0), (1000, 0.5), (500, 2.0), (50, 10.0)]):
        scores = normal(n, 600 + seed, **({"quantum": q} if q else {}))
        labels = {"kind": "uniform", "n": n, "seed": 700 + seed, "shift": 0.3, "quantum": 1.0}
        null = [0.5 + 0.01 * v for v in inputs.values(normal(20, 800 + seed)).tolist()]
        x = inputs.values(scores)
        auc = roc_auc_score(inputs.values(labels), x)
        for area in (auc, 0.45, 0.505, 0.53, 0.7, 0.99):
            t = (area - np.mean(null)) / (np.std(null, ddof=1) * np.sqrt(1 + 1 / len(null)))
            yield {
                "scores": scores,
                "labels": labels,
                "auc": auc,
                "null": null,
                "area": area,
                "p": float(stats.t.sf(t, len(null) - 1)),
            }


if __name__ == "__main__":
    inputs.write("drift/multivariate/testdata/golden_pca.json", list(pca()))
    inputs.write("drift/multivariate/testdata/golden_energy.json", list(energies()))
    inputs.write("drift/multivariate/testdata/golden_classifier.json", list(classifier()))
