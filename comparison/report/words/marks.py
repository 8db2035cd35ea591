"""Marks beside numbers: a mark may stand only beside the number that it speaks of.

A star speaks of the mean over families, `o` of the mean over the tasks with scores item by item; neither need have the
sign of the mean over tasks.
"""

from __future__ import annotations

from collections.abc import Iterable

from comparison.claims.item_evidence import OTHER_MEASURE
from comparison.claims.outcome import ALPHA, Category, Contrast


def number_of(contrast: Contrast) -> float:
    """Return what a comparison's mark speaks of; without a mark what a star would speak of, if one could be had."""
    if contrast.mark == "o" and contrast.these_tasks:
        return contrast.these_tasks.mean
    if contrast.other_tasks.decidable:
        return contrast.by_family.mean
    return contrast.by_task.mean


def beside_all_tasks(contrast: Contrast) -> str:
    """Return the mark that may stand in a table of all tasks: `o` only if it is over all of them, and of the same sign."""
    these = contrast.these_tasks
    if contrast.mark != "o" or these is None:
        return contrast.mark
    complete = len(these.tasks) == contrast.by_task.units
    if complete and these.mean * contrast.by_task.mean > 0:
        return "o"
    return ""


def beside_task(contrast: Contrast, task: str) -> str:
    """Return the mark that may stand beside the difference on one task: `o` only if it speaks of the same measure and sign."""
    these = contrast.these_tasks
    if these is None or these.p_tasks.get(task, 1.0) > ALPHA:
        return ""
    difference, tested = contrast.differences[task], these.tasks[task].difference
    if abs(tested - difference) > OTHER_MEASURE or tested * difference <= 0:
        return ""
    return "o"


def mark_text(contrast: Contrast) -> str:
    """Return the mark with all that belongs to it, such as ``o checkpoint, 1 of 8 tasks``; empty without a mark."""
    if not contrast.mark:
        return ""
    text = contrast.mark
    if contrast.checkpoint:
        text += " checkpoint"
    these, units = contrast.these_tasks, contrast.by_task.units
    if contrast.mark == "o" and these and len(these.tasks) < units:
        text += f", {len(these.tasks)} of {units} tasks"
    if fragile(contrast):
        text += f", only {scored_part(contrast)}"
    return text


def scored_part(contrast: Contrast) -> str:
    """Return of what a comparison speaks in which runs failed or tasks are absent."""
    if contrast.sensitivity is not None and contrast.sensitivity.failed:
        return "in what did not fail"
    return "on the tasks that both have"


def winner(contrast: Contrast) -> str:
    """Return the better of two, by the mean over families."""
    return better_and_worse(contrast)[0]


def loser(contrast: Contrast) -> str:
    """Return the worse of two, by the mean over families."""
    return better_and_worse(contrast)[1]


def better_and_worse(contrast: Contrast, mean: float | None = None) -> tuple[str, str]:
    """Return both systems, the better one first: by a mean difference a - b, or without one by the mean over families."""
    if mean is None:
        mean = contrast.by_family.mean
    if mean > 0:
        return contrast.a, contrast.b
    return contrast.b, contrast.a


def solid(contrast: Contrast) -> bool:
    """Return whether a comparison has a star that also stands with failed runs counted as losses."""
    return contrast.starred and contrast.carried


def fragile(contrast: Contrast) -> bool:
    """Return whether a comparison has a star that does not stand with failed runs counted as losses."""
    return contrast.starred and not contrast.carried


def holds_on_these_tasks(contrast: Contrast) -> bool:
    """Return whether claim A is made."""
    return contrast.these_tasks is not None and contrast.these_tasks.p_adjusted <= ALPHA


def any_decidable(contrasts: Iterable[Contrast]) -> bool:
    """Return whether a claim on other tasks could be made of any comparison."""
    return any(contrast.other_tasks.decidable for contrast in contrasts)


def any_checkpoint(contrasts: Iterable[Contrast]) -> bool:
    """Return whether any comparison speaks of two trained files only."""
    return any(contrast.checkpoint for contrast in contrasts)


def failed_everywhere(category: Category) -> list[str]:
    """Return the systems that have no score in a category because they failed."""
    return [system for system, failure in category.failures.items() if failure.everywhere]
