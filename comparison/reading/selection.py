"""Choose the scores that are compared: one split and the same subsets for everybody, one version of a task.

What is left out is noted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from itertools import product

import numpy as np

from common.printable import one_line, printable
from comparison.errors import ComparisonError, nearest
from comparison.reading.families import Families, root
from comparison.reading.measures import common_measure, other_measure
from comparison.reading.oddities import out_of_line, partly_in_per_cent
from comparison.reading.origins import origins
from comparison.reading.systems import Reading, Score, System
from comparison.reading.table import Table
from comparison.reading.task_versions import one_version

SPLITS = {"MSMARCO": "dev"}  # mteb scores it there; every other task that has a test split on that
PER_CENT = "; if it is in per cent, divide by 100"
MOST_REASONS = 3
ENGLISH = ("default", "en", "en-en", "eng")  # the subset compared, in this order, where a task has several


def select(reading: Reading, families: Families, tasks: Sequence[str] | None = None) -> Table:
    """Choose the tasks, splits and subsets that are compared.

    Args:
        reading: systems and their scores.
        families: the map of tasks.
        tasks: only these; None for all.

    Raises:
        ComparisonError: a task is named that nobody has, or nothing is left.
    """
    notes = list(reading.notes)
    categories = _categories(reading.systems, families)
    if tasks is None:
        chosen = one_version(categories, reading.systems, notes)
    else:
        chosen = _named(categories, list(map(one_line, tasks)))
    runs = {system.name: len(system.runs) for system in reading.systems}
    table = Table(tuple(runs), runs, notes, as_they_are=reading.as_they_are, factors=reading.factors)
    left_out: list[str] = []
    for task in chosen:
        _fill(table, task, reading.systems, left_out)
    if left_out:
        notes.append(f"scores left out: {'; '.join(left_out)}")
    scored = {task for _, task in table.scores}
    compared = [task for task in chosen if task in scored]
    if not compared:
        raise ComparisonError(f"no task is left to compare; scores left out: {_shortened(left_out)}")
    table.categories = _by_category(compared, categories, families)
    notes += _relations(compared, families)
    notes += partly_in_per_cent(reading.systems, table.cells)
    notes += out_of_line(table)
    table.notes = list(map(printable, [*notes, *origins(table)]))
    return table


def _relations(tasks: Sequence[str], families: Families) -> list[str]:
    """Say which tasks stand in no map of families, and what follows."""
    nowhere = [task for task in tasks if not families.knows(task)]
    if not nowhere:
        return []
    if families.unrelated:
        return [f"in no map of families, and declared to be related to no other task (--unrelated): {', '.join(nowhere)}"]
    return [
        "in no map of families, so it is not known to which others they are related, and their comparisons make no claim on "
        f"other tasks: {', '.join(nowhere)}; name them in a file for --families, or declare with --unrelated that none is "
        "related"
    ]


def _categories(systems: Sequence[System], families: Families) -> dict[str, str]:
    """Return the category of each task in the order in which tasks occur: the map's, else its first score's."""
    categories: dict[str, str] = {}
    for system in systems:
        for task in system.tasks:
            if task not in categories:
                categories[task] = families.category_of(task) or system.results(task)[0].category
    return categories


def _by_category(tasks: Sequence[str], categories: Mapping[str, str], families: Families) -> dict[str, list[str]]:
    """Return tasks by category; categories in the order of `families.yaml`, others after them."""
    order = list(dict.fromkeys([*families.category.values(), *map(categories.__getitem__, tasks)]))
    groups: dict[str, list[str]] = {}
    for task in sorted(tasks, key=lambda task: order.index(categories[task])):
        groups.setdefault(categories[task], []).append(task)
    return groups


def _named(every: Collection[str], tasks: Sequence[str]) -> list[str]:
    for task in tasks:
        if task not in every:
            raise ComparisonError(f"no result has the task {task!r}{nearest(task, every)}")
    return list(dict.fromkeys(tasks))


def _fill(table: Table, task: str, systems: Sequence[System], left_out: list[str]) -> None:
    """Enter one task: choose split and subsets over all systems, then take everybody's mean over them."""
    results: list[Score] = []
    for system in systems:
        results += system.results(task)
    split = _choose_split(task, results)
    if split is None:
        left_out.append(f"{task} (no scores in its files)")
        return
    subsets = _choose_subsets(split, results)
    if not subsets:
        left_out.append(f"{task} (no subset that all systems have)")
        return
    table.cells[task] = set(product([split], subsets))
    measure = common_measure(results, table.cells[task])
    for system in systems:
        _fill_system(table, task, system, measure, left_out)


def _choose_split(task: str, results: Sequence[Score]) -> str | None:
    """Return the split that mteb scores the task on, or else the one that the most results have; None where none has any."""
    counts: Counter[str] = Counter()
    for score in results:
        counts.update(score.splits)
    if not counts:
        return None
    standard = SPLITS.get(root(task), "test")
    if standard in counts:
        return standard
    return min(counts, key=lambda split: (-counts[split], split))


def _choose_subsets(split: str, results: Sequence[Score]) -> set[str]:
    """Return the English subset where there is one, else those that all results on the split have."""
    offers = list(filter(None, (score.subsets(split) for score in results)))
    present = set().union(*offers)
    for name in ENGLISH:
        if name in present:
            return {name}
    return set.intersection(*offers)


def _fill_system(table: Table, task: str, system: System, measure: str | None, left_out: list[str]) -> None:
    """Enter one system's scores on a task, and the files that they are from; a main score that is another measure stays out."""
    cells = table.cells[task]
    values = np.full(len(system.runs), np.nan)
    files: list[Score | None] = []
    for number, run in enumerate(system.runs):
        score = run.scores.get(task)
        if score is None:
            files.append(None)
            table.failed[system.name, task] += task in run.failed
        elif not cells <= set(score.entries):
            files.append(None)
            left_out.append(f"{system.name} on {task} ({_other_cells(score, cells)})")
        elif other_measure(score, cells, measure):
            files.append(None)
            left_out.append(f"{system.name} on {task} ({other_measure(score, cells, measure)})")
        else:
            files.append(score)
            value = np.mean(list(map(score.entries.__getitem__, cells)))
            if np.isnan(value):
                table.failed[system.name, task] += 1
                left_out.append(f"{system.name} on {task} (the score is not a number: {score.file})")
            elif abs(value) > 1:
                left_out.append(f"{system.name} on {task} ({_no_fraction(float(value))}: {score.file})")
            else:
                values[number] = value
    if np.isfinite(values).any():
        table.scores[system.name, task] = values
    table.files[system.name, task] = files


def _other_cells(score: Score, cells: set[tuple[str, str]]) -> str:
    """Say that a result has other splits or subsets than those that are compared."""
    if not score.entries:
        return f"no scores in {score.file}"
    splits, subsets = zip(*sorted(cells), strict=True)  # all of one split
    return f"has {', '.join(sorted(score.splits))}; compared is {splits[0]}, {', '.join(subsets)}"


def _no_fraction(value: float) -> str:
    hint = ""
    if 1 < value <= 100:
        hint = PER_CENT
    return f"the score is {value:g}, no fraction{hint}"


def _shortened(reasons: Sequence[str]) -> str:
    shown = "; ".join(reasons[:MOST_REASONS])
    if len(reasons) > MOST_REASONS:
        shown += f"; and {len(reasons) - MOST_REASONS} more"
    return shown
