"""Over which kinds of tasks a mean over kinds is: never called all of them where one is left out."""

from __future__ import annotations

from comparison.claims.outcome import Comparison
from comparison.report.words.names import listed
from comparison.report.words.wording import when


def every_kind(comparison: Comparison) -> list[str]:
    """Return the kinds of tasks that have scores, also those in which a system failed so that nothing was compared."""
    return [*(category.name for category in comparison.categories), *comparison.not_compared]


def kinds_left_out(comparison: Comparison) -> list[str]:
    """Return the kinds of tasks that stand in no mean over kinds."""
    used = _used(comparison)
    return [name for name in every_kind(comparison) if name not in used]


def kinds_in_mean(comparison: Comparison) -> str:
    """Return over what the means over kinds are: ``all kinds of task``, or ``2 of 3 kinds of task (without Summarization)``.

    Where some comparisons have fewer of these kinds, that is said too.
    """
    without, used = kinds_left_out(comparison), _used(comparison)
    fewer = when(any(len(entry.categories) < len(used) for entry in comparison.overall), "some comparisons on fewer")
    if not without:
        return f"all kinds of task{when(fewer, f' ({fewer})')}"
    every = len(every_kind(comparison))
    limits = f"without {listed(without)}{when(fewer, f'; {fewer}')}"
    return f"{every - len(without)} of {every} kinds of task ({limits})"


def _used(comparison: Comparison) -> set[str]:
    used: set[str] = set()
    for entry in comparison.overall:
        used.update(entry.categories)
    return used
