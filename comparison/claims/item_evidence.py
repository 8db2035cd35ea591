"""Claim A's evidence: compare the item scores of every pair of systems, task by task, and note those that cannot be used."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np

from comparison.claims.pairs import Pair
from comparison.disagreements.items import ItemApart, most_apart
from comparison.reading.item_scores import Items, read_items
from comparison.reading.systems import Score
from comparison.reading.table import Table
from comparison.stats.effects import Interval
from comparison.stats.resampling import bootstrap
from comparison.stats.within import Within, within_task

OTHER_MEASURE = 1e-3  # items whose mean difference is further than this from the scores' measure something else
MOST_PAIRS = 100  # of systems, of which the items are kept on which they differ most
SAME_STATISTIC = 5e-4  # items whose statistic is further than this from the result file's are of another run or model


@dataclass(frozen=True)
class Evidence:
    """What the items of a pair of systems tell.

    Attributes:
        within: the result within each task that has comparable items.
        unlike: tasks on which both have items, of which no comparison can be made.
        apart: of each task the items on which the two differ most; none where there are very many pairs.
    """

    within: dict[str, Within] = field(default_factory=dict)
    unlike: list[str] = field(default_factory=list)
    apart: list[ItemApart] = field(default_factory=list)


def compare_items(table: Table, pairs: Sequence[Pair], seed: int, notes: list[str]) -> list[Evidence]:
    """Compare every pair within its tasks, where both have scores item by item of the same items.

    Args:
        table: the scores and their files.
        pairs: the comparisons.
        seed: of resampling.
        notes: gets sentences on items that were not used, and why.

    Returns:
        The evidence of each pair; empty where there is nothing.

    Raises:
        ComparisonError: a file of items is damaged.
    """
    if not table.files:
        return [Evidence() for _ in pairs]
    reader = _ItemReader(table)
    unlike, ungrouped, other_measure = set[str](), set[str](), set[str]()
    evidence = []
    for pair in pairs:
        of_pair = Evidence()
        for task in pair.differences:
            ours, other = reader.of_group(pair.sides.first, task), reader.of_group(pair.sides.second, task)
            if ours is None or other is None:
                continue
            within = scaled(within_task(ours, other, seed), pair.sides.scale)
            if within is None:
                unlike.add(f"{pair.a} and {pair.b} on {task}")
                of_pair.unlike.append(task)
                continue
            of_pair.within[task] = within
            if pair.groups is None and len(pairs) <= MOST_PAIRS:
                of_pair.apart.extend(most_apart(task, _split(table, task), ours, other))
            if within.unit == "pairs" and not within.grouped:
                ungrouped.add(task)
            if abs(within.difference - pair.differences[task]) > OTHER_MEASURE:
                other_measure.add(f"{task} ({within.metric})")
        evidence.append(of_pair)
    sentences = {
        "scores item by item not used (their statistic is not the score in the result file, or their kind is not known)": (
            reader.unused
        ),
        "scores item by item that cannot be compared (other items, or no error can be given)": unlike,
        "pairs taken as independent, because the files do not say which share a text": ungrouped,
        "claims on these tasks are of another measure than the main score": other_measure,
    }
    notes += [f"{title}: {', '.join(sorted(names))}" for title, names in sentences.items() if names]
    return evidence


def _split(table: Table, task: str) -> str:
    """Return the split of a task that is compared: one for all."""
    return next(iter(table.cells[task]))[0]


def _agrees(items: Items, score: Score, cells: Collection[tuple[str, str]], main_score: float) -> bool:
    """Return whether the statistic of items is the metric of that name in the result file, else the main score."""
    in_file = [score.metrics[cell][items.metric] for cell in cells if items.metric in score.metrics.get(cell, {})]
    expected = main_score
    if in_file and len(in_file) == len(cells):
        expected = float(np.mean(in_file))
    return abs(statistic(items) - expected) <= SAME_STATISTIC


def statistic(items: Items) -> float:
    """Return the score that items give: Spearman or average precision of pairs, else the mean; the mean over subsets."""
    if items.kind in ("correlation", "precision"):
        return bootstrap(items, 0, 0)[0]
    means = [items.values[items.subsets == subset].mean() for subset in np.unique(items.subsets)]
    return float(np.mean(means))


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
            if items is None or not _agrees(items, score, self.table.cells[task], float(value)):
                self.unused.add(f"{system} on {task}")
                return None
            runs.append(items)
        return tuple(runs) or None
