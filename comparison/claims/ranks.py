"""Ranks that the data allow, where all pairs are compared, and the systems that cannot be told from the first.

A system's best rank is 1 + the number of systems that are shown to be better, its worst rank the number of systems less those
that are shown to be worse. All comparisons are corrected together, so all of these intervals hold together as often as no
comparison is wrong: 95 % (Mogstad, Romano, Shaikh and Wilhelm 2024, Inference for ranks).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Ranks = dict[str, tuple[int, int]]  # system -> best and worst rank


def rank_intervals(systems: Sequence[str], beats: Iterable[tuple[str, str]]) -> Ranks:
    """Return the ranks that each system may have.

    Args:
        systems: that were compared, each with each.
        beats: pairs of which the first is shown to be better than the second.

    >>> rank_intervals(["a", "b", "c"], [("a", "c")])
    {'a': (1, 2), 'b': (1, 3), 'c': (2, 3)}
    """
    above, below = dict.fromkeys(systems, 0), dict.fromkeys(systems, 0)
    for better, worse in beats:
        below[better] += 1
        above[worse] += 1
    return {system: (1 + above[system], len(systems) - below[system]) for system in systems}


def first_set(ranks: Ranks) -> list[str]:
    """Return the systems that may be the first."""
    return [system for system, (best, _) in ranks.items() if best == 1]
