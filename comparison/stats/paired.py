"""Paired comparison of two systems on the same items (queries): the mean difference and its bootstrap interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Difference:
    """A mean difference with a 95 % interval.

    Attributes:
        mean: mean of the differences.
        low: lower end of the interval.
        high: upper end.
        items: how many items it is over.
    """

    mean: float
    low: float
    high: float
    items: int

    @property
    def excludes_zero(self) -> bool:
        """True where the whole interval lies on one side of zero."""
        return self.low > 0 or self.high < 0


def paired_difference(ours: np.ndarray, other: np.ndarray, *, resamples: int = 10_000, seed: int = 0) -> Difference:
    """Resample items to see how far the mean difference would move with other items of the same kind.

    Percentile bootstrap (Efron and Tibshirani 1993, chapter 13), items as the unit. It speaks of these tasks and these
    checkpoints; it says nothing of other tasks, nor of another training run.

    Args:
        ours: scores ``(items,)``, or ``(runs, items)``, which are averaged over runs first.
        other: the same for the other system, items in the same order.
        resamples: bootstrap samples.
        seed: of the resampling.

    Raises:
        ValueError: no items, different items, or a score that is not finite.
    """
    first, second = _mean_over_runs(ours), _mean_over_runs(other)
    if first.shape != second.shape or first.size == 0:
        raise ValueError(f"paired scores need the same items, at least one: {first.shape} and {second.shape}")
    differences = first - second
    if not np.isfinite(differences).all():
        raise ValueError("a score is not finite")
    generator = np.random.default_rng(seed)
    count = differences.size
    means = np.empty(resamples)
    for start in range(0, resamples, 500):  # in blocks: memory stays small for many items
        block = min(500, resamples - start)
        picks = generator.integers(0, count, size=(block, count))
        means[start : start + len(picks)] = differences[picks].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Difference(float(differences.mean()), float(low), float(high), count)


def _mean_over_runs(scores: np.ndarray) -> np.ndarray:
    return np.asarray(np.atleast_2d(np.asarray(scores, dtype=np.float64)).mean(axis=0))


def run_interval(differences: np.ndarray, confidence: float = 0.95) -> Difference:
    """Return the mean of one difference a training run with Student's t interval: speaks of another training run.

    Args:
        differences: ``(runs,)``, at least two.
        confidence: of the interval.

    Raises:
        ValueError: fewer than two runs: one run says nothing of the spread between runs.
    """
    values = np.asarray(differences, dtype=np.float64)
    if values.size < 2:
        raise ValueError("an interval over training runs needs at least two of them")
    quantile = stats.t.ppf((1 + confidence) / 2, values.size - 1)
    half = float(quantile * values.std(ddof=1) / np.sqrt(values.size))
    mean = float(values.mean())
    return Difference(mean, mean - half, mean + half, values.size)
