"""Compare all systems of a table.

1. In every category the pairs of systems are compared: claims A, B and C (`comparison/claims/three_claims.py`), which are one
   family of tests.
2. Over the whole table: p-values are multiplied by the number of categories that could reach .05, and marks are set.
3. Over all categories: the mean of the categories' means (`comparison/claims/overall.py`).
4. Where runs failed, the comparisons again with failed runs counted as losses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from comparison.claims.categories import CategoryMaker
from comparison.claims.grid import make_grid
from comparison.claims.outcome import Category, Comparison
from comparison.claims.overall import CategoryPart, with_failures
from comparison.claims.pairs import Counted, Sides, choose_pairs, count_failures, make_pair, mean_score
from comparison.claims.three_claims import sensitivities
from comparison.claims.whole_table import adjust_over_table, named_families, over_kinds, tests_over_table
from comparison.reading.families import Families
from comparison.reading.table import Table

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
    tests_of_table = tests_over_table(with_contrasts)
    categories = adjust_over_table(with_contrasts, tests_of_table, options.baseline is None)
    sides = {(a, b): Sides((a,), (b,)) for a, b in pairs_of_names}
    overall = over_kinds(table, categories, sides, families, options.seed)
    if _any_failed(counted):
        overall = with_failures(overall, _parts_with_losses(drafts, counted, families), options.seed)
    if best is not None:
        baseline = best
        categories = [category for category in _with_system(categories, best) if category.contrasts]
        overall = [entry for entry in overall if entry.b == best]
    compared = {category.name for category in categories}
    return Comparison(
        systems=dict(table.runs),
        baseline=baseline,
        margin=options.margin,
        categories=categories,
        overall=overall,
        counted=tests_of_table,
        notes=notes,
        as_they_are=sorted(table.as_they_are & set(table.systems)),
        grid=make_grid(table, families, options.margin, options.seed, options.same_revision),
        not_compared=[name for name in table.categories if name not in compared],
    )


def best_system(table: Table) -> str:
    """Return the system with the best mean, over categories, of its means over the tasks of `common_tasks`."""
    systems, common = common_tasks(table)
    by_category = [[task for task in tasks if task in common] for tasks in table.categories.values()]

    def mean(system: str) -> float:
        means = [float(np.mean([mean_score(table, system, task) for task in tasks])) for tasks in by_category if tasks]
        return float(np.mean(means or [0.0]))

    return max(systems or table.systems, key=mean)


def common_tasks(table: Table) -> tuple[list[str], set[str]]:
    """Return the systems with scores and the tasks that all have; without any, those of the systems with most tasks."""
    had: dict[str, set[str]] = {}
    for system, task in table.scores:
        had.setdefault(system, set()).add(task)
    most = max(map(len, had.values()), default=0)
    for fewest in (1, most):
        systems = [system for system in table.systems if len(had.get(system, ())) >= fewest]
        common = set(table.tasks).intersection(*(had[system] for system in systems))
        if common:
            return systems, common
    return systems[:1], had.get(systems[0], set()) if systems else set()


def _last(systems: Sequence[str], name: str | None) -> list[str]:
    """Return systems with one of them last, so that it is the second of each of its pairs."""
    others = [system for system in systems if system != name]
    if name is None:
        return others
    return [*others, name]


def _chosen_afterwards(table: Table, best: str) -> str:
    count = len(table.systems)
    systems, common = common_tasks(table)
    pairs = count * (count - 1) // 2
    who = f"all {count} systems have"
    if len(systems) < count:
        who = f"{len(systems)} of {count} systems have"
    return (
        f"{best} is the baseline because it has the best mean, over kinds, of its means over the {len(common)} tasks that "
        f"{who}, which was seen after the scores: p-values, marks and intervals beside them are corrected for all {pairs} "
        "pairs, as if all were compared"
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


def _parts_with_losses(
    categories: Sequence[Category], counted: Mapping[str, Sequence[Counted]], families: Families
) -> dict[Names, dict[str, CategoryPart]]:
    """Return the parts with failed runs counted as losses, also in categories where nothing else is left to compare."""
    parts: dict[Names, dict[str, CategoryPart]] = {}
    for category in categories:
        for comparison in counted[category.name]:
            pair = comparison.pair
            if pair.differences and not families.unknown(pair.differences):
                named = named_families(category, pair.families, pair.of_families)
                part = CategoryPart(named, 0.0, comparison.shares)
                parts.setdefault((pair.a, pair.b), {})[category.name] = part
    return parts
