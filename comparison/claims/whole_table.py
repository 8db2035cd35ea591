"""All categories together, after each has been compared: marks over the whole table, letters, the mean over kinds of tasks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from itertools import chain

import numpy as np

from comparison.claims.outcome import ALPHA, Category, Contrast
from comparison.claims.overall import CategoryPart, Overall, carriers, compare_overall
from comparison.claims.pairs import Sides, means_by_run
from comparison.claims.ranks import rank_intervals
from comparison.claims.runs import runs_of
from comparison.claims.three_claims import mark_of
from comparison.reading.families import Families
from comparison.reading.table import Table
from comparison.stats.multiple import holm, letters, reachable

Names = tuple[str, str]  # of two systems


def tests_over_table(categories: Sequence[Category]) -> int:
    """Return the number of categories that a claim over the whole table counts: those that can reach .05 (Tarone)."""
    floors = []
    for category in categories:
        floors.append(min(contrast.other_tasks.p_floor for contrast in category.contrasts))
    return reachable(floors, ALPHA)


def adjust_over_table(categories: Sequence[Category], tests_of_table: int, all_pairs: bool) -> list[Category]:
    """Set the p-values over the whole table, the marks, and where all pairs are compared the letters."""
    every = chain.from_iterable(category.contrasts for category in categories)
    published = [contrast.as_published.p for contrast in every]
    holm_over_table = iter(holm(published))
    adjusted = []
    for category in categories:
        contrasts = []
        for contrast in category.contrasts:
            mark = mark_of(contrast.these_tasks, contrast.other_tasks, contrast.another_run, tests_of_table)
            p_table = min(1.0, tests_of_table * contrast.other_tasks.p)
            contrast = replace(
                contrast,
                other_tasks=replace(contrast.other_tasks, p_table=p_table),
                as_published=replace(contrast.as_published, p_holm_table=next(holm_over_table)),
                mark=mark,
            )
            contrasts.append(contrast)
        groups = ranks = None
        if all_pairs:
            groups, ranks = _groups(category, contrasts), _ranks(category, contrasts)
        adjusted.append(replace(category, contrasts=contrasts, groups=groups, rank_intervals=ranks))
    return adjusted


def _ranks(category: Category, contrasts: Sequence[Contrast]) -> dict[str, tuple[int, int]]:
    """Return the ranks that the data allow for the systems with scores; a pair that was not compared separates nobody."""
    beats = []
    for contrast in contrasts:
        if contrast.starred and contrast.carried:
            first, second = contrast.a, contrast.b
            beats.append((first, second) if contrast.by_family.mean > 0 else (second, first))
    return rank_intervals([system for system, scores in category.scores.items() if scores], beats)


def _groups(category: Category, contrasts: Sequence[Contrast]) -> dict[str, str] | None:
    """Return letters: systems that share one are not separated by claim B (and C where runs were repeated).

    Systems are sorted by wins minus losses, so that a system never has a later letter than one that it beats; then by mean
    score, those without all tasks last, since means over different tasks have no order.

    Returns:
        None where some pair of those with scores could not be compared or decided: that is not the same as not separated.
    """
    names = [name for name, scores in category.scores.items() if scores]
    if any(set(pair) <= set(names) for pair in category.skipped):
        return None
    if not all(contrast.other_tasks.decidable for contrast in contrasts):
        return None
    balance = dict.fromkeys(names, 0)  # wins minus losses
    separated = []
    for contrast in contrasts:
        if not (contrast.starred and contrast.carried):
            continue
        separated.append(frozenset((contrast.a, contrast.b)))
        sign = 1 if contrast.by_family.mean > 0 else -1
        balance[contrast.a] += sign
        balance[contrast.b] -= sign
    names.sort(key=lambda name: (-balance[name], -(category.means[name] or 0.0)))
    return letters(names, separated)


def over_kinds(
    table: Table, categories: Sequence[Category], pairs: Mapping[Names, Sides], maps: Families, seed: int
) -> list[Overall]:
    """Compare over categories, without those whose tasks' relations are unknown, which each comparison names."""
    parts: dict[Names, dict[str, CategoryPart]] = {}
    families: dict[Names, dict[str, list[list[str]]]] = {}
    unknown: dict[Names, list[str]] = {}
    for names in pairs:
        parts[names], families[names], unknown[names] = {}, {}, []
    for category in categories:
        for contrast in category.contrasts:
            if maps.unknown(contrast.differences):
                unknown[contrast.a, contrast.b].append(category.name)
                continue
            sign = float(np.sign(contrast.by_family.mean)) if contrast.starred else 0.0
            means = []
            for tasks in contrast.families:
                means.append(sum(map(contrast.differences.__getitem__, tasks)) / len(tasks))
            named = named_families(category, contrast.families, means)
            parts[contrast.a, contrast.b][category.name] = CategoryPart(named, sign)
            families[contrast.a, contrast.b][category.name] = contrast.families
    runs = {}
    means_of = cache(partial(means_by_run, table))
    for names, of_pair in carriers(parts).items():
        if of_pair:
            by_category = {category: families[names][category] for category in of_pair}
            runs[names] = runs_of(table, pairs[names], by_category, means_of)
    found = compare_overall(parts, runs, seed)
    return [replace(overall, unknown=tuple(unknown[overall.a, overall.b])) for overall in found]


def named_families(
    category: Category, families: Sequence[Sequence[str]], means: Iterable[float | np.floating]
) -> dict[str, float]:
    """Return the means of a pair's families by the first task of the whole family, which a pair may lack."""
    first = {}
    for family in category.families:
        first.update(dict.fromkeys(family, family[0]))
    named = {}
    for tasks, mean in zip(families, means, strict=True):
        named[first[tasks[0]]] = float(mean)
    return named
