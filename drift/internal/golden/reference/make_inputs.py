"""Golden values of the input generator itself."""

import inputs

SPECS = [
    {"kind": "uniform", "n": 50, "seed": 1},
    {"kind": "normal", "n": 50, "seed": 2, "scale": 3.7, "shift": 0.1},
    {"kind": "heavy", "n": 50, "seed": 3},
    {"kind": "int", "n": 50, "seed": 18446744073709551615, "levels": 7},
    {"kind": "normal", "n": 50, "seed": 4, "quantum": 0.1, "nan_every": 7},
    {"kind": "const", "n": 3, "value": "inf"},
    {"kind": "list", "values": [1, "nan", "-inf", 1e-300]},
]

if __name__ == "__main__":
    inputs.write(
        "drift/internal/golden/testdata/golden_inputs.json",
        [{"spec": s, "values": [inputs.number(v) for v in inputs.values(s)]} for s in SPECS],
    )
