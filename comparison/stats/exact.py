"""Exact tests and intervals for a handful of paired differences, by enumeration of their signs.

scipy's exact Wilcoxon test is wrong where differences are zero (1.17: eight values with two zeros give .109, the
enumeration .0625), and its automatic choice is an approximation above thirteen values; so the null distributions are
computed here, for any number of values, zeros (Pratt) and ties included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import stats

TOLERANCE = 1e-9  # relative; equal statistics of different sign patterns differ by rounding only
ENUMERATED = 16  # units up to which all sign patterns are visited
DRAWN = 20_000  # random sign patterns beyond
MOST_AT_ONCE = 1_000_000  # statistics of patterns x comparisons held at once: 8 MB


@dataclass(frozen=True)
class SignedRanks:
    """Wilcoxon's signed-rank test, zeros ranked and then left out (Pratt 1959).

    Attributes:
        plus: sum of the ranks of positive differences.
        minus: sum of the ranks of negative differences.
        p: exact two-sided p-value.
    """

    plus: float
    minus: float
    p: float

    @property
    def rank_biserial(self) -> float:
        """(W+ - W-) / (W+ + W-): how consistent the sign is, not how large the difference."""
        total = self.plus + self.minus
        if not total:
            return 0.0
        return (self.plus - self.minus) / total


def pratt_ranks(differences: np.ndarray) -> np.ndarray:
    """Return signed ranks of |d| along the last axis: zeros take the lowest ranks and count nothing; ties share a mean."""
    return np.asarray(np.sign(differences) * stats.rankdata(np.abs(differences), axis=-1))


def signed_ranks(differences: np.ndarray) -> SignedRanks:
    """Test differences ``(units,)`` by the exact distribution of their signed ranks.

    Under the null hypothesis every sign is fair. With S the sum of all ranks, W+ - W- = 2 W+ - S, so the two-sided p-value
    is P(|2 W+ - S| >= |w+ - w-|). Mean ranks of ties are halves, so all ranks are doubled to be whole numbers.
    """
    return of_signed_ranks(pratt_ranks(np.asarray(differences, dtype=np.float64)))


def of_signed_ranks(ranks: np.ndarray) -> SignedRanks:
    """Test signed ranks ``(units,)``, as `signed_ranks` does with differences."""
    plus = float(ranks[ranks > 0].sum())
    minus = float(-ranks[ranks < 0].sum())
    doubled = np.rint(2 * np.abs(ranks[ranks != 0])).astype(np.int64)
    chances = _distribution(tuple(sorted(doubled.tolist())))
    sums = np.arange(chances.size)
    as_far = np.abs(2 * sums - doubled.sum()) >= round(2 * abs(plus - minus))
    return SignedRanks(plus, minus, min(1.0, float(chances[as_far].sum())))


@lru_cache(maxsize=256)
def _distribution(ranks: tuple[int, ...]) -> np.ndarray:
    """Return `rank_sum_distribution`, which is the same for all differences without ties. Shared: not to be changed."""
    return rank_sum_distribution(np.array(ranks, dtype=np.int64))


def rank_sum_distribution(ranks: np.ndarray) -> np.ndarray:
    """Return P(sum of the ranks with a plus sign = s) for s = 0 … sum, signs fair and independent; ranks are integers.

    One rank after another: it is added with chance 1/2, so the distribution is the mean of itself and itself shifted.
    """
    chances = np.zeros(int(ranks.sum()) + 1)
    chances[0] = 1.0
    for rank in ranks:
        shifted = np.zeros_like(chances)
        shifted[rank:] = chances[: chances.size - rank]
        chances = (chances + shifted) / 2
    return chances


@lru_cache(maxsize=32)
def sign_patterns(units: int, seed: int = 0) -> np.ndarray:
    """Return sign patterns ``(patterns, units)`` of ±1, the identity first.

    All of them up to `ENUMERATED` units (half: the other half mirrors it, and every statistic here is absolute); beyond
    that `DRAWN` random ones and the identity, which keeps the test valid (p = (b + 1) / (B + 1)). Shared: not to be changed.
    """
    if units <= ENUMERATED:
        numbers = np.arange(2 ** max(0, units - 1))[:, None]
        return np.asarray(1.0 - 2.0 * ((numbers >> np.arange(units)) & 1))
    drawn = np.random.default_rng(seed).integers(0, 2, size=(DRAWN, units))
    return np.vstack([np.ones(units), 1.0 - 2.0 * drawn])


def sign_flip(differences: np.ndarray, seed: int = 0) -> float:
    """Return the two-sided p-value of the mean of ``(units,)`` differences under flips of their signs.

    >>> sign_flip(np.array([0.01, 0.02, 0.01, 0.03, 0.02, 0.01]))
    0.03125
    """
    return sign_flips([differences], seed)[0]


def sign_flips(comparisons: Sequence[np.ndarray], seed: int = 0) -> list[float]:
    """Return `sign_flip` of each comparison, ``(units,)`` each; those of one size are computed together."""
    p_values = np.ones(len(comparisons))
    for numbers, rows in of_one_size(comparisons):
        patterns = sign_patterns(rows.shape[1], seed)
        least = np.abs(rows.sum(axis=1)) - TOLERANCE * np.abs(rows).sum(axis=1)
        at_once = max(1, MOST_AT_ONCE // len(patterns))
        for start in range(0, len(rows), at_once):
            block = slice(start, start + at_once)
            sums = np.abs(rows[block] @ patterns.T)  # (comparisons, patterns)
            p_values[numbers[block]] = np.mean(sums >= least[block, None], axis=1)
    return list(map(float, p_values))


def of_one_size(comparisons: Sequence[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return comparisons by their number of units: their places in the list, and their values ``(comparisons, units)``."""
    places: dict[int, list[int]] = {}
    for number, values in enumerate(comparisons):
        places.setdefault(len(values), []).append(number)
    groups = []
    for numbers in places.values():
        rows = np.array([comparisons[number] for number in numbers], dtype=np.float64)
        groups.append((np.array(numbers), rows))
    return groups


