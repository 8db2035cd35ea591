"""Claim A's evidence: compare the item scores of every pair of systems, task by task, and note those that cannot be used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np

from comparison.claims.pairs import Pair
from comparison.reading.item_scores import Items, read_items
from comparison.reading.table import Table
from comparison.stats.effects import Interval
from comparison.stats.within import Within, within_task

OTHER_MEASURE = 1e-3  # items whose mean difference is further than this from the scores' measure something else


def compare_items(table: Table, pairs: Sequence[Pair], seed: int, notes: list[str]) -> list[dict[str, Within]]:
    """Compare every pair within its tasks, where both have scores item by item of the same items.

    Args:
        table: the scores and their files.
        pairs: the comparisons.
        seed: of resampling.
        notes: gets sentences on items that were not used, and why.

    Returns:
        Of each pair the results within its tasks, by task; empty where there is nothing.

    Raises:
        ComparisonError: a file of items is damaged.
    """
    if not table.files:
        return [{} for _ in pairs]
    reader = _ItemReader(table)
    unlike, ungrouped, other_measure = set[str](), set[str](), set[str]()
    evidence: list[dict[str, Within]] = []
    for pair in pairs:
        results: dict[str, Within] = {}
        for task in pair.differences:
            ours, other = reader.of_group(pair.sides.first, task), reader.of_group(pair.sides.second, task)
            if ours is None or other is None:
                continue
            within = scaled(within_task(ours, other, seed), pair.sides.scale)
            if within is None:
                unlike.add(f"{pair.a} and {pair.b} on {task}")
                continue
            results[task] = within
            if within.unit == "pairs" and not within.grouped:
                ungrouped.add(task)
            if abs(within.difference - pair.differences[task]) > OTHER_MEASURE:
                other_measure.add(f"{task} ({within.metric})")
        evidence.append(results)
    sentences = {
        "scores item by item not used (another mean than the task's score, or of no kind that is known)": reader.unused,
        "scores item by item that cannot be compared (other items, or no error can be given)": unlike,
        "pairs taken as independent, because the files do not say which share a text": ungrouped,
        "claims on these tasks are of another measure than the main score": other_measure,
    }
    notes += [f"{title}: {', '.join(sorted(names))}" for title, names in sentences.items() if names]
    return evidence


def scaled(within: Within | None, scale: float) -> Within | None:
    """Return a result times a factor."""
    if within is None or scale == 1:
        return within
    interval = Interval(scale * within.interval.low, scale * within.interval.high, within.interval.confidence)
    return replace(within, difference=scale * within.difference, error=scale * within.error, interval=interval)


class _ItemReader:
    """Items of each system and task, read once; `unused` gets the names of files that are of no use."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.unused: set[str] = set()
        self.items = cache(self._read)

    def of_group(self, systems: Sequence[str], task: str) -> tuple[Items, ...] | None:
        """Return the items of all runs of some systems; None where one has none, or where they have unlike numbers of runs."""
        runs: list[Items] = []
        counts = set[int]()
        for system in systems:
            items = self.items(system, task)
            if items is None:
                return None
            runs += items
            counts.add(len(items))
        if len(counts) > 1:  # their mean would weigh the systems by their runs
            return None
        return tuple(runs)

    def _read(self, system: str, task: str) -> tuple[Items, ...] | None:
        """Return the items of each run that has a score; None where a run has none that can be used."""
        runs = []
        for score, value in zip(self.table.files[system, task], self.table.scores[system, task], strict=True):
            if score is None or not np.isfinite(value):
                continue
            if score.items is None:
                return None
            items = read_items(score.items, self.table.cells[task], float(value))
            if items is None:
                self.unused.add(f"{system} on {task}")
                return None
            runs.append(items)
        return tuple(runs) or None
