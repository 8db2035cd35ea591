"""Training runs behind a difference: how many each system has, and how much their means vary."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from comparison.claims.pairs import Sides, means_by_run, run_means
from comparison.reading.table import Table
from comparison.stats.crossed import AS_IT_IS, Parts, Trained, run_parts, run_variance

MeansOf = Callable[[str, tuple[tuple[str, ...], ...]], np.ndarray]  # system, families of tasks -> mean of each run


def trained_runs(table: Table, system: str, families: Sequence[Sequence[str]]) -> Trained:
    """Return the runs of a system that have all tasks of some families, with the variance of their means over families."""
    return _trained(table, system, run_means(table, system, families))


def _trained(table: Table, system: str, means: np.ndarray) -> Trained:
    if system in table.as_they_are:
        return Trained(1.0, AS_IT_IS, 1)
    return Trained(1.0, run_variance(means), max(1, len(means)))


def difference_parts(sides: Sides, runs: Mapping[str, Trained]) -> Parts | None:
    """Return what runs add to the variance of a difference; None where it is unknown."""
    return run_parts([replace(runs[system], weight=weight) for system, weight in sides.weights.items()])


@dataclass(frozen=True)
class PairRuns:
    """Numbers of training runs on both sides of a comparison, and what they add to its variance over all its categories."""

    counts: tuple[int, int]
    parts: Parts | None


def runs_of(
    table: Table, sides: Sides, families: Mapping[str, Sequence[Sequence[str]]], means_of: MeansOf | None = None
) -> PairRuns:
    """Return the runs behind a comparison, from run means over categories: of the runs that have all tasks of all of them.

    Args:
        table: the scores.
        sides: the systems.
        families: category -> the comparison's common tasks by family.
        means_of: `pairs.means_by_run` of this table, where it is kept for many comparisons.
    """
    if means_of is None:
        means_of = partial(means_by_run, table)
    runs: dict[str, Trained] = {}
    for system in sides.systems:
        by_category = [means_of(system, tuple(map(tuple, of_category))) for of_category in families.values()]
        means = np.empty(0)
        if len(set(map(len, by_category))) == 1:  # else all runs lack a task of some category
            means = np.asarray(np.mean(by_category, axis=0))
            means = means[np.isfinite(means)]
        runs[system] = _trained(table, system, means)
    first = min(runs[system].runs for system in sides.first)
    second = min(runs[system].runs for system in sides.second)
    return PairRuns((first, second), difference_parts(sides, runs))
