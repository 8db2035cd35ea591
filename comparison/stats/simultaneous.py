"""Simultaneous intervals: those that agree with marks which are corrected for several comparisons.

They invert the max-T test of joint sign flips. A shift c of one comparison is not rejected while more than α of the patterns
reach its statistic |S - c W| / sqrt(sum (d - c w)²), with S and W the sums of its differences d and weights w. A pattern with
sums s and v reaches it

1. by itself, |s - c v| >= |S - c W|: for c between (S - s) / (W - v) and (S + s) / (W + v), two means over a part of the
   units, with the mean S / W between them;
2. by another comparison, whose statistic t under this pattern is as large: for c up to where the statistic has grown to t,
   the root of a quadratic equation.

So each pattern holds out from the mean up to the farther one of two ends, and the interval ends where all but α have given up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from comparison.stats.effects import ALPHA, CONFIDENCE, Interval
from comparison.stats.exact import TOLERANCE, sign_patterns

MOST_AT_ONCE = 1_000_000  # statistics of patterns x comparisons held at once: 8 MB
SAME = 1e-12  # relative; sums that differ by less are equal
BEYOND = 1e-7  # score units; an end lies this far outside of the last shift that is not rejected


@dataclass(frozen=True)
class _Largest:
    """The largest statistics under each pattern, over comparisons.

    Attributes:
        first: the largest, ``(patterns,)``.
        second: the largest but one.
        holder: the comparison that has the largest; -1 for none.
        order: patterns by the largest, largest first.
    """

    first: np.ndarray
    second: np.ndarray
    holder: np.ndarray
    order: np.ndarray

    def others(self, number: int, patterns: np.ndarray) -> np.ndarray:
        """Return the largest of all comparisons but one under some patterns."""
        of_others = np.where(self.holder[patterns] == number, self.second[patterns], self.first[patterns])
        return np.asarray(of_others)

    def at_least(self, statistic: float) -> np.ndarray:
        """Return the patterns whose largest statistic is not smaller."""
        ordered = self.first[self.order]
        return np.asarray(self.order[: np.searchsorted(-ordered, -statistic, side="right")])


@dataclass(frozen=True)
class _Flips:
    """Joint sign flips of one comparison.

    Attributes:
        sums: of differences under each pattern, ``(patterns,)``, the identity first.
        weights: sums of what a shift by 1 takes away, ``(patterns,)``.
        squares: sum d², sum d w and sum w², of which the statistic's denominator is made.
    """

    sums: np.ndarray
    weights: np.ndarray
    squares: tuple[float, float, float]

    @property
    def mean(self) -> float:
        """The mean difference, where the statistic is 0."""
        return float(self.sums[0] / self.weights[0])

    def reaches(self, side: float, statistics: np.ndarray) -> np.ndarray:
        """Return how far below (-1) or above (1) the mean this comparison's statistic grows to others, ``(statistics,)``.

        With x the distance from the mean, positive on this side, the square of the statistic is W² x² / (a x² + b x + g). The
        first root is taken; infinite where the statistic never grows so far.
        """
        mean, (square, product, a) = self.mean, self.squares
        b, g = 2 * side * (mean * a - product), max(0.0, square - 2 * mean * product + mean**2 * a)
        t = (statistics + TOLERANCE) ** 2
        leading = self.weights[0] ** 2 - t * a
        discriminant = (t * b) ** 2 + 4 * leading * t * g
        divisor = np.sqrt(np.maximum(0.0, discriminant)) - t * b  # leading x² - t b x - t g = 0, so x = 2 t g / divisor
        ends = np.where((leading > 0) & (g == 0), 0.0, np.inf)
        np.divide(2 * t * g, divisor, out=ends, where=(discriminant >= 0) & (divisor > 0))
        return ends

    def own_ends(self, side: float, patterns: np.ndarray) -> np.ndarray:
        """Return how far below (-1) or above (1) the mean some patterns reach the statistic by themselves."""
        distances = []
        for sign in (-1.0, 1.0):
            rest = self.weights[0] + sign * self.weights[patterns]
            part = np.full(patterns.size, side * np.inf)
            np.divide(self.sums[0] + sign * self.sums[patterns], rest, out=part, where=rest > SAME * self.weights[0])
            distances.append(side * (part - self.mean))
        return np.maximum(*distances)

    def own(self, shift: float) -> np.ndarray:
        """Return the patterns that reach the statistic by themselves at a shift."""
        reached = np.abs(self.sums - shift * self.weights)
        return np.flatnonzero(reached >= reached[0] * (1 - TOLERANCE))


def max_t_intervals(
    differences: np.ndarray, weights: np.ndarray, adjusted: Sequence[float], seed: int = 0
) -> list[Interval | None]:
    """Return intervals that hold all true means together with 95 %, by inverting the max-T test of joint sign flips.

    A shift is in the interval of a comparison if the test of the largest statistic does not reject it, the other comparisons
    as they are; statistics are divided by their own size, so that it matters little where the others are. Step-down max-T,
    which gives the marks, rejects a little more than that. There the interval is cut at zero: the sign is shown, and how
    far from zero is not (Strassburger and Bretz 2008, Compatible simultaneous lower confidence bounds).

    Args:
        differences: ``(comparisons, units)``; 0 where a comparison lacks a unit.
        weights: of the same shape, how much a unit moves if the mean is shifted by 1: 1, or the weight in a weighted mean,
            and 0 where a comparison lacks the unit.
        adjusted: step-down p-values.
        seed: of the random patterns beyond `exact.ENUMERATED` units.

    Returns:
        None where no shift is rejected: too few units.
    """
    patterns = sign_patterns(differences.shape[1], seed)
    largest = _largest(differences, patterns)
    intervals: list[Interval | None] = []
    at_once = max(1, MOST_AT_ONCE // len(patterns))
    for start in range(0, len(differences), at_once):
        block, of_block = differences[start : start + at_once], weights[start : start + at_once]
        sums, shifts = block @ patterns.T, of_block @ patterns.T  # (comparisons, patterns)
        for row, (values, weight) in enumerate(zip(block, of_block, strict=True)):
            squares = (float(values @ values), float(values @ weight), float(weight @ weight))
            flips = _Flips(sums[row], shifts[row], squares)
            intervals.append(_interval(flips, largest, start + row, adjusted[start + row]))
    return intervals


def _largest(differences: np.ndarray, patterns: np.ndarray) -> _Largest:
    """Return the two largest statistics under each pattern."""
    first, second = np.zeros(len(patterns)), np.zeros(len(patterns))
    holder = np.full(len(patterns), -1)
    sizes = np.sqrt((differences**2).sum(axis=1))
    scaled = np.divide(differences, sizes[:, None], out=np.zeros_like(differences), where=sizes[:, None] > 0)
    rows = max(1, MOST_AT_ONCE // max(1, len(differences)))
    for start in range(0, len(patterns), rows):
        block = slice(start, start + rows)
        statistics = np.abs(patterns[block] @ scaled.T)  # (patterns, comparisons)
        holder[block] = statistics.argmax(axis=1)
        places = (np.arange(len(statistics)), holder[block])
        first[block] = statistics[places]
        statistics[places] = 0.0
        second[block] = statistics.max(axis=1)
    return _Largest(first, second, holder, np.argsort(-first, kind="stable"))


def _interval(flips: _Flips, largest: _Largest, number: int, p: float) -> Interval | None:
    if not flips.squares[0]:  # no difference on any unit
        return Interval(0.0, 0.0, CONFIDENCE)
    allowed = _allowed(len(flips.sums))
    others = largest.others(number, largest.order[: 2 * allowed + 2])
    statistic = _last_held(others, allowed)
    low, high = _end(-1.0, flips, largest, number, statistic), _end(1.0, flips, largest, number, statistic)
    if low is None or high is None:
        return None
    return cut_at_zero(Interval(low, high, CONFIDENCE), float(flips.sums[0]), p)


def _end(side: float, flips: _Flips, largest: _Largest, number: int, statistic: float) -> float | None:
    """Return the end of the interval below (-1) or above (1) the mean; None where there is none.

    `statistic` is one that more patterns reach by other comparisons than a rejected shift may have: they hold all shifts up to
    where this comparison's grows to it, so that patterns which give up before need not be looked at.
    """
    near = float(flips.reaches(side, np.array([statistic]))[0])
    if not np.isfinite(near):
        return None
    patterns = np.union1d(largest.at_least(statistic), flips.own(flips.mean + side * near))
    others = largest.others(number, patterns)
    allowed = _allowed(len(flips.sums))
    distance = _last_held(np.maximum(flips.own_ends(side, patterns), flips.reaches(side, others)), allowed)
    if not np.isfinite(distance):
        return None
    end = distance + BEYOND
    to_zero = -side * flips.mean
    if to_zero > 0:  # an interval without zero is a rejection of zero, to the last rounding
        at_zero = abs(flips.sums[0]) / np.sqrt(flips.squares[0])
        holding = (np.abs(flips.sums[patterns]) >= abs(flips.sums[0]) * (1 - TOLERANCE)) | (others >= at_zero - TOLERANCE)
        rejected = to_zero >= near and np.count_nonzero(holding) <= allowed
        end = min(end, to_zero) if rejected else max(end, to_zero + BEYOND)
    return float(flips.mean + side * end)


def _allowed(patterns: int) -> int:
    """Return how many patterns may reach a shift that is rejected."""
    return int(ALPHA * patterns + TOLERANCE)


def _last_held(ends: np.ndarray, allowed: int) -> float:
    """Return how far more than the allowed number of patterns hold, from the end of each, ``(patterns,)``."""
    place = ends.size - allowed - 1
    return float(np.partition(ends, place)[place])


def cut_at_zero(interval: Interval, mean: float, p: float) -> Interval:
    """Return an interval without what lies beyond zero from the mean, where an adjusted p-value shows the sign."""
    if p > ALPHA or not interval.low < 0 < interval.high:
        return interval
    if mean > 0:
        return Interval(0.0, interval.high, interval.confidence)
    return Interval(interval.low, 0.0, interval.confidence)


def hull(first: Interval | None, second: Interval | None) -> Interval | None:
    """Return the smallest interval with both in it: it lies on one side of zero where both do; None where one is unknown."""
    if first is None or second is None:
        return None
    return Interval(min(first.low, second.low), max(first.high, second.high), first.confidence)