def floor(units: int) -> float:
    """Return the smallest two-sided p-value that signs of this number of units can reach: 2^(1 - units)."""
    if not units:
        return 1.0
    return float(2.0 ** (1 - units))


def hodges_lehmann(differences: np.ndarray) -> float:
    """Return the median of the means of all pairs of differences, each with itself included."""
    return float(np.median(walsh_averages(differences)))


def hodges_lehmann_interval(differences: np.ndarray, confidence: float) -> tuple[float, float, float] | None:
    """Return low, high and the exact confidence of the interval that inverts the signed-rank test.

    The confidence is the smallest reachable one that is at least `confidence`. None where there is no such interval: the
    widest one, from the smallest to the largest difference, has confidence 1 - 2^(1 - units).
    """
    return between_averages(walsh_averages(differences), len(differences), confidence)


def between_averages(averages: np.ndarray, units: int, confidence: float) -> tuple[float, float, float] | None:
    """Return the interval of `hodges_lehmann_interval` from the sorted Walsh averages of some units."""
    cut, exact = _cut(units, confidence)
    if units == 0 or cut < 0:
        return None
    return float(averages[cut]), float(averages[averages.size - 1 - cut]), exact


@lru_cache(maxsize=256)
def _cut(units: int, confidence: float) -> tuple[int, float]:
    """Return the number of Walsh averages cut off at each end, and the exact confidence then; -1 where there is none."""
    tails = np.cumsum(rank_sum_distribution(np.arange(1, units + 1)))  # P(W <= k)
    cut = int(np.searchsorted(tails, (1 - confidence) / 2, side="right")) - 1  # largest k with P(W <= k) <= tail
    return cut, float(1 - 2 * tails[cut])


def walsh_averages(differences: np.ndarray) -> np.ndarray:
    """Return the sorted means of all pairs (i <= j) along the last axis: units * (units + 1) / 2 of them."""
    values = np.asarray(differences, dtype=np.float64)
    first, second = _pairs(values.shape[-1])
    return np.sort((values[..., first] + values[..., second]) / 2)


@lru_cache(maxsize=64)
def _pairs(units: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of all pairs (i <= j). Shared: not to be changed."""
    first, second = np.triu_indices(units)
    return first, second
