"""Golden values of the numeric two-sample tests: SciPy's figures, and Evidently's of MMD.

Where float64 overflows or loses digits in the reference itself (moments of values at the
ends of the range or with a huge offset, the Cramer-von Mises statistic of many values and the
upper tail of its distribution), the same formula is computed with more digits.
"""

import math
import warnings
from fractions import Fraction

import numpy as np
from evidently.legacy.calculations.stattests import mmd_stattest
from scipy import integrate, special, stats

import inputs

warnings.simplefilter("ignore")


def spec(kind="normal", n=0, seed=0, **more):
    return {"kind": kind, "n": n, "seed": seed, **more}


def listed(*values):
    return {"kind": "list", "values": list(values)}


def pairs():
    """Names and specs of the two sides."""
    seed = 100
    for n, m in [(2, 2), (2, 3), (3, 7), (5, 5), (8, 8), (8, 30), (9, 9), (10, 20), (20, 20), (21, 20), (25, 24), (24, 24)]:
        for shift in [0.0, 0.7, 30.0]:
            seed += 2
            yield f"small {n}x{m} shift {shift}", spec(n=n, seed=seed), spec(n=m, seed=seed + 1, shift=shift)
    for n, m in [(50, 50), (100, 73), (140, 9000), (500, 500), (1000, 1000), (1000, 2500), (997, 1009)]:
        for shift in [0.0, 0.1, 0.5, 3.0]:
            seed += 2
            yield f"medium {n}x{m} shift {shift}", spec(n=n, seed=seed), spec(n=m, seed=seed + 1, shift=shift)
    for n, m in [(10000, 10000), (10000, 9999), (12000, 50), (12000, 3), (15000, 140), (20000, 1000), (11000, 11000), (30000, 100000)]:
        for shift in [0.0, 0.02, 0.1, 0.3, 1.5]:
            seed += 2
            yield f"large {n}x{m} shift {shift}", spec(n=n, seed=seed), spec(n=m, seed=seed + 1, shift=shift)
    for n, m in [(20000, 20000), (2000, 1500), (300, 500)]:
        for shift in [0.15, 0.25, 0.3, 0.35, 0.4, 0.45, 0.55, 0.7, 0.9, 1.1, 1.4, 1.7, 2.2]:
            seed += 2
            yield f"tail {n}x{m} shift {shift}", spec(n=n, seed=seed), spec(n=m, seed=seed + 1, shift=shift)
    for shift in [0.0, 0.002, 0.045]:
        seed += 2
        yield f"million shift {shift}", spec("uniform", 1000000, seed), spec("uniform", 1000000, seed + 1, shift=shift)
    for n, m, levels in [(6, 7, 3), (20, 20, 4), (30, 40, 2), (300, 200, 5), (2000, 3000, 11), (11000, 12000, 10), (12000, 11000, 300)]:
        for shift in [0.0, 1.0]:
            seed += 2
            yield (
                f"integers {n}x{m} of {levels} shift {shift}",
                spec("int", n, seed, levels=levels),
                spec("int", m, seed + 1, levels=levels, shift=shift),
            )
    for n, m, quantum in [(15, 18, 0.5), (200, 150, 0.25), (5000, 6000, 0.125), (12000, 13000, 0.25)]:
        seed += 2
        yield f"ties {n}x{m} of {quantum}", spec(n=n, seed=seed, quantum=quantum), spec(n=m, seed=seed + 1, quantum=quantum, shift=0.2)
    for scale in [1e-300, 1e-160, 1e-20, 1e-5, 1e5, 1e20, 1e160, 1e300]:
        for n, m in [(12, 15), (400, 300)]:
            seed += 2
            yield f"scale {scale:g} {n}x{m}", spec("uniform", n, seed, scale=scale), spec("uniform", m, seed + 1, scale=1.25 * scale)
    for offset in [1e6, -1e9, 1e12]:
        for n, m in [(15, 12), (300, 400)]:
            seed += 2
            yield f"offset {offset:g} {n}x{m}", spec(n=n, seed=seed, shift=offset), spec(n=m, seed=seed + 1, shift=offset + 0.5)
    for n, m in [(30, 40), (3000, 2000), (20000, 20000)]:
        seed += 2
        yield f"heavy {n}x{m}", spec("heavy", n, seed), spec("heavy", m, seed + 1, scale=1.1)
    yield "missing", spec(n=300, seed=7, nan_every=3), spec(n=200, seed=8, nan_every=7, shift=0.3)
    yield "one value each", listed(1), listed(2)
    yield "one value, equal", listed(3), listed(3)
    yield "one against many", listed(0.5), spec(n=40, seed=9)
    yield "constants, equal", spec("const", 20, value=4), spec("const", 30, value=4)
    yield "constants, different", spec("const", 20, value=4), spec("const", 30, value=5)
    yield "constant against values", spec("const", 50, value=0.25), spec(n=60, seed=10)
    yield "identical", spec(n=50, seed=11), spec(n=50, seed=11)
    yield "identical, large", spec(n=11000, seed=11), spec(n=11000, seed=11)
    yield "infinities", listed("-inf", 1, 2, 3, "inf", 9, 4, 7, 12, 11), listed("-inf", "-inf", 0, 2.5, "inf", 6, 5, 8, 13, 10)
    yield "only infinities", listed("-inf", "inf", "inf"), listed("-inf", "-inf", "inf", "inf")
    yield "signed zeros", listed(-0.0, 0.0, 1, -1, 0.5), listed(0.0, -0.0, -0.0, 2, 0.5, -3)


