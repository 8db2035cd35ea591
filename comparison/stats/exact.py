"""Exact tests and intervals for a handful of paired differences, by enumeration of their signs.

scipy's exact Wilcoxon test is wrong where differences are zero (1.17: eight values with two zeros give .109, the
enumeration .0625), and its automatic choice is an approximation above thirteen values; so the null distributions are
computed here, for any number of values, zeros (Pratt) and ties included.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import stats

TOLERANCE = 1e-9  # relative; equal statistics of different sign patterns differ by rounding only
ENUMERATED = 16  # units up to which all sign patterns are visited
DRAWN = 20_000  # random sign patterns beyond


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
    """Return signed ranks of |d|, ``(units,)``: zeros take the lowest ranks, then count nothing; ties share their mean."""
    return np.asarray(np.sign(differences) * stats.rankdata(np.abs(differences)))


def signed_ranks(differences: np.ndarray) -> SignedRanks:
    """Test differences ``(units,)`` by the exact distribution of their signed ranks.

    Under the null hypothesis every sign is fair. With S the sum of all ranks, W+ - W- = 2 W+ - S, so the two-sided p-value
    is P(|2 W+ - S| >= |w+ - w-|). Mean ranks of ties are halves, so all ranks are doubled to be whole numbers.
    """
    ranks = pratt_ranks(np.asarray(differences, dtype=np.float64))
    plus = float(ranks[ranks > 0].sum())
    minus = float(-ranks[ranks < 0].sum())
    doubled = np.rint(2 * np.abs(ranks[ranks != 0])).astype(np.int64)
    chances = rank_sum_distribution(doubled)
    sums = np.arange(chances.size)
    as_far = np.abs(2 * sums - doubled.sum()) >= round(2 * abs(plus - minus))
    return SignedRanks(plus, minus, min(1.0, float(chances[as_far].sum())))


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
    values = np.asarray(differences, dtype=np.float64)
    if not values.any():
        return 1.0
    sums = np.abs(sign_patterns(values.size, seed) @ values)
    return float(np.mean(sums >= abs(values.sum()) - TOLERANCE * np.abs(values).sum()))


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
    values = np.asarray(differences, dtype=np.float64)
    tails = np.cumsum(rank_sum_distribution(np.arange(1, values.size + 1)))  # P(W <= k)
    cut = int(np.searchsorted(tails, (1 - confidence) / 2, side="right")) - 1  # largest k with P(W <= k) <= tail
    if values.size == 0 or cut < 0:
        return None
    averages = walsh_averages(values)
    low, high = averages[cut], averages[averages.size - 1 - cut]
    return float(low), float(high), float(1 - 2 * tails[cut])


def walsh_averages(differences: np.ndarray) -> np.ndarray:
    """Return the sorted means of all pairs (i <= j), ``(units * (units + 1) / 2,)``."""
    values = np.asarray(differences, dtype=np.float64)
    first, second = np.triu_indices(values.size)
    return np.sort((values[first] + values[second]) / 2)
