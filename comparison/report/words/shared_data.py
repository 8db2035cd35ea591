"""Words on how far compared results are of the same tasks, data and items: shares that stand beside a claim."""

from __future__ import annotations

from collections.abc import Sequence

from comparison.claims.outcome import Contrast
from comparison.report.words.marks import holds_on_these_tasks


def data_limits(contrasts: Sequence[Contrast]) -> str:
    """Return the worst of what some comparisons rest on: ``, on 7 of 10 tasks, 3 of 7 on different revisions of the data``.

    Empty where all are of all tasks, and no results state different revisions.
    """
    parts = []
    known = [contrast for contrast in contrasts if contrast.data is not None]
    shares = [(contrast.by_task.units, contrast.data.of) for contrast in known if contrast.data is not None]
    fewest = min(shares, default=(0, 0))
    if fewest[0] < fewest[1]:
        parts.append(f", on {fewest[0]} of {fewest[1]} tasks")
    worst = max(map(_revisions, known), default=(0, 0))
    if worst[0]:
        parts.append(f", {worst[0]} of {worst[1]} on different revisions of the data")
    return "".join(parts)


def _revisions(contrast: Contrast) -> tuple[int, int]:
    """Return how many of a comparison's tasks are of different revisions, and of how many."""
    if contrast.data is None:
        return 0, contrast.by_task.units
    return len(contrast.data.unlike_revisions), contrast.by_task.units


def item_limits(contrast: Contrast) -> str:
    """Return on how many tasks both systems' items are not the same, beside a claim on these tasks; empty where on none."""
    if contrast.data is None or not contrast.data.unlike_items or not holds_on_these_tasks(contrast):
        return ""
    return f", items of {len(contrast.data.unlike_items)} of {contrast.by_task.units} tasks are not the same"
