"""Absolute scores as leaderboards print them: a mean for each kind of tasks, over kinds, and over tasks; best first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from comparison.claims.outcome import Comparison
from comparison.report.words.names import called, name
from comparison.report.words.wording import DASH, count, hundredths, points

MOST_UNTRAINED = 3  # columns of gains


@dataclass(frozen=True)
class SystemScores:
    """Mean scores of a system; None where it lacks a task, since means over different tasks cannot be compared.

    Attributes:
        system: its name.
        over_kinds: the mean of the kinds' means.
        over_tasks: the mean over all tasks.
        kinds: kind -> the mean over its tasks.
    """

    system: str
    over_kinds: float | None
    over_tasks: float | None
    kinds: dict[str, float | None]


def mean_scores(comparison: Comparison) -> list[SystemScores]:
    """Return the scores of each system, those with all tasks first, the best before the others."""
    rows = []
    for system in comparison.systems:
        kinds = {category.name: category.means.get(system) for category in comparison.categories}
        known = [mean for mean in kinds.values() if mean is not None]
        over_kinds = over_tasks = None
        if known and len(known) == len(kinds):
            over_kinds = float(np.mean(known))
            every: list[float] = []
            for category in comparison.categories:
                every += category.scores[system].values()
            over_tasks = float(np.mean(every))
        rows.append(SystemScores(system, over_kinds, over_tasks, kinds))
    return sorted(rows, key=lambda row: -1.0 if row.over_kinds is None else row.over_kinds, reverse=True)


def score_table(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Return head and rows of the table, in points; none where nothing was compared.

    Beside what nobody trained, such as a study's untrained model, every gain over it stands: of the mean over kinds.
    """
    kinds = [category.name for category in comparison.categories]
    if not kinds:
        return [], []
    means = {row.system: row for row in mean_scores(comparison)}
    untrained = [system for system in means if system in comparison.as_they_are][:MOST_UNTRAINED]
    head = ["system", "mean over kinds", "mean over tasks"]
    if untrained:
        head += ["training", *(f"over {called(system)}" for system in untrained)]
    head += map(name, kinds)
    rows = []
    for system, row in means.items():
        cells = [name(system), *map(hundredths, [row.over_kinds, row.over_tasks])]
        if untrained:
            cells.append(_training(comparison, system))
        for other in untrained:
            cells.append(_gain(row, means[other]))
        rows.append([*cells, *map(hundredths, row.kinds.values())])
    return head, rows


def _training(comparison: Comparison, system: str) -> str:
    if system in comparison.as_they_are:
        return "none"
    return count(comparison.systems[system], "run", "runs")


def _gain(row: SystemScores, other: SystemScores) -> str:
    """Return the difference of two means over kinds; a dash for a system itself and where one is not known."""
    if row is other or row.over_kinds is None or other.over_kinds is None:
        return DASH
    return points(row.over_kinds - other.over_kinds)
