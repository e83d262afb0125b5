"""Golden values of package reason (drift/reason/testdata/golden_reason.json): where counts of
buckets change, as Binseg of ruptures finds it with the likelihood of multinomial counts as its
cost, rank correlations as SciPy gives them, and exact tests of counts."""

import json
import pathlib

import numpy as np
import ruptures
from scipy import stats

SEED = 20261201
rng = np.random.default_rng(SEED)


class Multinomial(ruptures.base.BaseCost):
    """Minus the log-likelihood of counts under the shares of their segment."""

    model = "multinomial"
    min_size = 1

    def fit(self, signal):
        self.signal = signal
        return self

    def error(self, start, end):
        counts = self.signal[start:end].sum(axis=0)
        counts = counts[counts > 0]
        return -float((counts * np.log(counts / counts.sum())).sum())


def sequence(lengths, shares, rows):
    return np.concatenate([rng.multinomial(rows, p, size=n) for n, p in zip(lengths, shares)])


changes = []
for lengths in ([40, 20], [10, 50], [57, 3], [25, 8, 27], [30, 5, 10, 15], [60]):
    for cells in (2, 5, 12):
        shares = [rng.dirichlet(np.full(cells, 3.0)) for _ in lengths]
        counts = sequence(lengths, shares, 400)
        found = ruptures.Binseg(custom_cost=Multinomial(), min_size=1, jump=1).fit(counts).predict(n_bkps=len(lengths) - 1) if len(lengths) > 1 else [len(counts)]
        changes.append({"counts": counts.tolist(), "changes": [int(i) for i in found[:-1]]})

correlations = []
for n in (10, 11, 30):
    for kind in ("noise", "ties", "alike", "opposed"):
        x = rng.normal(size=n)
        y = rng.normal(size=n)
        if kind == "ties":
            x, y = np.round(x), np.round(y + x)
        if kind == "alike":
            y = x + 0.5 * y
        if kind == "opposed":
            y = -x + 0.5 * y
        correlations.append({"x": x.tolist(), "y": y.tolist(), "rho": float(stats.spearmanr(x, y).statistic)})

out = pathlib.Path(__file__).parents[3] / "reason" / "testdata" / "golden_reason.json"
out.write_text(json.dumps({"seed": SEED, "changes": changes, "correlations": correlations}) + "\n")
