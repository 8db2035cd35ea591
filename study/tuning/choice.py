"""The choice of a setting by its scores on development tasks; no other score is handed to it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy import stats

Scores = Mapping[str, float]  # by development task


def mean_ranks(scores: Mapping[str, Scores]) -> dict[str, float]:
    """Return the mean rank of each setting over the tasks, 1 for the best; equal scores share their mean rank.

    >>> mean_ranks({"low": {"a": 0.1, "b": 0.5}, "high": {"a": 0.2, "b": 0.6}})
    {'low': 2.0, 'high': 1.0}

    Args:
        scores: by setting; empty for one that diverged, which is last in every task.
    """
    names = list(scores)
    tasks = sorted({task for of_tasks in scores.values() for task in of_tasks})
    table = np.full((len(names), len(tasks)), -np.inf)
    for row, name in enumerate(names):
        for column, task in enumerate(tasks):
            table[row, column] = scores[name].get(task, -np.inf)
    ranks = stats.rankdata(-table, axis=0) if tasks else np.ones((len(names), 1))
    return {name: float(rank) for name, rank in zip(names, ranks.mean(axis=1), strict=True)}


def mean_score(scores: Scores) -> float:
    """Return the mean over tasks; minus infinity for none."""
    return float(np.mean(list(scores.values()))) if scores else -np.inf


def choose(scores: Mapping[str, Scores]) -> str:
    """Return the setting with the best mean rank; of equal ones that with the higher mean score, then the first.

    >>> choose({"common": {"a": 0.5}, "high": {"a": 0.5}})
    'common'
    """
    ranks = mean_ranks(scores)
    names = list(scores)
    return min(names, key=lambda name: (ranks[name], -mean_score(scores[name]), names.index(name)))