def finite(x):
    return x[~np.isnan(x)]


def exactly(x):
    return [Fraction(float(v)) for v in x]


def extreme(x, y):
    """Whether float64 moments of the values would not have the digits that we ask for."""
    top = max(np.abs(x).max(), np.abs(y).max())
    if top == 0:
        return False
    spread = max(np.ptp(x), np.ptp(y))
    return top > 1e100 or top < 1e-100 or (spread > 0 and top / spread > 1e4 and len(x) + len(y) < 2000)


def root(f, digits=40):
    """The square root of a fraction, of any size, as a Fraction to 40 digits."""
    if f == 0:
        return Fraction(0)
    shift = 0
    while f * Fraction(100) ** shift < 10 ** (2 * digits):
        shift += 10
    while f * Fraction(100) ** shift > 10 ** (2 * digits + 20):
        shift -= 10
    scaled = f * Fraction(100) ** shift
    return Fraction(math.isqrt(int(scaled))) / Fraction(10) ** shift


def variance(x):
    e = exactly(x)
    mean = sum(e) / len(e)
    return sum((v - mean) ** 2 for v in e) / len(e)


def integral(x, y, p):
    """The integral of |F-G|**p, exactly."""
    z = sorted(set(x.tolist()) | set(y.tolist()))
    x, y = np.sort(x), np.sort(y)
    total = Fraction(0)
    for a, b in zip(z, z[1:]):
        f = Fraction(int(np.searchsorted(x, a, "right")), len(x)) - Fraction(int(np.searchsorted(y, a, "right")), len(y))
        total += abs(f) ** p * (Fraction(b) - Fraction(a))
    return total


def ks(x, y):
    method = "exact" if max(len(x), len(y)) <= 10000 else "asymptotic"
    r = stats.ks_2samp(x, y)
    return {"score": r.statistic, "p_value": r.pvalue, "method": method}


def wasserstein_raw(x, y):
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return None
    return {"score": float(integral(x, y, 1)) if extreme(x, y) else stats.wasserstein_distance(x, y)}


def wasserstein(x, y):
    raw = wasserstein_raw(x, y)
    if raw is None:
        return None
    if extreme(x, y):
        return {"score": float(integral(x, y, 1) / max(root(variance(x)), Fraction(0.001)))}
    return {"score": raw["score"] / max(np.std(x), 0.001)}


def energy(x, y):
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return None
    return {"score": float(root(2 * integral(x, y, 2))) if extreme(x, y) else stats.energy_distance(x, y)}


def groups(*sides):
    """The weights of each distinct value in each side, by value."""
    z = np.unique(np.concatenate(sides))
    return [np.diff(np.concatenate([[0], np.searchsorted(np.sort(s), z, "right")])) for s in sides]


def separation(x, y, weight):
    """The mean of weight(H)*(F-G)**2 over all rows, with F, G and H in the middle of steps."""
    a, b = groups(x, y)
    f = (np.cumsum(a) - a / 2) / len(x)
    g = (np.cumsum(b) - b / 2) / len(y)
    n = len(x) + len(y)
    h = (np.cumsum(a + b) - (a + b) / 2) / n
    return np.sum((a + b) / n * (f - g) ** 2 * weight(h, (a + b) / n))


