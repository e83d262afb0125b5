"""Golden values of the online detectors: River's, and a plain CUSUM."""

import math
import random
from fractions import Fraction

import numpy as np
from river import drift
from scipy import stats

import inputs


def normal(n, seed, shift=0.0, scale=1.0, **more):
    return {"kind": "normal", "n": n, "seed": seed, "shift": shift, "scale": scale, **more}


def uniform(n, seed, shift=0.0, scale=1.0, **more):
    return {"kind": "uniform", "n": n, "seed": seed, "shift": shift, "scale": scale, **more}


def bernoulli(n, seed, p):
    """floor(u + p) is 1 with probability p."""
    return uniform(n, seed, shift=p, quantum=1.0)


def const(n, value):
    return {"kind": "const", "n": n, "value": value}


def gradual(make, n, steps, start, end, seed):
    """A change in steps; make(n, seed, level)."""
    return [make(n // steps, seed + i, start + (end - start) * i / (steps - 1)) for i in range(steps)]


NUMERIC = {
    "none": [normal(5000, 1)],
    "abrupt": [normal(1000, 2), normal(1000, 3, shift=3.0)],
    "small": [normal(3000, 4), normal(3000, 5, shift=0.5)],
    "down": [normal(1500, 6, shift=10.0), normal(1500, 7, shift=7.0)],
    "gradual": gradual(normal, 6000, 60, 0.0, 4.0, 100),
    "back and forth": [normal(700, 10 + i, shift=5.0 * (i % 2)) for i in range(8)],
    "variance": [normal(2000, 20), normal(2000, 21, scale=4.0)],
    "constant": [const(3000, 7.25)],
    "constant steps": [const(500, 0.0), const(500, 1.0), const(500, 1.5), const(700, -2.0)],
    "tiny": [const(1, 3.0), normal(3, 22)],
    "offset": [normal(1500, 23, shift=1e9), normal(1500, 24, shift=1e9 + 5)],
    "large": [normal(1500, 25, scale=1e100), normal(1500, 26, scale=1e100, shift=4e100)],
    "small scale": [normal(1500, 27, scale=1e-120), normal(1500, 28, scale=1e-120, shift=4e-120)],
    "heavy": [{"kind": "heavy", "n": 4000, "seed": 29}],
    "ties": [{"kind": "int", "n": 2000, "seed": 30, "levels": 4}, {"kind": "int", "n": 2000, "seed": 31, "levels": 6}],
    "unit": [uniform(2000, 32), uniform(2000, 33, shift=0.3), uniform(2000, 34, scale=0.2)],
    "errors": [bernoulli(2000, 35, 0.1), bernoulli(2000, 36, 0.4)],
    "long": [normal(50_000, 37), normal(30_000, 38, shift=1.0), normal(20_000, 39, shift=0.9)],
}

BINARY = {
    "steady": [bernoulli(5000, 50, 0.2)],
    "abrupt": [bernoulli(1000, 51, 0.1), bernoulli(1000, 52, 0.4)],
    "half": [bernoulli(1000, 53, 0.5), bernoulli(1000, 54, 0.7)],
    "better": [bernoulli(2000, 55, 0.5), bernoulli(2000, 56, 0.2), bernoulli(2000, 57, 0.5)],
    "gradual": gradual(bernoulli, 6000, 60, 0.05, 0.5, 200),
    "never": [const(2000, 0)],
    "always": [const(2000, 1)],
    "first error": [const(500, 0), bernoulli(500, 58, 0.5)],
    "rare": [bernoulli(20_000, 59, 0.002), bernoulli(5000, 60, 0.02)],
    "alternating rates": [bernoulli(400, 61 + i, 0.1 + 0.5 * (i % 2)) for i in range(8)],
    "short": [bernoulli(20, 70, 0.5)],
    "long": [bernoulli(60_000, 71, 0.25), bernoulli(40_000, 72, 0.3)],
}


class Cusum:
    """Page's two-sided CUSUM in the tabular form (Montgomery, chapter 9), as plain as can be,
    with exact estimates."""

    def __init__(self, target=0.0, sigma=0.0, k=0.5, h=5.0, warm_start=30):
        self.given = (Fraction(target), sigma) if sigma else None
        self.k, self.h, self.warm_start = k, h, warm_start
        self.drift_detected = False
        self.reset()

    def reset(self):
        self.upper = self.lower = 0.0
        self.n, self.total, self.squares = 0, Fraction(0), Fraction(0)
        self.mean, self.sigma, self.ready = 0.0, 0.0, False
        if self.given:
            (self.mean, self.sigma), self.ready = self.given, True

    def update(self, x):
        if self.drift_detected:
            self.reset()
        self.drift_detected = False
        if not self.ready:
            self.n += 1
            self.total += Fraction(x)
            self.squares += Fraction(x) ** 2
            self.mean = self.total / self.n
            if self.n > 1:
                self.sigma = math.sqrt((self.squares - self.total * self.mean) / (self.n - 1))
            self.ready = self.n >= self.warm_start and self.sigma > 0
            return
        z = float(Fraction(x) - self.mean) / self.sigma
        self.upper = max(0.0, self.upper + z - self.k)
        self.lower = max(0.0, self.lower - z - self.k)
        self.drift_detected = self.upper > self.h or self.lower > self.h


def page_hinkley(d):
    n = d._x_mean.n
    return {
        "mean": d._x_mean.get(),
        "width": n,
        "increase": d._sum_increase - d._min_increase if n else 0.0,
        "decrease": d._max_decrease - d._sum_decrease if n else 0.0,
    }


def ddm(d):
    p, n = d._p.get(), d._p.n
    return {
        "rate": p,
        "deviation": math.sqrt(p * (1 - p) / n) if n else 0.0,
        "least rate": d._p_min or 0.0,
        "least deviation": d._s_min or 0.0,
    }


class EDetector:
    """The e-detector for bounded values (Shin, Ramdas and Rinaldo) with the increments of R's stcp,
    1 + b ((x - low) / (m - low) - 1), gathered from their definition: M of SR is the sum over all
    starts of the product of increments from there on, and of CUSUM the greatest of these. Sums are
    exact; the mean of a warm start is bounded by WSR's theorem 2 and by SciPy's t."""

    BETS = [Fraction(1, 2**k) for k in range(8, 0, -1)] + [Fraction(3, 4), Fraction(15, 16)]

    def __init__(self, run_length=10_000, mode="up", form="sr", low=0.0, high=1.0, block=20, warm_start=1000, mean=0.0,
                 miss=0.05, slack=0.0):
        self.low, self.width = Fraction(low), Fraction(high) - Fraction(low)
        self.mode, self.form, self.block, self.blocks = mode, form, block, warm_start // block
        self.mean, self.slack = Fraction(mean), Fraction(slack) / (Fraction(high) - Fraction(low))
        self.side = miss / 2 if mode == "both" else miss
        self.threshold = run_length / block / (1 - miss if warm_start else 1)
        self.drift_detected = False
        self.reset()

    def reset(self):
        self.values, self.means, self.bounds = [], [], None
        # Products of increments from each start, as logarithms and so not exact, per bet.
        self.products = {(mode, bet): np.zeros(0) for mode in ("up", "down") for bet in self.BETS}
        self.e = 0.0
        if not self.blocks:
            m = (self.mean - self.low) / self.width
            self.set_bounds(m, m)

    def set_bounds(self, low, high):
        self.bounds = (
            min(max(low - self.slack, 0), 1 - Fraction(1e-9)),
            max(min(high + self.slack, 1), Fraction(1e-9)),
        )

    def learn(self):
        n, log = len(self.values), math.log(1 / self.side)
        total, deviations, weights, weighted, uncertainty = Fraction(0), Fraction(0), 0.0, 0.0, 0.0
        for i, x in enumerate(self.values):
            mean = (Fraction(1, 2) + total) / (i + 1)
            bet = min(math.sqrt(2 * log / (float((Fraction(1, 4) + deviations) / (i + 1)) * n)), 0.5)
            weights += bet
            weighted += bet * float(x)
            uncertainty += float(x - mean) ** 2 * (-math.log(1 - bet) - bet)
            total += x
            deviations += Fraction(float(x - (Fraction(1, 2) + total) / (i + 2))) ** 2
        center, width = weighted / weights, (log + uncertainty) / weights
        k = len(self.means)
        mean = sum(self.means) / k
        t = stats.t.ppf(1 - self.side, k - 1) * math.sqrt(float(sum((m - mean) ** 2 for m in self.means) / (k - 1)) / k)
        self.set_bounds(
            Fraction(min(center - width, float(mean) - t)), Fraction(max(center + width, float(mean) + t))
        )

    def update(self, x):
        if self.drift_detected:
            self.reset()
        self.drift_detected = False
        self.values.append((Fraction(x) - self.low) / self.width)
        if len(self.values) % self.block:
            return
        x = sum(self.values[-self.block :]) / self.block
        if self.bounds is None:
            self.means.append(x)
            if len(self.means) == self.blocks:
                self.learn()
                self.values = []
            return
        self.values = []
        low, high = self.bounds
        e = []
        for mode, excess in (("up", x / high - 1), ("down", (1 - x) / (1 - low) - 1)):
            if self.mode not in (mode, "both"):
                continue
            for bet in self.BETS:
                products = np.append(self.products[mode, bet], 0.0) + math.log(float(1 + bet * excess))
                self.products[mode, bet] = products
                terms = np.exp(products)
                e.append(float(terms.sum() if self.form == "sr" else terms.max()))
        self.e = sum(e) / len(e)
        self.drift_detected = self.e >= self.threshold


def e_detector(d):
    low, high = d.bounds or (Fraction(0), Fraction(0))
    return {
        "low": float(d.low + low * d.width),
        "high": float(d.low + high * d.width),
        "e": d.e,
        "threshold": d.threshold,
    }


BOUNDED = {
    "steady": [bernoulli(2000, 90, 0.1)],
    "abrupt": [bernoulli(1500, 91, 0.1), bernoulli(1000, 92, 0.4)],
    "better": [bernoulli(1500, 93, 0.4), bernoulli(1500, 94, 0.2)],
    "unit": [uniform(1500, 95, scale=0.6), uniform(1500, 96, shift=0.2, scale=0.6), uniform(800, 97, scale=0.3)],
    "never": [const(1500, 0.0)],
    "always": [const(1500, 1.0)],
}

DETECTORS = {
    "adwin": (
        drift.ADWIN,
        lambda d: {"width": d.width, "total": d.total, "variance": d.variance, "mean": d.estimation},
        NUMERIC,
        [
            {},
            {"delta": 0.05, "clock": 1},
            {"delta": 1e-6, "max_buckets": 2},
            {"delta": 0.3, "clock": 7, "max_buckets": 12, "min_window_length": 1, "grace_period": 0},
            {"min_window_length": 40, "grace_period": 500, "clock": 10},
        ],
    ),
    "page_hinkley": (
        drift.PageHinkley,
        page_hinkley,
        NUMERIC,
        [
            {},
            {"threshold": 10.0, "mode": "up"},
            {"threshold": 10.0, "mode": "down", "min_instances": 100},
            {"threshold": 5.0, "delta": 0.5, "alpha": 0.99, "min_instances": 5},
            {"alpha": 1.0, "delta": 0.0, "threshold": 200.0},
        ],
    ),
    "ddm": (
        drift.binary.DDM,
        ddm,
        BINARY,
        [
            {},
            {"warm_start": 100},
            {"warm_start": 5, "warning_threshold": 1.0, "drift_threshold": 1.5},
            {"warning_threshold": 2.5, "drift_threshold": 5.0},
        ],
    ),
    "eddm": (
        drift.binary.EDDM,
        lambda d: {
            "errors": d._n_errors,
            "distance": d._error_distances.mean.get(),
            "deviation": math.sqrt(d._error_distances.get()),
            "most": d._p2s_prime_max,
        },
        BINARY,
        [
            {},
            {"alpha": 0.8, "beta": 0.75},
            {"warm_start": 5, "alpha": 0.99, "beta": 0.95},
            {"warm_start": 200},
        ],
    ),
    "kswin": (
        drift.KSWIN,
        # River's p-value is 0 where there was no test; no exact one is.
        lambda d: {"p": float(d.p_value) or 1.0, "width": len(d.window)},
        {k: v for k, v in NUMERIC.items() if k != "long"} | {"long": [normal(10_000, 40), normal(10_000, 41, shift=1.0)]},
        [
            {"seed": 0},
            {"alpha": 0.0001, "seed": 42},
            {"alpha": 0.05, "window_size": 60, "stat_size": 30, "seed": 2**32 - 1},
            {"window_size": 500, "stat_size": 20, "seed": 2**63 + 12345},
            {"window_size": 40, "stat_size": 4, "alpha": 0.03, "seed": 7},
        ],
    ),
    "cusum": (
        Cusum,
        lambda d: {"upper": d.upper, "lower": d.lower, "target": float(d.mean), "sigma": d.sigma},
        NUMERIC,
        [
            {},
            {"k": 0.25, "h": 8.0, "warm_start": 200},
            {"target": 0.0, "sigma": 1.0},
            {"target": 7.25, "sigma": 2.0, "k": 1.0, "h": 4.0},
        ],
    ),
    "e_detector": (
        EDetector,
        e_detector,
        BOUNDED,
        [
            {},
            {"mode": "both", "block": 5, "warm_start": 503, "run_length": 2000.0},
            {"mode": "down", "form": "cusum", "warm_start": 600, "slack": 0.01, "run_length": 500.0},
            {"warm_start": 0, "mean": 0.15, "block": 1, "run_length": 300.0},
            {"mode": "both", "form": "cusum", "warm_start": 0, "mean": 0.25, "low": -1.0, "high": 2.0, "block": 10, "miss": 0.0},
        ],
    ),
}
MOST = 60  # indices of a case that are written one by one


def run(kind, config, stream, window=None):
    make, figures, _, _ = DETECTORS[kind]
    values = np.concatenate([inputs.values(s) for s in stream]).tolist()
    if kind in ("ddm", "eddm"):
        values = [int(v) for v in values]
    d = make(**config, window=inputs.values(window).tolist()) if window else make(**config)
    drifts, warnings, warned, at = [], [], 0, []
    checks = {len(values) * k // 4 - 1 for k in range(1, 5)} - {-1}
    for i, v in enumerate(values):
        d.update(v)
        if d.drift_detected:
            drifts.append(i)
        if getattr(d, "warning_detected", False):
            warned += 1
            if not warnings or last != i - 1:
                warnings.append(i)
            last = i
        if i in checks:
            at.append({"index": i, "figures": {k: inputs.number(f) for k, f in figures(d).items()}})
    return {
        "detector": kind,
        "config": config,
        "window": window,
        "stream": stream,
        "drifts": drifts[:MOST],
        "detections": len(drifts),
        "warnings": warnings[:MOST],
        "warned": warned,
        "at": at,
    }


def detectors():
    for kind, (_, _, streams, configs) in DETECTORS.items():
        for i, config in enumerate(configs):
            for name, stream in streams.items():
                # The long streams, and the rarest shapes of the others, with two sets of parameters.
                if i > 1 and name == "long":
                    continue
                yield {"name": name, **run(kind, config, stream)}
    for n in (1, 60, 100, 250):
        yield {"name": "window", **run("kswin", {"seed": n}, [normal(400, 80, shift=0.5)], normal(n, 81))}


def samples():
    for seed in (0, 1, 42, 2**32 - 1, 2**32, 2**63 + 12345, 2**64 - 1):
        for n, k in ((1, 1), (2, 1), (21, 5), (22, 5), (70, 30), (255, 40), (256, 40), (277, 40), (278, 40), (5000, 20)):
            r = random.Random(seed)
            draws = [r.sample(range(n), k) for _ in range(3)]
            for _ in range(1000):
                r.getrandbits(32)
            yield {"seed": str(seed), "n": n, "k": k, "draws": draws, "word": r.getrandbits(32)}


def ks():
    for n in (1, 2, 3, 5, 10, 30, 31, 100, 999, 10_000):
        for h in sorted({0, 1, 2, 3, n // 10, n // 3, n // 2, n - 1, n} & set(range(n + 1))):
            a = np.arange(n, dtype=float)
            yield {"n": n, "h": h, "p": inputs.number(stats.ks_2samp(a, a + h, method="auto").pvalue)}


if __name__ == "__main__":
    inputs.write("drift/detect/testdata/golden_detect.json", list(detectors()))
    inputs.write("drift/detect/testdata/golden_sample.json", list(samples()))
    inputs.write("drift/detect/testdata/golden_ks.json", list(ks()))
