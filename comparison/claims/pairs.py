"""Pairs of systems: their differences on common tasks, averaged inside families, and their runs' means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations, repeat

import numpy as np

from common.printable import one_line
from comparison.errors import ComparisonError, nearest
from comparison.reading.families import Families
from comparison.reading.table import Table

DIGITS = 6  # differences are rounded: scores are stored so, and equal ones should differ by 0


@dataclass(frozen=True)
class Sides:
    """Systems on both sides of a difference: scale x (mean of the first - mean of the second)."""

    first: tuple[str, ...]
    second: tuple[str, ...]
    scale: float = 1.0

    @property
    def systems(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.first, *self.second)

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each system's mean score in the difference."""
        weights = dict.fromkeys(self.first, self.scale / len(self.first))
        return weights | dict.fromkeys(self.second, -self.scale / len(self.second))


@dataclass(frozen=True)
class Pair:
    """Two systems, or two groups of systems, on the tasks of one category that all of them have.

    Attributes:
        a: a system.
        b: another.
        differences: a - b by task, of means over runs.
        missing: other tasks of the category, and who lacks them.
        families: the common tasks by family.
        groups: the systems of both sides where these are groups, and `a` and `b` their names.
    """

    a: str
    b: str
    differences: dict[str, float]
    missing: dict[str, str]
    families: list[list[str]]
    groups: Sides | None = None

    @property
    def sides(self) -> Sides:
        """The systems of both sides."""
        return self.groups or Sides((self.a,), (self.b,))

    @cached_property
    def of_families(self) -> np.ndarray:
        """Mean difference of each family, ``(families,)``."""
        means = []
        for differences in self.by_family:
            means.append(sum(differences) / len(differences))
        return np.array(means)

    @property
    def values(self) -> np.ndarray:
        """Differences by task, ``(tasks,)``."""
        return np.array(list(self.differences.values()))

    @property
    def by_family(self) -> list[list[float]]:
        """Differences of the tasks of each family."""
        return [list(map(self.differences.__getitem__, tasks)) for tasks in self.families]


def choose_pairs(systems: Sequence[str], baseline: str | None) -> list[tuple[str, str]]:
    """Return the comparisons: everybody with the baseline, or all pairs in the order of the systems if it is None.

    Raises:
        ComparisonError: there is no such baseline.
    """
    if baseline is None:
        return list(combinations(systems, 2))
    baseline = find_system(baseline, systems)
    others = [name for name in systems if name != baseline]
    return list(zip(others, repeat(baseline)))


def find_system(name: str, systems: Sequence[str]) -> str:
    """Return the system of this name, with or without the organisation before it.

    Raises:
        ComparisonError: there is none, or several.
    """
    if name in systems:
        return name
    if one_line(name) in systems:
        return one_line(name)
    model = name.rsplit("/", 1)[-1]
    matches = [system for system in systems if system.rsplit("/", 1)[-1] == model]
    if len(matches) == 1:
        return matches[0]
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


def make_group_pair(
    table: Table,
    tasks: Sequence[str],
    families: Families,
    names: tuple[str, str],
    sides: Sides,
    same_revision: bool = False,
) -> Pair:
    """Return the differences of two groups of systems on the tasks of a category that all of them have.

    Args:
        table: the scores.
        tasks: of the category.
        families: the map of tasks.
        names: of the two groups.
        sides: their systems.
        same_revision: leave out tasks whose results state different revisions of the data.
    """
    differences, missing = {}, {}
    for task in tasks:
        lacking = [system for system in sides.systems if (system, task) not in table.scores]
        if lacking:
            missing[task] = " and ".join(lacking)
            continue
        if same_revision and not table.one_revision(sides.systems, task):
            missing[task] = "other data"
            continue
        difference = 0.0
        for system, weight in sides.weights.items():
            difference += weight * mean_score(table, system, task)
        differences[task] = round(difference, DIGITS)
    return Pair(*names, differences, missing, families.group(differences), sides)


def mean_score(table: Table, system: str, task: str) -> float:
    """Return a system's score on a task, mean over the runs that have one."""
    values = table.scores[system, task]
    if values.size == 1:
        return float(values[0])
    return float(np.nanmean(values))


