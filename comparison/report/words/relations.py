"""Words on tasks whose relations are unknown: why nothing is claimed, and what the worst grouping would say."""

from __future__ import annotations

from collections.abc import Iterable

from comparison.claims.outcome import ALPHA, FEWEST_FAMILIES, Category, Contrast, OtherTasks
from comparison.report.words.names import called, listed
from comparison.report.words.wording import chance, count, families, points

NAMED = 3  # tasks in a sentence
WHAT_TO_DO = "name them in a file for --families, or declare with --unrelated that none is related to another task"


def unknown_tasks(contrasts: Iterable[Contrast]) -> list[str]:
    """Return the tasks of unknown relation of some comparisons."""
    tasks: dict[str, None] = {}
    for contrast in contrasts:
        tasks |= dict.fromkeys(contrast.other_tasks.unknown)
    return list(tasks)


def some_tasks(tasks: list[str]) -> str:
    """Return the first tasks of a list, and how many more there are."""
    if len(tasks) <= NAMED:
        return listed(tasks)
    return f"{', '.join(map(called, tasks[:NAMED]))} and {len(tasks) - NAMED} more"


def worst_text(other: OtherTasks) -> str:
    """Return the answer under the worst grouping, all tasks of unknown relation one family; empty where all are known."""
    worst = other.worst
    if worst is None:
        return ""
    if worst.families < FEWEST_FAMILIES:
        return f"as one family they leave {families(worst.families)}, too few"
    return f"as one family: {families(worst.families)}, mean {points(worst.mean)}, p {chance(worst.p)}"


def unknown_sentence(contrasts: Iterable[Contrast]) -> str:
    """Say of which tasks nobody knows the relations, what the worst grouping gives, and what to do."""
    withheld = [contrast for contrast in contrasts if contrast.other_tasks.unknown]
    tasks = unknown_tasks(withheld)
    worst = [contrast.other_tasks.worst for contrast in withheld if contrast.other_tasks.worst is not None]
    fewest = min(grouping.families for grouping in worst)
    answer = f"Were they one family, {families(fewest)} would be left, too few to decide"
    if fewest >= FEWEST_FAMILIES:
        starred = sum(grouping.p <= ALPHA for grouping in worst)
        answer = f"Were they one family, {starred} of {count(len(worst), 'comparison', 'comparisons')} would have p ≤ .05"
    number = count(len(tasks), "task", "tasks")
    return f"the relations of {number} to others are unknown ({some_tasks(tasks)}). {answer}. To decide, {WHAT_TO_DO}."


def nothing_claimed(category: Category) -> str:
    """Say why nothing can be claimed of a category."""
    if unknown_tasks(category.contrasts):
        return f"Nothing can be claimed: {unknown_sentence(category.contrasts)}"
    return "Nothing can be claimed: too few families, and no scores item by item."
