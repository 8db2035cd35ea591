"""One version of each task: `X`, `X.v2` or `XHardNegatives`, the same kind for all tasks of a category where possible."""

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
    have = Counter(task for system in systems for task in system.tasks)
    pairs = {task: count * (count - 1) // 2 for task, count in have.items()}
    versions: dict[str, list[str]] = {}
    for task in every:
        versions.setdefault(root(task), []).append(task)
    several: dict[str, list[list[str]]] = {}
    for names in versions.values():
        if len(names) > 1:
            several.setdefault(category_of(names[0]), []).append(names)
    dropped: set[str] = set()
    for category, choices in several.items():
        offered = [task for names in choices for task in names]
        of_category = [task for task in every if category_of(task) == category]

        def worth(kind: str, offered: list[str] = offered, of_category: list[str] = of_category) -> tuple[object, ...]:
            mine = [task for task in offered if _kind(task) == kind]
            tasks = sum(_kind(task) == kind for task in of_category)
            return sum(pairs[task] for task in mine), tasks, sum(have[task] for task in mine), _number(kind), kind

        order = sorted({_kind(task) for task in offered}, key=worth, reverse=True)
        kept = [min(names, key=lambda task: (not pairs[task], order.index(_kind(task)))) for names in choices]
        dropped |= set(offered) - set(kept)
        only = [task for task in of_category if task not in offered and _kind(task) != order[0]]
        notes.append(_told(category, kept, [task for task in offered if task not in kept], only, have))
    return [task for task in every if task not in dropped]


def _kind(task: str) -> str:
    return task[len(root(task)) :]


def _number(kind: str) -> int:
    match = re.search(r"\.v(\d+)$", kind)
    return int(match[1]) if match else 1


def _told(category: str, kept: Sequence[str], dropped: Sequence[str], only: Sequence[str], have: Counter[str]) -> str:
    """Say what was chosen, with how many systems have it."""

    def counted(tasks: Sequence[str]) -> str:
        return ", ".join(f"{task} ({have[task]})" for task in tasks)

    beside = f"; beside them, in the only version there is: {', '.join(only)}" if only else ""
    return (
        f"{category}: of tasks with several versions one kind is compared, the one that the most pairs of systems have "
        f"(--tasks chooses others; in brackets how many systems have it): {counted(kept)}; left out: {counted(dropped)}{beside}"
    )
