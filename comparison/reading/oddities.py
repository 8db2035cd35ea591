"""Notice scores that are fractions by their size and may be none: per cent below one, and a task that is out of line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from comparison.reading.systems import System
from comparison.reading.table import Table

FAR = 10  # times the spread of the other tasks
FEWEST = 5  # other tasks that tell a spread
SMALLEST = 0.02  # a spread in score units below which nothing is odd


def partly_in_per_cent(systems: Sequence[System], tasks: Mapping[str, set[tuple[str, str]]]) -> list[str]:
    """Name the systems of which some scores are in per cent, so that those below one may be so, too.

    Args:
        systems: with their scores.
        tasks: task -> the cells that are compared.
    """
    notes = []
    for system in systems:
        large, small = 0, []
        for task, cells in tasks.items():
            values = []
            for score in system.results(task):
                values += [abs(score.entries[cell]) for cell in cells if cell in score.entries]
            large += any(1 < value <= 100 for value in values)
            if any(value <= 1 for value in values):
                small.append(task)
        if large and small:
            names = ", ".join(small)
            notes.append(f"{large} results of {system.name} are in per cent, so its scores below 1 may be, too: {names}")
    return notes


def out_of_line(table: Table) -> list[str]:
    """Name the scores whose difference from the other systems is ten times the spread of the system's other tasks.

    The difference is from the median of the others on the task; the spread is 1.4826 times the median absolute deviation.
    """
    notes = []
    for category, tasks in table.categories.items():
        differences = _from_median(table, tasks)
        for system in table.systems:
            own = {task: differences[system, task] for task in tasks if (system, task) in differences}
            for task, difference in own.items():
                others = np.array([value for other, value in own.items() if other != task])
                if others.size < FEWEST:
                    continue
                middle = float(np.median(others))
                spread = max(SMALLEST, 1.4826 * float(np.median(np.abs(others - middle))))
                if abs(difference - middle) > FAR * spread:
                    notes.append(
                        f"{system} on {task} ({category}) is {100 * difference:+.1f} points from the others' median, more than "
                        f"ten times the spread of its other tasks; is the file in per cent, or of another task?"
                    )
    return notes


def _from_median(table: Table, tasks: Sequence[str]) -> dict[tuple[str, str], float]:
    """Return each system's difference from the median of the others on each task that at least two have."""
    differences = {}
    for task in tasks:
        means = {}
        for system in table.systems:
            if (system, task) in table.scores:
                means[system] = float(np.nanmean(table.scores[system, task]))
        for system, mean in means.items():
            others = [value for other, value in means.items() if other != system]
            if others:
                differences[system, task] = mean - float(np.median(others))
    return differences
