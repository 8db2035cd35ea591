"""Pairs of systems: their differences on common tasks, averaged inside families, and their runs' means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations

import numpy as np

from comparison.errors import ComparisonError, nearest
from comparison.reading.families import Families
from comparison.reading.table import Table

DIGITS = 6  # differences are rounded: scores are stored so, and equal ones should differ by 0


@dataclass(frozen=True)
class Pair:
    """Two systems on the tasks of one category that both have.

    Attributes:
        a: a system.
        b: another.
        differences: a - b by task, of means over runs.
        missing: other tasks of the category, and who lacks them.
        families: the common tasks by family.
    """

    a: str
    b: str
    differences: dict[str, float]
    missing: dict[str, str]
    families: list[list[str]]

    @cached_property
    def of_families(self) -> np.ndarray:
        """Mean difference of each family, ``(families,)``."""
        return np.array([sum(self.differences[task] for task in tasks) / len(tasks) for tasks in self.families])


def choose_pairs(systems: Sequence[str], baseline: str | None) -> list[tuple[str, str]]:
    """Return the comparisons: everybody with the baseline, or all pairs in the order of the systems if it is None.

    Raises:
        ComparisonError: there is no such baseline.
    """
    if baseline is None:
        return list(combinations(systems, 2))
    baseline = find_system(baseline, systems)
    return [(name, baseline) for name in systems if name != baseline]


def find_system(name: str, systems: Sequence[str]) -> str:
    """Return the system of this name, with or without the organisation before it.

    Raises:
        ComparisonError: there is none, or several.
    """
    if name in systems:
        return name
    found = [system for system in systems if name.rsplit("/", 1)[-1] == system.rsplit("/", 1)[-1]]
    if len(found) == 1:
        return found[0]
    raise ComparisonError(f"there is no system {name!r}{nearest(name, systems)}; the systems are {', '.join(systems)}")


def make_pair(
    table: Table, tasks: Sequence[str], families: Families, names: tuple[str, str], same_revision: bool = False
) -> Pair:
    """Return the differences of two systems on the tasks of a category.

    Args:
        table: the scores.
        tasks: of the category.
        families: the map of tasks.
        names: of the two systems.
        same_revision: leave out tasks whose results state different revisions of the data.
    """
    a, b = names
    differences, missing = {}, {}
    for task in tasks:
        lacking = [name for name in names if (name, task) not in table.scores]
        if lacking:
            missing[task] = " and ".join(lacking)
        elif same_revision and not table.same_revision(a, b, task):
            missing[task] = "other data"
        else:
            differences[task] = round(mean_score(table, a, task) - mean_score(table, b, task), DIGITS)
    return Pair(a, b, differences, missing, families.group(differences))


def mean_score(table: Table, system: str, task: str) -> float:
    """Return a system's score on a task, mean over the runs that have one."""
    values = table.scores[system, task]
    return float(values[0] if values.size == 1 else np.nanmean(values))


def family_matrix(pairs: Sequence[Pair], families: Sequence[Sequence[str]]) -> np.ndarray:
    """Return mean differences ``(pairs, families)``, 0 where a pair lacks all tasks of a family."""
    return np.array(
        [
            [np.mean(found) if (found := [pair.differences[task] for task in tasks if task in pair.differences]) else 0.0
             for tasks in families]
            for pair in pairs
        ]
    )  # fmt: skip


def run_means(table: Table, system: str, families: Sequence[Sequence[str]]) -> np.ndarray:
    """Return the mean over families of each run that has all their tasks, ``(runs,)``; none where tasks are missing."""
    tasks = [task for family in families for task in family]
    if any((system, task) not in table.scores for task in tasks):
        return np.empty(0)
    means = np.mean([np.mean([table.scores[system, task] for task in family], axis=0) for family in families], axis=0)
    return np.asarray(means[np.isfinite(means)])


@dataclass(frozen=True)
class Counted:
    """A pair with failed runs counted as losses.

    Attributes:
        pair: with the differences then; the pair itself where nothing failed.
        failed_a: failed runs of a, summed over tasks.
        failed_b: the same of b.
        shares: of all runs of a, and of b, summed over tasks.
    """

    pair: Pair
    failed_a: int
    failed_b: int
    shares: tuple[float, float] = (0.0, 0.0)

    @property
    def failed(self) -> int:
        """Failed runs of both."""
        return self.failed_a + self.failed_b


def count_failures(table: Table, pairs: Sequence[Pair], families: Families, margin: float) -> list[Counted]:
    """Count failed runs as losses, one failed run of S as a share of 1 / S.

    A loss is as large as the pair's largest difference, or, where a system failed on everything, the largest of all pairs;
    it is never smaller than the margin, since a run that failed is no draw.

    Args:
        table: the scores.
        pairs: of one category, also those without a common task.
        families: the map of tasks.
        margin: differences within it count as none.
    """
    largest = max((abs(value) for pair in pairs for value in pair.differences.values()), default=0.0)
    return [_count(table, pair, families, max(margin, *map(abs, pair.differences.values() or [largest]))) for pair in pairs]


def _count(table: Table, pair: Pair, families: Families, loss: float) -> Counted:
    tasks = [*pair.differences, *pair.missing]
    failed = {name: {task: table.failed.get((name, task), 0) for task in tasks} for name in (pair.a, pair.b)}
    of_a, of_b = (sum(failed[name].values()) for name in (pair.a, pair.b))
    if not of_a + of_b:
        return Counted(pair, 0, 0)
    counted: dict[str, float] = {}
    for task in tasks:
        shares = [failed[name][task] / table.runs[name] for name in (pair.a, pair.b)]
        if task in pair.differences or any(shares):
            counted[task] = pair.differences.get(task, 0.0) - loss * (shares[0] - shares[1])
    every = [table.runs[name] * len(counted) for name in (pair.a, pair.b)]
    lost = (of_a / every[0], of_b / every[1])
    return Counted(replace(pair, differences=counted, families=families.group(counted)), of_a, of_b, lost)
