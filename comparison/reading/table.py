"""The table of scores that are compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np

from comparison.reading.systems import Score


@dataclass
class Table:
    """Scores that are compared.

    Attributes:
        systems: names.
        runs: number of runs of each system.
        categories: category -> tasks, both in a stable order.
        scores: (system, task) -> one score a run, ``(runs,)``, NaN where the run has none; absent where no run has any.
        failed: (system, task) -> number of its runs that failed on it.
        cells: task -> the (split, subset) cells that are compared.
        files: (system, task) -> the result file of each run; None where it has none.
        factors: attention and pooling of each design of a study that says them.
        as_they_are: systems that nobody trains again, such as an untrained model of a study: no noise between runs.
        notes: sentences on what was left out, and on what a reader should know.
    """

    systems: tuple[str, ...]
    runs: dict[str, int]
    notes: list[str]
    categories: dict[str, list[str]] = field(default_factory=dict)
    scores: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)
    failed: Counter[tuple[str, str]] = field(default_factory=Counter)
    cells: dict[str, set[tuple[str, str]]] = field(default_factory=dict)
    files: dict[tuple[str, str], list[Score | None]] = field(default_factory=dict)
    as_they_are: frozenset[str] = frozenset()
    factors: dict[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def tasks(self) -> list[str]:
        """Tasks of all categories."""
        return list(chain.from_iterable(self.categories.values()))

    def results(self, task: str, systems: Sequence[str] | None = None) -> list[Score]:
        """Return the compared results on a task, of these systems or of all."""
        results: list[Score] = []
        for system in systems or self.systems:
            results += filter(None, self.files[system, task])
        return results

    def stack(self, system: str, tasks: Sequence[str]) -> np.ndarray | None:
        """Return a system's scores ``(tasks, runs)``; None where it lacks a task."""
        rows = []
        for task in tasks:
            if (system, task) not in self.scores:
                return None
            rows.append(self.scores[system, task])
        return np.array(rows)

    def same_revision(self, a: str, b: str, task: str) -> bool:
        """Return whether two systems' results on a task state no different revisions of its data."""
        return self.one_revision((a, b), task)

    def one_revision(self, systems: Sequence[str], task: str) -> bool:
        """Return whether these systems' results on a task state no different revisions of its data."""
        return len(stated_revisions(self.results(task, systems))) < 2


def stated_revisions(results: Iterable[Score]) -> set[str]:
    """Return the revisions of the data that results state."""
    revisions = set()
    for score in results:
        if score.dataset_revision is not None:
            revisions.add(score.dataset_revision)
    return revisions
