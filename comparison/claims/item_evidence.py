"""Claim A's evidence: the item scores of every pair of systems, task by task, and what of them could not be used."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from comparison.claims.pairs import Pair
from comparison.reading.item_scores import Items, read_items
from comparison.reading.table import Table
from comparison.stats.within import Within, within_task


def compare_items(table: Table, pairs: Sequence[Pair], seed: int, notes: list[str]) -> list[dict[str, Within]]:
    """Compare every pair within its tasks, where both have scores item by item of the same items.

    Args:
        table: the scores and their files.
        pairs: the comparisons.
        seed: of resampling.
        notes: gets sentences on items that were not used, and why.

    Returns:
        What was found on each task, by task; empty where there is nothing.

    Raises:
        ComparisonError: a file of items is damaged.
    """
    unlike, ungrouped, other_measure, unused = set(), set(), set(), set()

    @cache
    def items(system: str, task: str) -> tuple[Items, ...] | None:
        kept = []
        for score, value in zip(table.files[system, task], table.scores[system, task], strict=True):
            if score is not None and np.isfinite(value):
                one = read_items(score.items, table.cells[task], float(value)) if score.items else None
                if one is None:
                    if score.items:
                        unused.add(f"{system} on {task}")
                    return None
                kept.append(one)
        return tuple(kept) or None

    made: list[dict[str, Within]] = []
    for pair in pairs:
        made.append({})
        for task in pair.differences if table.files else ():
            ours, other = items(pair.a, task), items(pair.b, task)
            if ours is None or other is None:
                continue
            found = within_task(ours, other, seed)
            if found is None:
                unlike.add(f"{pair.a} and {pair.b} on {task}")
            else:
                made[-1][task] = found
                if found.unit == "pairs" and not found.grouped:
                    ungrouped.add(task)
                if abs(found.difference - pair.differences[task]) > 1e-3:
                    other_measure.add(f"{task} ({found.metric})")
    said = {
        "scores item by item not used (another mean than the task's score, or of no kind that is known)": unused,
        "scores item by item that cannot be compared (other items, or no error can be given)": unlike,
        "pairs taken as independent, because the files do not say which share a text": ungrouped,
        "claims on these tasks are of another measure than the main score": other_measure,
    }
    notes += [f"{what}: {', '.join(sorted(which))}" for what, which in said.items() if which]
    return made
