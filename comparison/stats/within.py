"""One task, two systems: how sure their difference is with other queries, pairs or texts of the same kind.

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
from comparison.stats.effects import Interval, combine, t_interval, t_test
from comparison.stats.exact import sign_flip
from comparison.stats.resampling import RESAMPLES, SWAPS, bootstrap, rank_swaps

UNITS = {"queries": "queries", "correlation": "pairs", "precision": "pairs", "accuracy": "texts", "draws": "documents"}
FLIPS = 9_999
FLIPPED_AT_ONCE = 500


@dataclass(frozen=True)
class Effort:
    """How often is resampled: sign flips of queries, bootstraps and rank swaps of pairs."""

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
        units: how many independent units: queries, groups of connected pairs, texts; draws for clustering.
        unit: what they are.
        items: how many items.
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
    if any(items.kind != first.kind or items.metric != first.metric or items.ids != first.ids for items in [*ours, *other]):
        return None
    if any(not np.array_equal(items.gold, first.gold) for items in [*ours, *other]):
        return None
    compare = {"queries": _queries, "accuracy": _accuracy, "draws": _draws}.get(first.kind, _pairs)
    return compare(ours, other, seed, effort or Effort())


def _queries(ours: Sequence[Items], other: Sequence[Items], seed: int, effort: Effort) -> Within | None:
    first = ours[0]
    differences = _mean(ours)[:, 0] - _mean(other)[:, 0]
    strata = [differences[first.subsets == one] for one in np.unique(first.subsets)]
    if min(map(len, strata)) < 2:
        return None
    difference = float(np.mean([stratum.mean() for stratum in strata]))
    parts = [(float(stratum.var(ddof=1)) / len(stratum) / len(strata) ** 2, len(stratum) - 1) for stratum in strata]
    weights = np.array([1 / len(strata) / (first.subsets == one).sum() for one in first.subsets])
    p = flip_test(differences * weights, seed, effort.flips)
    return _made(first, difference, parts, p, first.values.shape[0])


def _pairs(ours: Sequence[Items], other: Sequence[Items], seed: int, effort: Effort) -> Within | None:
    first = ours[0]
    groups = np.unique(first.groups).size
    if groups < 2:
        return None
    observed, draws = zip(*(bootstrap(items, seed, effort.resamples) for items in [*ours, *other]), strict=True)
    signs = np.array([1 / len(ours)] * len(ours) + [-1 / len(other)] * len(other))
    difference = float(signs @ np.array(observed))
    variance = float(np.var(signs @ np.array(draws), ddof=1)) * groups / (groups - 1)  # a bootstrap's is too small by that
    p = rank_swaps(ours[0], other[0], seed, effort.swaps) if len(ours) == len(other) == 1 else None
    return _made(first, difference, [(variance, groups - 1)], p, groups)


def _accuracy(ours: Sequence[Items], other: Sequence[Items], seed: int, effort: Effort) -> Within | None:
    first = ours[0]
    if any(items.values.shape != first.values.shape for items in [*ours, *other]):
        return None
    right = _mean(ours) - _mean(other)  # (texts, repetitions)
    parts: list[tuple[float, int]] = []
    names = np.unique(first.subsets)
    for one in names:
        part = right[first.subsets == one]
        if len(part) < 2:
            return None
        parts.append((float(part.mean(axis=1).var(ddof=1)) / len(part) / len(names) ** 2, len(part) - 1))
        if part.shape[1] > 1:
            parts.append((float(part.mean(axis=0).var(ddof=1)) / part.shape[1] / len(names) ** 2, part.shape[1] - 1))
    difference = float(np.mean([right[first.subsets == one].mean() for one in names]))
    return _made(first, difference, parts, None, first.values.shape[0])


def _draws(ours: Sequence[Items], other: Sequence[Items], seed: int, effort: Effort) -> Within | None:
    first = ours[0]
    differences = _mean(ours)[:, 0] - _mean(other)[:, 0]
    levels = [differences[first.subsets == one] for one in np.unique(first.subsets)]
    if first.ratio is None or min(map(len, levels)) < 3:
        return None
    errors = [level.std(ddof=1) * np.sqrt(first.ratio + 1 / len(level)) for level in levels]
    # Levels are of the same documents: the mean of their errors is the error of their mean at its largest.
    part = (float(np.mean(errors)) ** 2, min(map(len, levels)) - 1)
    return _made(first, float(np.mean([level.mean() for level in levels])), [part], None, differences.size)


def _mean(runs: Sequence[Items]) -> np.ndarray:
    return np.asarray(np.mean([items.values for items in runs], axis=0))


def _made(first: Items, difference: float, parts: list[tuple[float, int]], p: float | None, units: int) -> Within:
    error, df = combine(parts)
    return Within(
        difference=difference,
        error=error,
        df=df,
        interval=t_interval(difference, error, df),
        p=t_test(difference, error, df) if p is None else p,
        units=units,
        unit="draws" if first.kind == "draws" else UNITS[first.kind],
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
    size, limit = abs(values.sum()), 1e-12 * np.abs(values).sum()
    beyond = 0
    for start in range(0, flips, FLIPPED_AT_ONCE):  # in blocks: memory stays small for many queries
        count = min(FLIPPED_AT_ONCE, flips - start)
        drawn = np.frombuffer(generator.bytes(count * -(-values.size // 8)), dtype=np.uint8).reshape(count, -1)
        plus = np.unpackbits(drawn, axis=1, count=values.size).astype(np.float32) @ values.astype(np.float32)
        beyond += int((np.abs(2 * plus - values.sum()) >= size - max(limit, 1e-6 * size)).sum())
    return (beyond + 1) / (flips + 1)