def family_matrix(pairs: Sequence[Pair], families: Sequence[Sequence[str]]) -> np.ndarray:
    """Return mean differences ``(pairs, families)``, 0 where a pair lacks all tasks of a family."""
    matrix = np.zeros((len(pairs), len(families)))
    for row, pair in enumerate(pairs):
        for column, tasks in enumerate(families):
            common = [pair.differences[task] for task in tasks if task in pair.differences]
            if common:
                matrix[row, column] = sum(common) / len(common)
    return matrix


def run_means(table: Table, system: str, families: Sequence[Sequence[str]]) -> np.ndarray:
    """Return the mean over families of each run that has all their tasks, ``(runs,)``; none where tasks are missing."""
    means = means_by_run(table, system, families)
    return np.asarray(means[np.isfinite(means)])


def means_by_run(table: Table, system: str, families: Sequence[Sequence[str]]) -> np.ndarray:
    """Return the mean over families of each run, NaN where it lacks a task, ``(runs,)``; none where all lack one."""
    by_family = []
    for family in families:
        scores = table.stack(system, family)
        if scores is None:
            return np.empty(0)
        by_family.append(np.mean(scores, axis=0))
    return np.asarray(np.mean(by_family, axis=0))


@dataclass(frozen=True)
class Counted:
    """A pair with failed runs counted as losses.

    Attributes:
        pair: with the differences then; the pair itself where nothing failed.
        failed_a: runs of a that failed or are absent, summed over tasks.
        failed_b: the same of b.
        shares: of all runs of a, and of b, summed over tasks.
        absent: those of both that are absent without a failure.
    """

    pair: Pair
    failed_a: int
    failed_b: int
    shares: tuple[float, float] = (0.0, 0.0)
    absent: int = 0

    @property
    def failed(self) -> int:
        """Runs of both that failed or are absent."""
        return self.failed_a + self.failed_b


def count_failures(table: Table, pairs: Sequence[Pair], families: Families, margin: float) -> list[Counted]:
    """Count failed runs and absent tasks as losses, one failed run of S as a share of 1 / S.

    A task is absent for a system that has no score and no failure on it, while the other system has a score.

    A loss is as large as the pair's largest difference, or, where a system failed on everything, the largest of all pairs;
    it is never smaller than the margin, since a run that failed is no draw.

    Args:
        table: the scores.
        pairs: of one category, also those without a common task.
        families: the map of tasks.
        margin: differences within it count as none.
    """
    largest = max(map(_largest, pairs), default=0.0)
    counted = []
    for pair in pairs:
        loss = largest
        if pair.differences:
            loss = _largest(pair)
        counted.append(_count(table, pair, families, max(margin, loss)))
    return counted


def _largest(pair: Pair) -> float:
    return max(map(abs, pair.differences.values()), default=0.0)


def _count(table: Table, pair: Pair, families: Families, loss: float) -> Counted:
    """Count a pair's lost runs: on each task d - loss (share of a's runs that are lost - share of b's)."""
    differences: dict[str, float] = {}
    failed_a = failed_b = absent = 0
    for task in [*pair.differences, *pair.missing]:
        count_a = table.failed.get((pair.a, task), 0)
        count_b = table.failed.get((pair.b, task), 0)
        if pair.differences:
            absent_a, absent_b = _absent(table, pair.a, pair.b, task), _absent(table, pair.b, pair.a, task)
            count_a, count_b, absent = count_a + absent_a, count_b + absent_b, absent + absent_a + absent_b
        failed_a += count_a
        failed_b += count_b
        if task in pair.differences or count_a or count_b:
            shares = count_a / table.runs[pair.a] - count_b / table.runs[pair.b]
            differences[task] = pair.differences.get(task, 0.0) - loss * shares
    if not failed_a + failed_b:
        return Counted(pair, 0, 0)
    tasks = len(differences)
    shares_of_all = (failed_a / (table.runs[pair.a] * tasks), failed_b / (table.runs[pair.b] * tasks))
    with_losses = replace(pair, differences=differences, families=families.group(differences))
    return Counted(with_losses, failed_a, failed_b, shares_of_all, absent)


def _absent(table: Table, system: str, other: str, task: str) -> int:
    """Return how many of a system's runs neither have nor failed a task that the other system has."""
    if (other, task) not in table.scores:
        return 0
    without = table.runs[system]
    if (system, task) in table.scores:
        without = int(np.isnan(table.scores[system, task]).sum())
    return max(0, without - table.failed.get((system, task), 0))
