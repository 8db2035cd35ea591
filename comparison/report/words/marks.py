"""Marks beside numbers: a mark may stand only beside the number that it speaks of.

A star speaks of the mean over families, `o` of the mean over the tasks with scores item by item; neither need have the
sign of the mean over tasks.
"""

from __future__ import annotations

from comparison.claims.outcome import Contrast


def number_of(one: Contrast) -> float:
    """Return what a comparison's mark speaks of; without a mark what a star would speak of, if one could be had."""
    if one.mark == "o" and one.these_tasks:
        return one.these_tasks.mean
    return one.by_family.mean if one.other_tasks.decidable else one.by_task.mean


def beside_all_tasks(one: Contrast) -> str:
    """Return the mark that may stand in a table of all tasks: `o` only if it is over all of them, and of the same sign."""
    these = one.these_tasks
    if one.mark != "o" or these is None:
        return one.mark
    return "o" if len(these.tasks) == one.by_task.units and these.mean * one.by_task.mean > 0 else ""


def mark_text(one: Contrast) -> str:
    """Return the mark with all that belongs to it, such as ``o checkpoint, 1 of 8 tasks``; empty without a mark."""
    if not one.mark:
        return ""
    these, units = one.these_tasks, one.by_task.units
    part = f", {len(these.tasks)} of {units} tasks" if one.mark == "o" and these and len(these.tasks) < units else ""
    failed = ", only in what did not fail" if one.starred and not one.carried else ""
    return f"{one.mark}{' checkpoint' if one.checkpoint else ''}{part}{failed}"
