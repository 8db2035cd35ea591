"""Over which kinds of tasks a mean over kinds is: never called all of them where one is left out."""

from __future__ import annotations

from comparison.claims.outcome import Comparison
from comparison.report.words.names import listed


def kinds_left_out(comparison: Comparison) -> list[str]:
    """Return the kinds of tasks that were compared and stand in no mean over kinds."""
    used: set[str] = set()
    for entry in comparison.overall:
        used.update(entry.categories)
    return [category.name for category in comparison.categories if category.name not in used]


def kinds_in_mean(comparison: Comparison) -> str:
    """Return over what the means over kinds are: ``all kinds of task``, or ``2 of 3 kinds of task (without Summarization)``."""
    without = kinds_left_out(comparison)
    if not without:
        return "all kinds of task"
    every = len(comparison.categories)
    return f"{every - len(without)} of {every} kinds of task (without {listed(without)})"
