"""Statistics of ranks (Spearman, average precision) on bootstrapped and on swapped pairs.

Everything is done on the numbers of distinct values, so that one resample costs a few counts and cumulative sums, no sort.
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
    """Return Spearman's correlation of whole numbers ``(pairs,)``, each pair counted so often; NaN if one is constant."""
    x, y = _weighted_ranks(values, counts), _weighted_ranks(gold, counts)
    total = counts.sum()
    x, y = x - counts @ x / total, y - counts @ y / total
    size = np.sqrt((counts @ (x * x)) * (counts @ (y * y)))
    return float(counts @ (x * y) / size) if size > 0 else float("nan")


def average_precision(values: np.ndarray, gold: np.ndarray, counts: np.ndarray) -> float:
    """Return the average precision of whole numbers ``(pairs,)`` for 0/1 gold, tied values at one threshold."""
    found = np.bincount(values, weights=counts * gold)[::-1]
    seen = np.cumsum(np.bincount(values, weights=counts)[::-1])
    positives = found.sum()
    if positives == 0:
        return float("nan")
    precision = np.divide(np.cumsum(found), seen, out=np.zeros_like(seen), where=seen > 0)
    return float(found @ precision / positives)


def statistic_of(kind: str) -> Statistic:
    """Return the statistic of pairs: `spearman` or `average_precision`."""
    return spearman if kind == "correlation" else average_precision


@lru_cache(maxsize=1024)  # a system is in several comparisons
def bootstrap(items: Items, seed: int, resamples: int = RESAMPLES) -> tuple[float, np.ndarray]:
    """Return the statistic and its bootstrap draws ``(resamples,)``, groups of connected pairs drawn within each subset.

    Two systems with the same items and seed get the same resamples, so that the difference of their draws is paired.
    A draw without any positive, or with one value only, has no statistic and counts as the observed one.
    """
    generator = np.random.default_rng(seed)
    statistic = statistic_of(items.kind)
    observed, draws = [], []
    for one in np.unique(items.subsets):
        chosen = items.subsets == one
        values, gold = _codes(items.values[chosen, 0]), _gold(items, chosen)
        group = np.unique(items.groups[chosen], return_inverse=True)[1]
        groups = int(group.max()) + 1
        observed.append(statistic(values, gold, np.ones(values.size)))
        picks = (generator.integers(0, groups, size=groups) for _ in range(resamples))
        drawn = np.array([statistic(values, gold, np.bincount(pick, minlength=groups)[group].astype(float)) for pick in picks])
        draws.append(np.where(np.isfinite(drawn), drawn, observed[-1]))
    return float(np.mean(observed)), np.asarray(np.mean(draws, axis=0))


def rank_swaps(ours: Items, other: Items, seed: int, swaps: int = SWAPS) -> float:
    """Return the two-sided p-value of the difference of two statistics when ranks are swapped between the systems.

    Similarities of two models are on different scales, so each is replaced by its ranks first; a group of connected pairs
    is swapped as a whole.
    """
    generator = np.random.default_rng(seed)
    statistic = statistic_of(ours.kind)
    differences = np.zeros(swaps + 1)
    names = np.unique(ours.subsets)
    for one in names:
        chosen = ours.subsets == one
        first, second = (np.rint(2 * stats.rankdata(items.values[chosen, 0])).astype(int) for items in (ours, other))
        gold, ones = _gold(ours, chosen), np.ones(first.size)
        group = np.unique(ours.groups[chosen], return_inverse=True)[1]
        for number in range(swaps + 1):
            swap = generator.integers(0, 2, size=int(group.max()) + 1).astype(bool)[group] & (number > 0)
            mine, theirs = np.where(swap, second, first), np.where(swap, first, second)
            differences[number] += (statistic(mine, gold, ones) - statistic(theirs, gold, ones)) / len(names)
    return float(np.mean(np.abs(differences) >= abs(differences[0]) - 1e-12))


def _gold(items: Items, chosen: np.ndarray) -> np.ndarray:
    """Return gold as whole numbers: of distinct values for a correlation, 0 and 1 as they are for precision."""
    gold = items.gold[chosen]
    return _codes(gold) if items.kind == "correlation" else gold.astype(int)


def _codes(values: np.ndarray) -> np.ndarray:
    return np.asarray(np.unique(values, return_inverse=True)[1])


def _weighted_ranks(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return each pair's rank ``(pairs,)`` among pairs that are counted so often, ties at their mean."""
    totals = np.bincount(values, weights=counts)
    return np.asarray((np.cumsum(totals) - (totals - 1) / 2)[values])
