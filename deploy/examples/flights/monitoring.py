"""The monitor's scores, computed offline as millrace computes them online.

Numeric columns are counted in the reference's left-closed bins, categories by value.

  psi        sum of (q - p) * ln(q / p) over groups; p and q are the shares of reference
             and window after 0.5 was added to the count of every group on both sides.
             Groups of a numeric column are up to 10 runs of neighbouring bins: walking
             from the left, group g (from 0) is closed by the first bin with which the
             reference's cumulative count reaches (g + 1) * rows / 10.
  ks         the greatest distance of the two cumulative shares, over the bins' edges
  chisquare  association of the table of two rows that holds the shares of reference and
             window, so that both weigh the same whatever their rows (Cramér's V of that
             table, not of the counts):
             sqrt(sum of (p - q)^2 / (p + q) / 2), from 0 (equal) to 1 (disjoint);
             values that are not listed are one more category
  roc_auc    the probability that a late flight scores above a punctual one, ties half
"""

import numpy as np
from scipy.stats import rankdata

MAX_BINS = 40
PSI_GROUPS = 10
PSI_SMOOTHING = 0.5


def edges(values: np.ndarray) -> np.ndarray:
    """Edges of up to MAX_BINS bins of near-equal mass; each is a value that occurs."""
    q = np.quantile(values, np.arange(1, MAX_BINS) / MAX_BINS, method="inverted_cdf")
    q = np.unique(q)
    return q[q > values.min()]


def counts_by_window(window: np.ndarray, windows: int, cell: np.ndarray, cells: int) -> np.ndarray:
    return np.bincount(window * cells + cell, minlength=windows * cells).reshape(windows, cells)


def psi_groups(reference: np.ndarray) -> np.ndarray:
    """The group of each bin."""
    group, cumulative, rows, out = 0, 0, int(reference.sum()), []
    for count in reference:
        out.append(group)
        cumulative += int(count)
        if PSI_GROUPS * cumulative >= (group + 1) * rows and group < PSI_GROUPS - 1:
            group += 1
    return np.array(out)


def psi(reference: np.ndarray, current: np.ndarray, numeric: bool) -> np.ndarray:
    if numeric:
        groups = psi_groups(reference)
        n = groups.max() + 1
        reference = np.bincount(groups, reference, n)
        current = np.stack([np.bincount(groups, c, n) for c in current])
    p = reference + PSI_SMOOTHING
    q = current + PSI_SMOOTHING
    p, q = p / p.sum(), q / q.sum(axis=1, keepdims=True)
    return ((q - p) * np.log(q / p)).sum(axis=1)


def ks(reference: np.ndarray, current: np.ndarray) -> np.ndarray:
    p = np.cumsum(reference) / reference.sum()
    q = np.cumsum(current, axis=1) / current.sum(axis=1, keepdims=True)
    return np.abs(q - p).max(axis=1)


def cramers_v(reference: np.ndarray, current: np.ndarray) -> np.ndarray:
    p = reference / reference.sum()
    q = current / current.sum(axis=1, keepdims=True)
    both = p + q
    return np.sqrt(0.5 * np.divide((p - q) ** 2, both, out=np.zeros_like(q), where=both > 0).sum(axis=1))


def roc_auc(late: np.ndarray, score: np.ndarray) -> float:
    positive = int(late.sum())
    negative = len(late) - positive
    ranks = rankdata(score)
    return float((ranks[late].sum() - positive * (positive + 1) / 2) / (positive * negative))


def quality(late: np.ndarray, score: np.ndarray, threshold: float) -> dict[str, float]:
    said = score.astype(np.float64) >= threshold
    hit = int((said & late).sum())
    return {
        "accuracy": float((said == late).mean()),
        "precision": hit / max(1, int(said.sum())),
        "recall": hit / max(1, int(late.sum())),
        "roc_auc": roc_auc(late, score),
    }
