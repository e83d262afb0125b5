"""Golden values of the numeric two-sample tests: SciPy's figures.

Where float64 overflows or loses digits in the reference itself (moments of values at the
ends of the range, or with a huge offset), the figure is computed in exact fractions.
"""

import math
import warnings
from fractions import Fraction

import numpy as np
from scipy import stats

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
    for shift in [0.0, 0.002, 0.01, 0.045]:
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


TESTS = [ks, wasserstein, wasserstein_raw]


def main():
    cases = []
    for name, reference, current in pairs():
        x, y = finite(inputs.values(reference)), finite(inputs.values(current))
        for test in TESTS:
            figures = test(x, y)
            if figures is None:
                continue
            case = {"test": test.__name__, "pair": name, "reference": reference, "current": current}
            for key, v in figures.items():
                case[key] = v if isinstance(v, str) else inputs.number(v)
            cases.append(case)
    inputs.write("drift/stattest/testdata/golden_numeric.json", cases)


if __name__ == "__main__":
    main()
