"""Compare all systems of a table.

1. In every category the pairs of systems are compared: claims A, B and C (`comparison/claims/three_claims.py`), which are one
   family of tests.
2. Over the whole table: p-values are multiplied by the number of categories that could reach .05, and marks are set.
3. Over all categories: the mean of the categories' means (`comparison/claims/overall.py`).
4. Where runs failed, the comparisons again with failed runs counted as losses.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from comparison.claims.categories import CategoryMaker
from comparison.claims.outcome import ALPHA, Category, Comparison, Contrast
from comparison.claims.overall import CategoryPart, Overall, carriers, compare_overall, runs_of, with_failures
from comparison.claims.pairs import Counted, choose_pairs, count_failures, make_pair, mean_score
from comparison.claims.three_claims import mark_of, sensitivities
from comparison.reading.families import Families
from comparison.reading.table import Table
from comparison.stats.multiple import holm, letters, reachable

Names = tuple[str, str]  # of two systems
BEST = "best"


@dataclass(frozen=True)
class Options:
    """Options of a comparison.

    Attributes:
        baseline: the system that the others are compared with; `BEST` for the one with the best mean, whose choice is corrected
            for; None for all pairs.
        margin: differences within it count as none, in score units.
        same_revision: leave out, pair by pair, tasks whose results state different revisions of the data.
        seed: of everything random.
    """

    baseline: str | None
    margin: float = 0.01
    same_revision: bool = False
    seed: int = 0


def compare(table: Table, families: Families, options: Options) -> Comparison:
    """Compare the systems of a table.

    >>> from comparison.reading.families import read_families
    >>> from comparison.reading.results_folder import read
    >>> from comparison.reading.selection import select
    >>> families = read_families()
    >>> compare(select(read([results]), families), families, Options(baseline="plain")).categories[0].name
    'Retrieval'

    Raises:
        ComparisonError: there is no such baseline, or a file of item scores is damaged.
    """
    notes = list(table.notes)
    baseline, best = options.baseline, None
    if baseline == BEST and BEST not in table.systems:
        baseline, best = None, best_system(table)
        notes.append(_chosen_afterwards(table, best))
    pairs_of_names = choose_pairs(_last(table.systems, best), baseline)
    maker = CategoryMaker(table, families, options.margin, options.seed, notes)
    counted: dict[str, list[Counted]] = {}
    drafts = []
    for name, tasks in table.categories.items():
        pairs = [make_pair(table, tasks, families, names, options.same_revision) for names in pairs_of_names]
        counted[name] = count_failures(table, pairs, families, options.margin)
        losses = sensitivities(counted[name], families, options.seed)
        drafts.append(maker.make(name, pairs, losses))
    with_contrasts = []
    for draft in drafts:
        if draft.contrasts:
            with_contrasts.append(draft)
        else:
            notes.append(_no_contrast(draft))
    tests_of_table = _tests_of_table(with_contrasts)
    categories = _adjust_over_table(with_contrasts, tests_of_table, options.baseline is None)
    overall = _overall(table, categories, pairs_of_names, families, options.seed)
    if _any_failed(counted):
        overall = with_failures(overall, _parts_with_losses(drafts, counted, families), options.seed)
    if best is not None:
        baseline = best
        categories = [category for category in _with_system(categories, best) if category.contrasts]
        overall = [entry for entry in overall if entry.b == best]
    return Comparison(
        systems=dict(table.runs),
        baseline=baseline,
        margin=options.margin,
        categories=categories,
        overall=overall,
        counted=tests_of_table,
        notes=notes,
        as_they_are=sorted(table.as_they_are & set(table.systems)),
    )


def best_system(table: Table) -> str:
    """Return the system with the best mean of its categories' means over tasks, of those with the most tasks."""
    ranks: dict[str, tuple[int, float]] = {}
    for system in table.systems:
        means: list[float] = []
        count = 0
        for tasks in table.categories.values():
            scores = [mean_score(table, system, task) for task in tasks if (system, task) in table.scores]
            count += len(scores)
            if scores:
                means.append(float(np.mean(scores)))
        ranks[system] = (count, float(np.mean(means or [0.0])))
    return max(ranks, key=ranks.__getitem__)


