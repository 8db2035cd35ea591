"""Groups of texts that go through the backbone together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Grouping:
    """How texts are grouped by length for the forward passes, which saves padding.

    Attributes:
        tokens: padded tokens of a group at most, where no budget says it.
        overhead: what a group costs beside its padded tokens, in tokens.
    """

    tokens: int
    overhead: int


CPU_GROUPING = Grouping(tokens=2048, overhead=128)  # larger groups leave the cache (docs/performance.md)


def gpu_grouping(launch: int) -> Grouping:
    """Return the grouping for a device on which a pass costs as much as so many tokens before the first one is computed.

    Without gradient caching every group's graph is kept anyway, so large groups cost little memory; but padding is kept, too.
    """
    return Grouping(tokens=max(16384, 2 * launch), overhead=min(launch, 4096))


def plan_chunks(lengths: Sequence[int], token_budget: int, overhead: int = 0) -> list[list[int]]:
    """Group texts of similar length, so that each group, padded to its longest, stays within a token budget.

    Of all groupings of the sorted texts it is one of the cheapest: with the fewest padded tokens, each group counted as
    ``overhead`` tokens more.

    Args:
        lengths: tokens of each text.
        token_budget: padded tokens a group at most; a longer text is a group of its own.
        overhead: what a group costs beside its tokens, in tokens.

    Returns:
        Groups of indices, longest texts first; together each index once.
    """
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    longest = np.array([lengths[index] for index in order], dtype=np.int64)
    # From the shortest text on: what the texts from each place to the end cost at least, and where the first group ends.
    cost, ends = np.zeros(len(order) + 1, dtype=np.int64), [0] * len(order)
    for start in range(len(order) - 1, -1, -1):
        most = max(1, token_budget // max(int(longest[start]), 1))
        sizes = np.arange(1, min(most, len(order) - start) + 1)
        found = longest[start] * sizes + overhead + cost[start + sizes]
        best = int(len(found) - 1 - found[::-1].argmin())  # of equal ones the largest group
        cost[start], ends[start] = found[best], start + best + 1
    groups, start = [], 0
    while start < len(order):
        groups.append(order[start : ends[start]])
        start = ends[start]
    return groups
