"""Simultaneous intervals: those that agree with marks which are corrected for several comparisons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from comparison.stats.effects import ALPHA, CONFIDENCE, Interval
from comparison.stats.exact import TOLERANCE, sign_patterns

PRECISION = 4e-6  # score units
FARTHEST = 64  # doublings of a step


@dataclass(frozen=True)
class _Flips:
    """Joint sign flips of one comparison at any shift.

    Attributes:
        sums: of differences under each pattern, ``(patterns,)``, the identity first.
        weights: sums of what a shift by 1 takes away, ``(patterns,)``.
        squares: sum d², sum d w and sum w², of which the statistic's denominator is made.
        others: the largest statistic of the other comparisons under each pattern, ``(patterns,)``.
    """

    sums: np.ndarray
    weights: np.ndarray
    squares: tuple[float, float, float]
    others: np.ndarray

    def rejects(self, shift: float) -> bool:
        """Return whether the joint test rejects that the mean difference is `shift`."""
        size = self.squares[0] - 2 * shift * self.squares[1] + shift**2 * self.squares[2]
        if size <= 1e-24 * self.squares[0]:
            return False
        statistics = np.abs(self.sums - shift * self.weights) / np.sqrt(size)
        highest = np.maximum(statistics, self.others)
        return bool(np.mean(highest >= statistics[0] - TOLERANCE) <= ALPHA)

    def end(self, side: float) -> float | None:
        """Return the end of the interval below (-1) or above (1) the mean; None where there is none.

        It is searched from the mean outward, first to zero, so that an interval without zero is a rejection of zero.
        """
        mean = self.sums[0] / self.weights[0]
        inside, step = mean, np.sqrt(self.squares[0]) / abs(self.weights[0])
        outside = None
        if side * mean < 0:  # zero lies on this side
            if self.rejects(0.0):
                outside = 0.0
            else:
                inside = 0.0
        for _ in range(FARTHEST):
            if outside is not None:
                break
            candidate = inside + side * step
            if self.rejects(candidate):
                outside = candidate
            else:
                inside, step = candidate, 2 * step
        if outside is None:
            return None
        while abs(outside - inside) > PRECISION / 4:
            middle = (inside + outside) / 2
            if self.rejects(middle):
                outside = middle
            else:
                inside = middle
        return float(outside)


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
    first, second = np.zeros(len(patterns)), np.zeros(len(patterns))  # the two largest statistics under each pattern
    holder = np.full(len(patterns), -1)
    for number, row in enumerate(differences):
        size = float(np.sqrt(row @ row))
        if not size:
            continue
        statistics = np.abs(patterns @ row) / size
        larger = statistics > first
        second = np.where(larger, first, np.maximum(second, statistics))
        first = np.where(larger, statistics, first)
        holder[larger] = number
    intervals: list[Interval | None] = []
    for number, (row, weight) in enumerate(zip(differences, weights, strict=True)):
        squares = (float(row @ row), float(row @ weight), float(weight @ weight))
        others = np.where(holder == number, second, first)
        flips = _Flips(patterns @ row, patterns @ weight, squares, others)
        intervals.append(_interval(flips, adjusted[number]))
    return intervals


def _interval(flips: _Flips, p: float) -> Interval | None:
    if not flips.squares[0]:  # no difference on any unit
        return Interval(0.0, 0.0, CONFIDENCE)
    low, high = flips.end(-1.0), flips.end(1.0)
    if low is None or high is None:
        return None
    return cut_at_zero(Interval(low, high, CONFIDENCE), float(flips.sums[0]), p)


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