def _last(systems: Sequence[str], name: str | None) -> list[str]:
    """Return systems with one of them last, so that it is the second of each of its pairs."""
    others = [system for system in systems if system != name]
    if name is None:
        return others
    return [*others, name]


def _chosen_afterwards(table: Table, best: str) -> str:
    count = len(table.systems)
    return (
        f"{best} is the baseline because it has the best mean, which was seen after the scores: p-values, marks and intervals "
        f"beside them are corrected for all {count * (count - 1) // 2} pairs, as if all were compared"
    )


def _with_system(categories: Sequence[Category], name: str) -> list[Category]:
    """Return categories with the comparisons of one system only, corrected for all of them as they are."""
    chosen = []
    for category in categories:
        contrasts = [contrast for contrast in category.contrasts if contrast.b == name]
        skipped = [pair for pair in category.skipped if name in pair]
        chosen.append(replace(category, contrasts=contrasts, skipped=skipped, tests=len(category.contrasts)))
    return chosen


def _any_failed(counted: Mapping[str, Sequence[Counted]]) -> bool:
    every = chain.from_iterable(counted.values())
    return any(comparison.failed for comparison in every)


def _no_contrast(category: Category) -> str:
    lost = [system for system, failure in category.failures.items() if failure.everywhere]
    reason = ""
    if lost:
        reason = f": {', '.join(lost)} failed everywhere"
    return f"{category.name}: no two compared systems have a common task{reason}"


def _tests_of_table(categories: Sequence[Category]) -> int:
    """Return the number of categories that a claim over the whole table counts: those that can reach .05 (Tarone)."""
    floors = []
    for category in categories:
        floors.append(min(contrast.other_tasks.p_floor for contrast in category.contrasts))
    return reachable(floors, ALPHA)


def _adjust_over_table(categories: Sequence[Category], tests_of_table: int, all_pairs: bool) -> list[Category]:
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
        groups = None
        if all_pairs:
            groups = _groups(category, contrasts)
        adjusted.append(replace(category, contrasts=contrasts, groups=groups))
    return adjusted


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


def _overall(table: Table, categories: Sequence[Category], pairs: Sequence[Names], maps: Families, seed: int) -> list[Overall]:
    """Compare over categories, without those whose tasks' relations are unknown."""
    parts: dict[Names, dict[str, CategoryPart]] = {}
    families: dict[Names, dict[str, list[list[str]]]] = {}
    for names in pairs:
        parts[names], families[names] = {}, {}
    for category in categories:
        for contrast in category.contrasts:
            if maps.unknown(contrast.differences):
                continue
            sign = float(np.sign(contrast.by_family.mean)) if contrast.starred else 0.0
            means = []
            for tasks in contrast.families:
                means.append(np.mean(list(map(contrast.differences.__getitem__, tasks))))
            named = _named_families(category, contrast.families, means)
            parts[contrast.a, contrast.b][category.name] = CategoryPart(named, sign)
            families[contrast.a, contrast.b][category.name] = contrast.families
    runs = {}
    for names, of_pair in carriers(parts).items():
        if of_pair:
            runs[names] = runs_of(table, names, {category: families[names][category] for category in of_pair})
    return compare_overall(parts, runs, seed)


def _named_families(
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


def _parts_with_losses(
    categories: Sequence[Category], counted: Mapping[str, Sequence[Counted]], families: Families
) -> dict[Names, dict[str, CategoryPart]]:
    """Return the parts with failed runs counted as losses, also in categories where nothing else is left to compare."""
    parts: dict[Names, dict[str, CategoryPart]] = {}
    for category in categories:
        for comparison in counted[category.name]:
            pair = comparison.pair
            if pair.differences and not families.unknown(pair.differences):
                named = _named_families(category, pair.families, pair.of_families)
                part = CategoryPart(named, 0.0, comparison.shares)
                parts.setdefault((pair.a, pair.b), {})[category.name] = part
    return parts
