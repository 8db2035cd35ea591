"""Leave one family of tasks out, each in turn: does a star rest on one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from comparison.claims.outcome import Category, Comparison, Contrast, WithoutOne
from comparison.claims.pairs import Pair, family_matrix
from comparison.claims.three_claims import cross_with_runs, holm_by_number
from comparison.reading.table import Table
from comparison.stats.multiple import step_down_max_t

MOST_COMPARISONS = 100  # of a category


def with_families_left_out(table: Table, comparison: Comparison, seed: int = 0) -> Comparison:
    """Add to each star what it is with one family left out: the claim that it rests on; large tables are left as they are.

    Args:
        table: the scores, from which the noise between runs comes where a star needs it.
        comparison: of this table.
        seed: of random flips.
    """
    categories = []
    for category in comparison.categories:
        categories.append(_category(table, category, seed))
    return replace(comparison, categories=categories)


def _category(table: Table, category: Category, seed: int) -> Category:
    contrasts = category.contrasts
    if len(contrasts) > MOST_COMPARISONS or category.tests or not any(contrast.starred for contrast in contrasts):
        return category
    pairs, over_runs = [], {}
    for number, contrast in enumerate(contrasts):
        pairs.append(Pair(contrast.a, contrast.b, contrast.differences, contrast.missing, contrast.families))
        if contrast.another_run.p is not None:
            over_runs[number] = pairs[-1]
    matrix = family_matrix(pairs, category.families)
    p_values = []  # (families left out, comparisons)
    for left_out in range(len(category.families)):
        of_tasks = step_down_max_t(np.delete(matrix, left_out, axis=1), seed)
        of_runs = _over_runs(table, over_runs, category.families[left_out])
        p_values.append([max(p, of_runs.get(number, 0.0)) for number, p in enumerate(of_tasks)])
    changed = []
    for number, contrast in enumerate(contrasts):
        if contrast.starred:
            contrast = replace(contrast, without_one=_worst(category, contrast, [row[number] for row in p_values]))
        changed.append(contrast)
    return replace(category, contrasts=changed)


def _over_runs(table: Table, pairs: Mapping[int, Pair], family: Sequence[str]) -> dict[int, float]:
    """Return Holm's crossed p, without a family, of the comparisons that rest on their runs, by their number."""
    left = {}
    for number, pair in pairs.items():
        differences = {task: difference for task, difference in pair.differences.items() if task not in family}
        families = [tasks for tasks in pair.families if tasks[0] not in family]
        if len(families) > 1:
            left[number] = replace(pair, differences=differences, families=families)
    _, tests = cross_with_runs(table, list(left.values()))
    numbers = list(left)
    return holm_by_number({numbers[place]: test.p for place, test in tests.items()})


def _worst(category: Category, contrast: Contrast, p_values: list[float]) -> WithoutOne:
    """Return the family without which a comparison's p is largest, of those that the comparison has."""
    worst: WithoutOne | None = None
    for family, p in zip(category.families, p_values, strict=True):
        if contrast.differences.keys().isdisjoint(family):
            continue
        if worst is None or p > worst.p:
            worst = WithoutOne(p, [task for task in family if task in contrast.differences], len(contrast.families) - 1)
    assert worst is not None, "a comparison has families"
    return worst
