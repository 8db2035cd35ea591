"""Withhold claims on other tasks where nobody says to which others a comparison's tasks are related."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from comparison.claims.outcome import FEWEST_FAMILIES, OtherTasks, WorstGrouping
from comparison.claims.pairs import Pair, family_matrix
from comparison.reading.families import Families
from comparison.stats.multiple import step_down_max_t


def withhold(
    others: Sequence[OtherTasks], pairs: Sequence[Pair], families: Families, tasks: Sequence[str], seed: int = 0
) -> list[OtherTasks]:
    """Return claim B of each comparison, with the tasks whose relations are unknown and the answer if these were one family.

    Args:
        others: claim B of each comparison.
        pairs: the comparisons.
        families: the map of tasks.
        tasks: of the category.
        seed: of random flips.
    """
    if not families.unknown(tasks):
        return list(others)
    worst = families.worst(tasks)
    regrouped = [replace(pair, families=worst.group(pair.differences)) for pair in pairs]
    joint = step_down_max_t(family_matrix(regrouped, worst.group(tasks)), seed)
    withheld = []
    for other, pair, p in zip(others, regrouped, joint, strict=True):
        unknown = families.unknown(pair.differences)
        if unknown and other.families >= FEWEST_FAMILIES:  # with fewer nothing could be claimed anyway
            mean = float(pair.of_families.mean())
            other = replace(other, unknown=unknown, worst=WorstGrouping(len(pair.families), mean, p))
        withheld.append(other)
    return withheld
