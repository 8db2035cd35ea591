"""Keep one version of each task: `X`, `X.v2` or `XHardNegatives`, the same kind for all tasks of a category where possible."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

from comparison.reading.families import root
from comparison.reading.systems import System


def one_version(
    every: Sequence[str], systems: Sequence[System], category_of: Callable[[str], str], notes: list[str]
) -> list[str]:
    """Keep one version of each task.

    Scores of two versions do not mix well: they are other data, and often of other checkpoints. So a category's tasks are
    compared in one kind of version: the one that the most pairs of systems have, counted over its tasks with several
    versions; of equals the one that has more tasks of the category, then more scores, then the newest. A task that no
    two systems have in that version takes the next one.

    Args:
        every: names of tasks.
        systems: with their scores.
        category_of: returns a task's category.
        notes: gets a sentence for each category with a choice.
    """
    owners: Counter[str] = Counter()  # task -> number of systems that have it
    for system in systems:
        owners.update(system.tasks)
    dropped: set[str] = set()
    for category, choices in _choices(every, category_of).items():
        of_category = [task for task in every if category_of(task) == category]
        offered: list[str] = []
        for versions in choices:
            offered += versions
        order = _kinds_by_worth(offered, of_category, owners)
        chosen = []
        for versions in choices:
            ranks = [(owners[task] < 2, order.index(_kind(task))) for task in versions]
            chosen.append(versions[ranks.index(min(ranks))])
        left_out = [task for task in offered if task not in chosen]
        only = [task for task in of_category if task not in offered and _kind(task) != order[0]]
        dropped.update(left_out)
        notes.append(_note(category, chosen, left_out, only, owners))
    return [task for task in every if task not in dropped]


def _choices(every: Sequence[str], category_of: Callable[[str], str]) -> dict[str, list[list[str]]]:
    """Return, by category, the versions of each task that has several."""
    versions: dict[str, list[str]] = {}
    for task in every:
        versions.setdefault(root(task), []).append(task)
    choices: dict[str, list[list[str]]] = {}
    for names in versions.values():
        if len(names) > 1:
            choices.setdefault(category_of(names[0]), []).append(names)
    return choices


def _kinds_by_worth(offered: Sequence[str], of_category: Sequence[str], owners: Counter[str]) -> list[str]:
    """Return the kinds of version among `offered`, best first.

    Args:
        offered: tasks of a category with several versions.
        of_category: all tasks of the category.
        owners: task -> number of systems that have it.
    """
    kinds_of_category = Counter(_kind(task) for task in of_category)
    pairs: Counter[str] = Counter()  # kind -> pairs of systems that have a task in it, over tasks
    scores: Counter[str] = Counter()
    for task in offered:
        count = owners[task]
        pairs[_kind(task)] += count * (count - 1) // 2
        scores[_kind(task)] += count

    def worth(kind: str) -> tuple[object, ...]:
        return pairs[kind], kinds_of_category[kind], scores[kind], _number(kind), kind

    return sorted(pairs, key=worth, reverse=True)


def _kind(task: str) -> str:
    return task[len(root(task)) :]


def _number(kind: str) -> int:
    match = re.search(r"\.v(\d+)$", kind)
    if match is None:
        return 1
    return int(match[1])


def _note(category: str, chosen: Sequence[str], dropped: Sequence[str], only: Sequence[str], owners: Counter[str]) -> str:
    """Return the sentence on a choice, with the number of systems that have each task."""
    beside = ""
    if only:
        beside = f"; beside them, in the only version there is: {', '.join(only)}"
    return (
        f"{category}: of tasks with several versions one kind is compared, the one that the most pairs of systems have "
        f"(--tasks chooses others; in brackets how many systems have it): {_with_owners(chosen, owners)}; "
        f"left out: {_with_owners(dropped, owners)}{beside}"
    )


def _with_owners(tasks: Sequence[str], owners: Counter[str]) -> str:
    return ", ".join(f"{task} ({owners[task]})" for task in tasks)
