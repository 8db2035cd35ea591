"""Choose the scores that are compared: one split and the same subsets for everybody, one version of a task.

What is left out is noted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np

from comparison.errors import ComparisonError, nearest
from comparison.reading.families import Families, root
from comparison.reading.printable import one_line, printable
from comparison.reading.systems import Reading, Score, System
from comparison.reading.task_versions import one_version

SPLITS = {"MSMARCO": "dev"}  # mteb scores it there; every other task that has a test split on that
PER_CENT = "; if it is in per cent, divide by 100"
MOST_REASONS = 3
ENGLISH = ("default", "en", "en-en", "eng")  # the subset compared, in this order, where a task has several


@dataclass
class Table:
    """Scores that are compared.

    Attributes:
        systems: names.
        runs: number of runs of each system.
        categories: category -> tasks, both in a stable order.
        scores: (system, task) -> one score a run, ``(runs,)``, NaN where the run has none; absent where no run has any.
        failed: (system, task) -> number of its runs that failed on it.
        cells: task -> the (split, subset) cells that are compared.
        files: (system, task) -> the result file of each run; None where it has none.
        notes: sentences on what was left out, and on what a reader should know.
    """

    systems: tuple[str, ...]
    runs: dict[str, int]
    notes: list[str]
    categories: dict[str, list[str]] = field(default_factory=dict)
    scores: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)
    failed: Counter[tuple[str, str]] = field(default_factory=Counter)
    cells: dict[str, set[tuple[str, str]]] = field(default_factory=dict)
    files: dict[tuple[str, str], list[Score | None]] = field(default_factory=dict)

    @property
    def tasks(self) -> list[str]:
        """Tasks of all categories."""
        return list(chain.from_iterable(self.categories.values()))

    def results(self, task: str, systems: Sequence[str] | None = None) -> list[Score]:
        """Return the compared results on a task, of these systems or of all."""
        results: list[Score] = []
        for system in systems or self.systems:
            results += filter(None, self.files[system, task])
        return results

    def same_revision(self, a: str, b: str, task: str) -> bool:
        """Return whether two systems' results on a task state no different revisions of its data."""
        return len(_revisions(self.results(task, (a, b)))) < 2


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
    every = _tasks(reading.systems)
    categories = {task: families.category_of(task) or _shown_category(task, reading) for task in every}
    if tasks is None:
        chosen = one_version(every, reading.systems, categories.__getitem__, notes)
    else:
        chosen = _named(every, [one_line(task) for task in tasks])
    runs = {system.name: len(system.runs) for system in reading.systems}
    table = Table(tuple(system.name for system in reading.systems), runs, notes)
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
    unknown = [task for task in compared if not families.knows(task)]
    if unknown:
        notes.append(
            f"in no map of families, so each counts as related to no other: {', '.join(unknown)}; "
            "if some share texts, name them in a file for --families"
        )
    notes += origins(table)
    table.notes = [printable(note) for note in notes]
    return table


def _tasks(systems: Sequence[System]) -> list[str]:
    """Return the tasks of all systems, in the order in which they occur."""
    tasks: dict[str, None] = {}
    for system in systems:
        tasks |= dict.fromkeys(system.tasks)
    return list(tasks)


def _by_category(tasks: Sequence[str], categories: Mapping[str, str], families: Families) -> dict[str, list[str]]:
    """Return tasks by category; categories in the order of `families.yaml`, others after them."""
    groups: dict[str, list[str]] = {}
    for category in dict.fromkeys(families.category.values()):
        groups[category] = []
    for task in tasks:
        groups.setdefault(categories[task], []).append(task)
    return {category: members for category, members in groups.items() if members}


def _named(every: Sequence[str], tasks: Sequence[str]) -> list[str]:
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
    table.cells[task] = {(split, subset) for subset in subsets}
    for system in systems:
        _fill_system(table, task, system, left_out)


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
    offers = [score.subsets(split) for score in results if score.subsets(split)]
    present = set().union(*offers)
    for name in ENGLISH:
        if name in present:
            return {name}
    return set.intersection(*offers)


