"""Compare two systems on one task: how sure their difference is with other queries, pairs or texts of the same kind.

The unit and the error fit the type of task; both systems are always measured on the same items, resampled together:

- queries: the mean of paired differences, Student's t interval, sign flips of queries;
- pairs: Spearman or average precision recomputed on bootstrapped groups of connected pairs; the test swaps both systems'
  ranks a group (the similarities themselves are on different scales);
- classified texts: error of the texts and of the training samples, SE² = s²(runs) / R + s²(texts) / n;
- bootstrap draws of clustering: SE = s sqrt(k / N + 1 / R) for R draws of k out of N documents, since all draws are from the
  same documents (s / sqrt(R) would cover half as often as it says).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from comparison.reading.item_scores import Items
from comparison.stats.crossed import mean_of_means, unit_parts
from comparison.stats.effects import Interval, combine, t_interval, t_test
from comparison.stats.exact import sign_flip
from comparison.stats.resampling import RESAMPLES, SWAPS, bootstrap, rank_swaps

UNITS = {"queries": "queries", "correlation": "pairs", "precision": "pairs", "accuracy": "texts", "draws": "draws"}
FLIPS = 9_999
FLIPPED_AT_ONCE = 500


@dataclass(frozen=True)
class Effort:
    """Numbers of resamples: sign flips of queries, bootstraps and rank swaps of pairs."""

    flips: int = FLIPS
    resamples: int = RESAMPLES
    swaps: int = SWAPS


@dataclass(frozen=True)
class Within:
    """A difference on one task.

    Attributes:
        difference: of the statistic, recomputed from the items.
        error: its standard error over items.
        df: degrees of freedom of the error.
        interval: 95 %.
        p: two-sided.
        units: number of independent units: queries, groups of connected pairs, texts; draws for clustering.
        unit: what they are.
        items: number of items.
        grouped: whether the file said which items are connected (pairs only).
        metric: the statistic.
    """

    difference: float
    error: float
    df: float
    interval: Interval
    p: float
    units: int
    unit: str
    items: int
    grouped: bool
    metric: str


def within_task(ours: Sequence[Items], other: Sequence[Items], seed: int = 0, effort: Effort | None = None) -> Within | None:
    """Compare two systems on the items of one task; each gives the items of its runs, which are averaged.

    Returns:
        None where the items are not the same ones, or nothing can be said of their error.
    """
    first = ours[0]
    if not all(_same_items(items, first) for items in [*ours, *other]):
        return None
    effort = effort or Effort()
    if first.kind == "queries":
        return _queries(ours, other, seed, effort.flips)
    if first.kind == "accuracy":
        return _accuracy(ours, other)
    if first.kind == "draws":
        return _draws(ours, other)
    return _pairs(ours, other, seed, effort)


def _same_items(items: Items, first: Items) -> bool:
    same_labels = items.kind == first.kind and items.metric == first.metric and items.ids == first.ids
    return same_labels and np.array_equal(items.gold, first.gold)


def _queries(ours: Sequence[Items], other: Sequence[Items], seed: int, flips: int) -> Within | None:
    """Compare means over queries: V = sum(s² / n) / C² over C subsets, each of which counts the same."""
    first = ours[0]
    differences = _mean_over_runs(ours)[:, 0] - _mean_over_runs(other)[:, 0]
    strata = _by_subset(differences, first)
    if min(map(len, strata)) < 2:
        return None
    numbers = np.unique(first.subsets, return_inverse=True)[1]  # of each query's subset
    weights = 1 / len(strata) / np.bincount(numbers)[numbers]
    p = flip_test(differences * weights, seed, flips)
    return _within(first, mean_of_means(strata), unit_parts(strata), p, first.values.shape[0])


def _pairs(ours: Sequence[Items], other: Sequence[Items], seed: int, effort: Effort) -> Within | None:
    """Compare rank statistics: V is the variance of the bootstrapped differences, times G / (G - 1) for G groups."""
    first = ours[0]
    groups = np.unique(first.groups).size
    if groups < 2:
        return None
    observed, draws = [], []
    for items in [*ours, *other]:
        statistic, resampled = bootstrap(items, seed, effort.resamples)
        observed.append(statistic)
        draws.append(resampled)
    signs = np.array([1 / len(ours)] * len(ours) + [-1 / len(other)] * len(other))  # ours - other, means over runs
    difference = float(signs @ np.array(observed))
    variance = float(np.var(signs @ np.array(draws), ddof=1)) * groups / (groups - 1)  # a bootstrap's is too small by that
    p = None
    if len(ours) == len(other) == 1:
        p = rank_swaps(ours[0], other[0], seed, effort.swaps)
    return _within(first, difference, [(variance, groups - 1)], p, groups)


def _accuracy(ours: Sequence[Items], other: Sequence[Items]) -> Within | None:
    """Compare accuracies: V = sum(s²(texts) / n + s²(repetitions) / R) / C² over C subsets."""
    first = ours[0]
    if any(items.values.shape != first.values.shape for items in [*ours, *other]):
        return None
    strata = _by_subset(_mean_over_runs(ours) - _mean_over_runs(other), first)  # each (texts, repetitions)
    parts: list[tuple[float, float]] = []
    for right in strata:
        texts, repetitions = right.shape
        if texts < 2:
            return None
        parts.append((float(right.mean(axis=1).var(ddof=1)) / texts / len(strata) ** 2, texts - 1))
        if repetitions > 1:
            parts.append((float(right.mean(axis=0).var(ddof=1)) / repetitions / len(strata) ** 2, repetitions - 1))
    return _within(first, mean_of_means(strata), parts, None, first.values.shape[0])


def _draws(ours: Sequence[Items], other: Sequence[Items]) -> Within | None:
    """Compare means of bootstrap draws: SE = s sqrt(k / N + 1 / R), averaged over levels."""
    first = ours[0]
    differences = _mean_over_runs(ours)[:, 0] - _mean_over_runs(other)[:, 0]
    levels = _by_subset(differences, first)
    if first.ratio is None or min(map(len, levels)) < 3:
        return None
    errors = [level.std(ddof=1) * np.sqrt(first.ratio + 1 / len(level)) for level in levels]
    # Levels are of the same documents: the mean of their errors is the error of their mean at its largest.
    part = (float(np.mean(errors)) ** 2, min(map(len, levels)) - 1)
    return _within(first, mean_of_means(levels), [part], None, differences.size)


def _mean_over_runs(runs: Sequence[Items]) -> np.ndarray:
    return np.asarray(np.mean([items.values for items in runs], axis=0))


def _by_subset(values: np.ndarray, items: Items) -> list[np.ndarray]:
    """Return the values of each subset, subsets in the order of their numbers."""
    return [values[items.subsets == subset] for subset in np.unique(items.subsets)]


def _within(first: Items, difference: float, parts: Sequence[tuple[float, float]], p: float | None, units: int) -> Within:
    """Describe a difference from its variance's parts; without a p-value of its own it gets the t test's."""
    error, df = combine(parts)
    if p is None:
        p = t_test(difference, error, df)
    return Within(
        difference=difference,
        error=error,
        df=df,
        interval=t_interval(difference, error, df),
        p=p,
        units=units,
        unit=UNITS[first.kind],
        items=len(first.ids),
        grouped=first.grouped,
        metric=first.metric,
    )


def flip_test(differences: np.ndarray, seed: int = 0, flips: int = FLIPS) -> float:
    """Return the p-value of the sum of ``(items,)`` differences under flips of their signs, (b + 1) / (B + 1)."""
    values = differences[differences != 0]
    if values.size <= 16:
        return sign_flip(values)
    generator = np.random.default_rng(seed)
    size = abs(values.sum())
    tolerance = max(1e-12 * np.abs(values).sum(), 1e-6 * size)  # sums in single precision are rounded
    beyond = 0
    for start in range(0, flips, FLIPPED_AT_ONCE):  # in blocks: memory stays small for many queries
        count = min(FLIPPED_AT_ONCE, flips - start)
        bits = generator.bytes(count * -(-values.size // 8))  # one a query, rows in whole bytes
        rows = np.frombuffer(bits, dtype=np.uint8).reshape(count, -1)
        positive = np.unpackbits(rows, axis=1, count=values.size).astype(np.float32)
        plus = positive @ values.astype(np.float32)
        beyond += int((np.abs(2 * plus - values.sum()) >= size - tolerance).sum())  # the flipped sum is 2 plus - sum
    return (beyond + 1) / (flips + 1)
