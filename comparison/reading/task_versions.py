"""Keep one version of each task: `X`, `X.v2` or `XHardNegatives`, the same kind for all tasks of a category where possible."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain

from comparison.reading.families import root
from comparison.reading.systems import System


def one_version(categories: Mapping[str, str], systems: Sequence[System], notes: list[str]) -> list[str]:
    """Keep one version of each task.

    Scores of two versions do not mix well: they are other data, and often of other checkpoints. So a category's tasks are
    compared in one kind of version: the one that the most pairs of systems have, counted over its tasks with several
    versions; of equals the one that has more tasks of the category, then more scores, then the newest. A task that no
    two systems have in that version takes the next one.

    Args:
        categories: task -> its category, of all tasks.
        systems: with their scores.
        notes: gets a sentence for each category with a choice.
    """
    owners: Counter[str] = Counter()  # task -> number of systems that have it
    for system in systems:
        owners.update(system.tasks)
    remaining = list(categories)
    for category, choices in _choices(categories).items():
        of_category = [task for task, other in categories.items() if other == category]
        offered = list(chain.from_iterable(choices))
        order = _kinds_by_worth(offered, of_category, owners)

        def preference(task: str, order: Sequence[str] = order) -> tuple[bool, int]:
            return owners[task] < 2, order.index(_kind(task))

        chosen = [min(versions, key=preference) for versions in choices]
        left_out = [task for task in offered if task not in chosen]
        only = [task for task in of_category if task not in offered and _kind(task) != order[0]]
        for task in left_out:
            remaining.remove(task)
        notes.append(_note(category, chosen, left_out, only, owners))
    return remaining


def _choices(categories: Mapping[str, str]) -> dict[str, list[list[str]]]:
    """Return, by category, the versions of each task that has several."""
    versions: dict[str, list[str]] = {}
    for task in categories:
        versions.setdefault(root(task), []).append(task)
    choices: dict[str, list[list[str]]] = {}
    for names in versions.values():
        if len(names) > 1:
            choices.setdefault(categories[names[0]], []).append(names)
    return choices


def _kinds_by_worth(offered: Sequence[str], of_category: Sequence[str], owners: Counter[str]) -> list[str]:
    """Return the kinds of version among `offered`, best first.

    Args:
        offered: tasks of a category with several versions.
        of_category: all tasks of the category.
        owners: task -> number of systems that have it.
    """
    kinds_of_category = Counter(map(_kind, of_category))
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
