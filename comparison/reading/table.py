"""Which scores are compared: one split and the same subsets for everybody, one version of a task, and what is left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from comparison.errors import ComparisonError, nearest
from comparison.reading.families import Families, root
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
        runs: how many runs each system has.
        categories: category -> tasks, both in a stable order.
        scores: (system, task) -> one score a run, ``(runs,)``, NaN where the run has none; absent where no run has any.
        failed: (system, task) -> how many of its runs failed on it.
        cells: task -> the (split, subset) cells that are compared.
        files: (system, task) -> the result file of each run; None where it has none.
        notes: what was left out, or needs saying.
    """

    systems: tuple[str, ...]
    runs: dict[str, int]
    notes: list[str]
    categories: dict[str, list[str]] = field(default_factory=dict)
    scores: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)
    failed: Counter[tuple[str, str]] = field(default_factory=Counter)
    cells: dict[str, set[tuple[str, str]]] = field(default_factory=dict)
    files: dict[tuple[str, str], list[Score | None]] = field(default_factory=dict)

    def same_revision(self, one: str, other: str, task: str) -> bool:
        """Return whether two systems' results on a task state no different revisions of its data."""
        files = [*self.files[one, task], *self.files[other, task]]
        return len({score.dataset_revision for score in files if score is not None} - {None}) < 2


def select(reading: Reading, families: Families, tasks: Sequence[str] | None = None) -> Table:
    """Choose what is compared of what was read.

    Args:
        reading: systems and their scores.
        families: the map of tasks.
        tasks: only these; None for all.

    Raises:
        ComparisonError: a task is named that nobody has, or nothing is left.
    """
    notes = list(reading.notes)
    every = list(dict.fromkeys(task for system in reading.systems for task in system.tasks))
    categories = {task: families.category_of(task) or _guessed(task, reading) for task in every}
    chosen = _named(every, tasks) if tasks is not None else one_version(every, reading.systems, categories.__getitem__, notes)
    table = Table(tuple(one.name for one in reading.systems), {one.name: len(one.runs) for one in reading.systems}, notes)
    left_out: list[str] = []
    for task in chosen:
        _fill(table, task, reading.systems, left_out)
    if left_out:
        notes.append(f"scores left out: {'; '.join(left_out)}")
    kept = [task for task in chosen if any((system, task) in table.scores for system in table.systems)]
    if not kept:
        raise ComparisonError(f"no task is left to compare; scores left out: {_shortened(left_out)}")
    for task in kept:
        table.categories.setdefault(categories[task], []).append(task)
    order = list(dict.fromkeys(families.category.values()))  # as in families.yaml, others after them
    table.categories = dict(sorted(table.categories.items(), key=lambda one: [*order, one[0]].index(one[0])))
    if unknown := [task for task in kept if not families.knows(task)]:
        notes.append(
            f"in no map of families, so each counts as related to no other: {', '.join(unknown)}; "
            "if some share texts, name them in a file for --families"
        )
    notes += origins(table)
    return table


def _named(every: Sequence[str], tasks: Sequence[str]) -> list[str]:
    for task in tasks:
        if task not in every:
            raise ComparisonError(f"no result has the task {task!r}{nearest(task, every)}")
    return list(dict.fromkeys(tasks))


