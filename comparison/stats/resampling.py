"""Statistics of ranks (Spearman, average precision) on bootstrapped and on swapped pairs.

Everything is done on the numbers of distinct values, so that a resample costs a few counts and cumulative sums, no sort.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from scipy import stats

from comparison.reading.item_scores import Items

RESAMPLES = 2_000
SWAPS = 1_999
Statistic = Callable[[np.ndarray, np.ndarray, np.ndarray], float]


def spearman(values: np.ndarray, gold: np.ndarray, counts: np.ndarray) -> float:
    """Return Spearman's correlation: Pearson's of the ranks.

    Args:
        values: whole numbers ``(pairs,)`` in the order of the similarities.
        gold: whole numbers ``(pairs,)`` in the order of the gold scores.
        counts: how often each pair counts, ``(pairs,)``.

    Returns:
        NaN where values or gold are constant.
    """
    x, y = _weighted_ranks(values, counts), _weighted_ranks(gold, counts)
    total = counts.sum()
    x, y = x - counts @ x / total, y - counts @ y / total
    size = np.sqrt((counts @ (x * x)) * (counts @ (y * y)))
    if not size > 0:
        return float("nan")
    return float(counts @ (x * y) / size)


def average_precision(values: np.ndarray, gold: np.ndarray, counts: np.ndarray) -> float:
    """Return the average precision of whole numbers ``(pairs,)`` for 0/1 gold, tied values at one threshold.

    It is the mean, over positive pairs, of the precision at the threshold of their value; thresholds run from the highest
    value down. NaN without positives.
    """
    positives = np.bincount(values, weights=counts * gold)[::-1]  # at each threshold
    retrieved = np.cumsum(np.bincount(values, weights=counts)[::-1])  # at it and above
    total = positives.sum()
    if total == 0:
        return float("nan")
    precision = np.divide(np.cumsum(positives), retrieved, out=np.zeros_like(retrieved), where=retrieved > 0)
    return float(positives @ precision / total)


def statistic_of(kind: str) -> Statistic:
    """Return the statistic of pairs: `spearman` or `average_precision`."""
    if kind == "correlation":
        return spearman
    return average_precision


def of_pairs(kind: str, values: np.ndarray, gold: np.ndarray) -> float:
    """Return the statistic of pairs: of similarities and gold scores ``(pairs,)`` as they are."""
    numbers = _codes(gold) if kind == "correlation" else gold.astype(int)
    return statistic_of(kind)(_codes(values), numbers, np.ones(values.size))


@lru_cache(maxsize=1024)  # a system is in several comparisons
def bootstrap(items: Items, seed: int, resamples: int = RESAMPLES) -> tuple[float, np.ndarray]:
    """Return the statistic and its bootstrap draws ``(resamples,)``, groups of connected pairs drawn within each subset.

    Two systems with the same items and seed get the same resamples, so that the difference of their draws is paired.
    A draw without any positive, or with one value only, has no statistic and counts as the observed one.
    """
    generator = np.random.default_rng(seed)
    statistic = statistic_of(items.kind)
    observed, draws = [], []
    for subset in np.unique(items.subsets):
        chosen = items.subsets == subset
        values, gold = _codes(items.values[chosen, 0]), _gold(items, chosen)
        group = np.unique(items.groups[chosen], return_inverse=True)[1]  # of each pair
        groups = int(group.max()) + 1
        observed.append(statistic(values, gold, np.ones(values.size)))
        resampled = np.empty(resamples)
        for number in range(resamples):
            picks = generator.integers(0, groups, size=groups)
            counts = np.bincount(picks, minlength=groups)[group].astype(float)  # a pair counts as often as its group
            resampled[number] = statistic(values, gold, counts)
        draws.append(np.where(np.isfinite(resampled), resampled, observed[-1]))
    return float(np.mean(observed)), np.asarray(np.mean(draws, axis=0))


def rank_swaps(ours: Items, other: Items, seed: int, swaps: int = SWAPS) -> float:
    """Return the two-sided p-value of the difference of two statistics when ranks are swapped between the systems.

    Similarities of two models are on different scales, so each is replaced by its ranks first; a group of connected pairs
    is swapped as a whole. The first of the `swaps` + 1 differences is the observed one, without any swap, so that
    p = (b + 1) / (B + 1).
    """
    generator = np.random.default_rng(seed)
    statistic = statistic_of(ours.kind)
    differences = np.zeros(swaps + 1)
    subsets = np.unique(ours.subsets)
    for subset in subsets:
        chosen = ours.subsets == subset
        first, second = _doubled_ranks(ours.values[chosen, 0]), _doubled_ranks(other.values[chosen, 0])
        gold, once = _gold(ours, chosen), np.ones(first.size)
        group = np.unique(ours.groups[chosen], return_inverse=True)[1]
        for number in range(swaps + 1):
            swap = generator.integers(0, 2, size=int(group.max()) + 1).astype(bool)[group] & (number > 0)
            mine, theirs = np.where(swap, second, first), np.where(swap, first, second)
            differences[number] += (statistic(mine, gold, once) - statistic(theirs, gold, once)) / len(subsets)
    return float(np.mean(np.abs(differences) >= abs(differences[0]) - 1e-12))


def _gold(items: Items, chosen: np.ndarray) -> np.ndarray:
    """Return gold as whole numbers: of distinct values for a correlation, 0 and 1 as they are for precision."""
    gold = items.gold[chosen]
    if items.kind == "correlation":
        return _codes(gold)
    return np.asarray(gold.astype(int))


def _doubled_ranks(values: np.ndarray) -> np.ndarray:
    """Return ranks times two, which are whole numbers: mean ranks of ties are halves."""
    return np.asarray(np.rint(2 * stats.rankdata(values)).astype(int))


def _codes(values: np.ndarray) -> np.ndarray:
    """Return each value's number among the distinct values in rising order."""
    return np.asarray(np.unique(values, return_inverse=True)[1])


def _weighted_ranks(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return each pair's rank ``(pairs,)`` where pairs count several times, ties at their mean."""
    totals = np.bincount(values, weights=counts)
    return np.asarray((np.cumsum(totals) - (totals - 1) / 2)[values])