def anderson(x, y):
    if len(x) + len(y) < 4 or len(np.unique(np.concatenate([x, y]))) < 2:
        return None
    r = stats.anderson_ksamp([x, y], variant="midrank")
    cut = {0.25: ", cut at 0.25", 0.001: ", cut at 0.001"}.get(float(r.pvalue), "")
    n = len(x) + len(y)
    effect = (n - 1) / n * separation(x, y, lambda h, w: 1 / (h * (1 - h) - w / 4))
    return {"score": r.statistic, "p_value": r.pvalue, "effect_size": effect, "method": "interpolated" + cut}


def cramer_tail(t):
    """P(W >= t) of the limiting distribution by Smirnov's formula."""
    total = 0.0
    for j in range(1, 200):
        a, b = (2 * j - 1) * math.pi, 2 * j * math.pi

        def f(u):
            # 1/sqrt(-u sin u) without its singularities at both ends
            s = (u - a) * (b - u)
            d = min(u - a, b - u)
            ratio = d / math.sin(d) * (max(u - a, b - u)) if d > 0 else math.pi
            return math.sqrt(ratio / u) * math.exp(-t * (u * u - a * a) / 2) if s >= 0 else 0.0

        # the integrand falls off from a on: the far part is left out
        cut = min(b, a + 40 / (t * a))
        if cut < b:
            part = integrate.quad(lambda u: f(u) / math.sqrt(b - u), a, cut, weight="alg", wvar=(-0.5, 0), epsabs=0, epsrel=1e-12, limit=400)[0]
        else:
            part = integrate.quad(f, a, b, weight="alg", wvar=(-0.5, -0.5), epsabs=0, epsrel=1e-12, limit=400)[0]
        term = 2 / math.pi * part * math.exp(-t * a * a / 2) * (1 if j % 2 else -1)
        total += term
        if abs(term) <= 1e-17 * total:
            return total
    raise ValueError(t)


def cramer_von_mises(x, y):
    if min(len(x), len(y)) < 2:
        return None
    r = stats.cramervonmises_2samp(x, y)
    n, m = len(x), len(y)
    a, b = (v.astype(np.longdouble) for v in groups(x, y))
    ca, cb = np.cumsum(a) - a, np.cumsum(b) - b
    u = n * np.sum(a * ((cb + b / 2) ** 2 + (a * a - 1) / 12)) + m * np.sum(b * ((ca + a / 2) ** 2 + (b * b - 1) / 12))
    k, total = np.longdouble(n * m), np.longdouble(n + m)
    t = float(u / (k * total) - (4 * k - 1) / (6 * total))
    assert abs(t - r.statistic) <= 1e-7 * max(t, 1e-2), (t, r.statistic)
    case = {"score": t, "effect_size": t * (n + m) / (n * m)}
    if max(n, m) <= 20:
        return {**case, "p_value": r.pvalue, "method": "exact"}
    p = r.pvalue
    if p < 0.9:
        et = (1 + 1 / (n + m)) / 6
        vt = (n + m + 1) * (4 * n * m * (n + m) - 3 * (n**2 + m**2) - 2 * n * m) / (45 * (n + m) ** 2 * 4 * n * m)
        p = cramer_tail(1 / 6 + (t - et) / math.sqrt(45 * vt))
        assert abs(p - r.pvalue) < 2e-6, (p, r.pvalue)  # what SciPy stops its series at
    return {**case, "p_value": p, "method": "asymptotic"}


def mannw(x, y):
    n, m = len(x), len(y)
    ties = len(np.unique(np.concatenate([x, y]))) < n + m
    r = stats.mannwhitneyu(x, y)
    method = "exact" if min(n, m) <= 8 and not ties else "asymptotic"
    return {"score": r.statistic, "p_value": r.pvalue, "effect_size": 2 * r.statistic / (n * m) - 1, "method": method}