def _fill_system(table: Table, task: str, system: System, left_out: list[str]) -> None:
    """Enter one system's scores on a task, and the files that they are from."""
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
        else:
            files.append(score)
            value = np.mean([score.entries[cell] for cell in cells])
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
    splits = {split for split, _ in cells}
    subsets = sorted(subset for _, subset in cells)
    return f"has {', '.join(sorted(score.splits))}; compared is {', '.join(splits)}, {', '.join(subsets)}"


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


def _shown_category(task: str, reading: Reading) -> str:
    """Return the category that a task's first score shows."""
    for system in reading.systems:
        for score in system.results(task):
            return score.category
    raise KeyError(task)


def _revisions(results: Iterable[Score]) -> set[str]:
    """Return the stated revisions of the data."""
    return {score.dataset_revision for score in results if score.dataset_revision is not None}


def origins(table: Table) -> list[str]:
    """Return sentences on what the results do not have in common: failures, splits, subsets, revisions, versions."""
    by_task = {task: table.results(task) for task in table.tasks}
    used = list(chain.from_iterable(by_task.values()))
    notes = {
        "failed, with the number of runs": _failures(table),
        "splits in the files that are not compared": _other_splits(table, used),
        "tasks with several subsets, of which these are compared": _chosen_subsets(table, by_task),
        "results state different revisions of the data (--same_revision leaves such pairs out)": _unlike_revisions(by_task),
        "scores of one system are partly its own revision's and partly those that its authors reported (external), so that "
        "a difference may be one of revisions": _mixed_revisions(table),
        "results that do not state the revision of their data": _share(
            sum(score.dataset_revision is None for score in used), len(used)
        ),
        "results are of different versions of mteb": _unlike_versions(used),
        "results as the models' authors reported them (revision external), not audited": _share(
            sum(score.external for score in used), len(used)
        ),
    }
    return [f"{title}: {', '.join(items)}" for title, items in notes.items() if items]


def _share(count: int, total: int) -> list[str]:
    if not count:
        return []
    return [f"{count} of {total}"]


def _failures(table: Table) -> list[str]:
    return [f"{system} on {task} ({count})" for (system, task), count in table.failed.items() if count]


def _other_splits(table: Table, results: Sequence[Score]) -> list[str]:
    compared, present = set[str](), set[str]()
    for cells in table.cells.values():
        compared |= {split for split, _ in cells}
    for score in results:
        present |= score.splits
    return sorted(present - compared)


def _chosen_subsets(table: Table, by_task: Mapping[str, Sequence[Score]]) -> list[str]:
    items = []
    for task, results in by_task.items():
        present = set[str]()
        for score in results:
            present |= {subset for _, subset in score.entries}
        if len(present) > 1:
            chosen = sorted(subset for _, subset in table.cells[task])
            items.append(f"{task} ({', '.join(chosen)})")
    return items


def _unlike_revisions(by_task: Mapping[str, Sequence[Score]]) -> list[str]:
    items = []
    for task, results in by_task.items():
        count = len(_revisions(results))
        if count > 1:
            items.append(f"{task} ({count})")
    return items


def _unlike_versions(results: Sequence[Score]) -> list[str]:
    versions = sorted({score.mteb_version or "not stated" for score in results})
    if len(versions) < 2:
        return []
    return versions


def _mixed_revisions(table: Table) -> list[str]:
    """Return which systems mix, within a category, scores of their own revision with those that their authors reported."""
    items = []
    for category, tasks in table.categories.items():
        for system in table.systems:
            results: list[Score] = []
            for task in tasks:
                results += table.results(task, [system])
            external = sum(score.external for score in results)
            if 0 < external < len(results):
                items.append(f"{system} in {category} ({external} of {len(results)} external)")
    return items