def _fill(table: Table, task: str, systems: Sequence[System], left_out: list[str]) -> None:
    """Enter one task: choose split and subsets over all systems, then take everybody's mean over them."""
    everybody = [score for system in systems for run in system.runs if (score := run.scores.get(task)) is not None]
    splits = Counter(split for score in everybody for split in {split for split, _ in score.entries})
    wanted = SPLITS.get(root(task), "test")
    if not splits:
        left_out.append(f"{task} (no scores in its files)")
        return
    split = wanted if wanted in splits else min(splits, key=lambda name: (-splits[name], name))
    offered = [{subset for at, subset in score.entries if at == split} for score in everybody]
    offered = [subsets for subsets in offered if subsets]
    present = set().union(*offered)
    english = next((name for name in ENGLISH if name in present), None)
    subsets = {english} if english is not None else set.intersection(*offered)
    if not subsets:
        left_out.append(f"{task} (no subset that all systems have)")
        return
    cells = {(split, subset) for subset in subsets}
    table.cells[task] = cells
    for system in systems:
        values, files = np.full(len(system.runs), np.nan), []
        for number, run in enumerate(system.runs):
            score = run.scores.get(task)
            files.append(score if score is not None and cells <= set(score.entries) else None)
            if score is None:
                table.failed[system.name, task] += task in run.failed
            elif not cells <= set(score.entries):
                found = ", ".join(sorted({at for at, _ in score.entries}))
                left_out.append(f"{system.name} on {task} (has {found}; compared is {split}, {', '.join(sorted(subsets))})")
            else:
                values[number] = np.mean([score.entries[cell] for cell in cells])
                if abs(values[number]) > 1:
                    found = f"the score is {values[number]:g}, no fraction{PER_CENT if 1 < values[number] <= 100 else ''}"
                    left_out.append(f"{system.name} on {task} ({found}: {score.file})")
                    values[number] = np.nan
                elif np.isnan(values[number]):
                    table.failed[system.name, task] += 1
                    left_out.append(f"{system.name} on {task} (the score is not a number: {score.file})")
        if np.isfinite(values).any():
            table.scores[system.name, task] = values
        table.files[system.name, task] = files


def _shortened(reasons: Sequence[str]) -> str:
    more = f"; and {len(reasons) - MOST_REASONS} more" if len(reasons) > MOST_REASONS else ""
    return "; ".join(reasons[:MOST_REASONS]) + more


def _guessed(task: str, reading: Reading) -> str:
    """Return the category that a task's first score shows."""
    return next(score.category for system in reading.systems for run in system.runs if (score := run.scores.get(task)))


def origins(table: Table) -> list[str]:
    """Return sentences on what the results do not have in common: failures, splits, subsets, revisions, versions."""
    tasks = [task for of_category in table.categories.values() for task in of_category]
    by_task = {
        task: [score for system in table.systems for score in table.files[system, task] if score is not None] for task in tasks
    }
    used = [score for scores in by_task.values() for score in scores]
    compared = {split for cells in table.cells.values() for split, _ in cells}
    several = {task: len({sub for score in scores for _, sub in score.entries}) > 1 for task, scores in by_task.items()}
    stated = {task: {score.dataset_revision for score in scores} - {None} for task, scores in by_task.items()}
    external = sum(score.external for score in used)
    silent = sum(score.dataset_revision is None for score in used)
    mixed = _mixed_revisions(table)
    versions = sorted({score.mteb_version or "not stated" for score in used})
    found = {
        "failed, with the number of runs": [f"{name} on {task} ({n})" for (name, task), n in table.failed.items() if n],
        "splits in the files that are not compared": sorted({at for score in used for at, _ in score.entries} - compared),
        "tasks with several subsets, of which these are compared": [
            f"{task} ({', '.join(sorted(subset for _, subset in table.cells[task]))})" for task in tasks if several[task]
        ],
        "results state different revisions of the data (--same_revision leaves such pairs out)": [
            f"{task} ({len(revisions)})" for task, revisions in stated.items() if len(revisions) > 1
        ],
        "scores of one system are partly its own revision's and partly those that its authors reported (external), so that "
        "a difference may be one of revisions": mixed,
        "results that do not state the revision of their data": [f"{silent} of {len(used)}"] if silent else [],
        "results are of different versions of mteb": versions if len(versions) > 1 else [],
        "results as the models' authors reported them (revision external), not audited": (
            [f"{external} of {len(used)}"] if external else []
        ),
    }
    return [f"{what}: {', '.join(which)}" for what, which in found.items() if which]


def _mixed_revisions(table: Table) -> list[str]:
    """Return which systems mix, within a category, scores of their own revision with those that their authors reported."""
    found = []
    for category, tasks in table.categories.items():
        for system in table.systems:
            scores = [score for task in tasks for score in table.files[system, task] if score is not None]
            external = sum(score.external for score in scores)
            if 0 < external < len(scores):
                found.append(f"{system} in {category} ({external} of {len(scores)} external)")
    return found
