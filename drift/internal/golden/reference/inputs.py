"""Inputs of golden cases, generated alike in Python and in Go (drift/internal/golden).

A spec is a JSON object, so that a million values take a line of a golden file:
  kind: list (values), uniform, normal (sum of 12 uniforms, less 6), heavy (1/u), int
        (floor(levels*u)), const
  n, seed, scale, shift, quantum (values are floor(x/quantum)*quantum: ties),
  levels (of int), value (of const), values (of list; "nan", "inf", "-inf" are strings)
  nan_every (every k-th value is NaN)
Only operations that IEEE 754 rounds exactly are used, so both sides agree to the bit.
"""

import json
import math
import os

import numpy as np

GAMMA = np.uint64(0x9E3779B97F4A7C15)


def uniform(seed, n):
    """n values of [0, 1), splitmix64 of seed + i*gamma (Steele, Lea, Flood 2014)."""
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + GAMMA * np.arange(1, n + 1, dtype=np.uint64)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)).astype(np.float64) * 2.0**-53


def values(spec):
    """The float64 values of a spec."""
    kind, n, seed = spec["kind"], spec.get("n", 0), spec.get("seed", 0)
    if kind == "list":
        x = np.array([float(v) for v in spec["values"]], dtype=np.float64)
    elif kind == "uniform":
        x = uniform(seed, n)
    elif kind == "normal":
        u = uniform(seed, 12 * n).reshape(n, 12)
        x = np.zeros(n)
        for j in range(12):
            x = x + u[:, j]
        x = x - 6.0
    elif kind == "heavy":
        x = 1.0 / (uniform(seed, n) + 2.0**-53)
    elif kind == "int":
        x = np.floor(uniform(seed, n) * float(spec["levels"]))
    elif kind == "const":
        x = np.full(n, float(spec["value"]))
    else:
        raise ValueError(kind)
    x = x * float(spec.get("scale", 1.0)) + float(spec.get("shift", 0.0))
    if spec.get("quantum"):
        q = float(spec["quantum"])
        x = np.floor(x / q) * q
    if spec.get("nan_every"):
        x[spec["nan_every"] - 1 :: spec["nan_every"]] = np.nan
    return x


def number(v):
    """A figure as JSON holds it: 17 digits, and words for what JSON has no number for."""
    v = float(v)
    if math.isnan(v):
        return "nan"
    if math.isinf(v):
        return "inf" if v > 0 else "-inf"
    return v


def write(path, cases):
    """Writes a golden file: the versions that made it, and one case a line."""
    from importlib.metadata import version

    names = ["scipy", "scikit-learn", "river", "evidently", "nannyml", "numpy", "pandas"]
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..", "..")
    with open(os.path.join(root, path), "w") as f:
        f.write('{"versions": %s,\n "cases": [\n' % json.dumps({n: version(n) for n in names}))
        f.write(",\n".join("  " + json.dumps(c) for c in cases))
        f.write("\n]}\n")
    print(path, len(cases), "cases")