def t_test(x, y):
    if min(len(x), len(y)) < 2 or not (np.isfinite(x).all() and np.isfinite(y).all()) or np.ptp(x) == np.ptp(y) == 0:
        return None
    n, m = len(x), len(y)
    if not extreme(x, y):
        r = stats.ttest_ind(x, y, equal_var=False)
        t, p = r.statistic, r.pvalue
        d = (x.mean() - y.mean()) / math.sqrt((np.var(x) * n + np.var(y) * m) / (n + m - 2))
    else:
        difference = sum(exactly(x)) / n - sum(exactly(y)) / m
        a, b = variance(x) / (n - 1), variance(y) / (m - 1)
        t = float(difference / root(a + b))
        df = float((a + b) ** 2 / (a**2 / (n - 1) + b**2 / (m - 1)))
        p = 2 * special.stdtr(df, -abs(t))
        d = float(difference / root((variance(x) * n + variance(y) * m) / (n + m - 2)))
    return {"score": t, "p_value": p, "effect_size": d, "method": "asymptotic"}


def es(x, y):
    if min(len(x), len(y)) < 5 or not (np.isfinite(x).all() and np.isfinite(y).all()):
        return None
    both = np.concatenate([x, y])
    if stats.iqr(both) == 0 or np.ptp(x) == np.ptp(y) == 0:
        return None
    if extreme(x, y):  # W does not depend on scale and origin
        factor = 2.0 ** -np.frexp(np.abs(both).max())[1] if not 1e-100 < np.abs(both).max() < 1e100 else 1.0
        x, y = x * factor, y * factor
        origin = np.round(np.median(both * factor))
        x, y = x - origin, y - origin
    r = stats.epps_singleton_2samp(x, y)
    return {"score": r.statistic, "p_value": r.pvalue, "effect_size": math.sqrt(r.statistic / len(both)), "method": "asymptotic"}


def empirical_mmd(x, y):
    if not 2 <= min(len(x), len(y)) <= max(len(x), len(y)) <= 1000 or not (np.isfinite(x).all() and np.isfinite(y).all()):
        return None
    if extreme(x, y):
        return None
    k = mmd_stattest.kernel_matrix(x.reshape(-1, 1), y.reshape(-1, 1))
    k = k - np.diag(np.diagonal(k))
    return {"score": mmd_stattest.mmd_2samp(k, len(y))}


NAMES = {"energy": "ed"}
TESTS = [ks, wasserstein, wasserstein_raw, energy, anderson, cramer_von_mises, mannw, t_test, es, empirical_mmd]


def case(test, name, reference, current, figures, **more):
    out = {"test": test, "pair": name, "reference": reference, "current": current, **more}
    for key, v in figures.items():
        out[key] = v if isinstance(v, str) else inputs.number(v)
    return out


def weighted():
    """Distances of weighted values: SciPy takes weights there."""
    for n, m, quantum in [(5, 9, 0), (200, 300, 0), (400, 100, 0.25), (30000, 20000, 0)]:
        reference, current = spec(n=n, seed=n, quantum=quantum), spec(n=m, seed=m, quantum=quantum, shift=0.3)
        weights = spec("uniform", n, n + 1, shift=0.01), spec("uniform", m, m + 1, scale=3.0, shift=0.01)
        x, y, u, v = (inputs.values(s) for s in (reference, current, *weights))
        for name, figure in [("wasserstein_raw", stats.wasserstein_distance(x, y, u, v)), ("ed", stats.energy_distance(x, y, u, v))]:
            yield case(name, f"weighted {n}x{m}", reference, current, {"score": figure}, weights=list(weights))


def many():
    """Anderson-Darling of three samples and more."""
    for k in (2, 3, 5, 8):
        for n, quantum in [(4, 0), (30, 0), (30, 0.5), (700, 0.125), (5000, 0)]:
            for shift in (0.0, 0.05, 0.2):
                specs = [spec(n=n + 3 * i, seed=1000 * k + n + i, quantum=quantum, shift=shift * i) for i in range(k)]
                r = stats.anderson_ksamp([inputs.values(s) for s in specs], variant="midrank")
                yield {"samples": specs, "score": inputs.number(r.statistic), "p_value": inputs.number(r.pvalue)}


def main():
    cases = []
    for name, reference, current in pairs():
        x, y = finite(inputs.values(reference)), finite(inputs.values(current))
        for test in TESTS:
            figures = test(x, y)
            if figures is not None:
                cases.append(case(NAMES.get(test.__name__, test.__name__), name, reference, current, figures))
    cases.extend(weighted())
    inputs.write("drift/stattest/testdata/golden_numeric.json", cases)
    inputs.write("drift/stattest/testdata/golden_anderson.json", list(many()))


if __name__ == "__main__":
    main()
