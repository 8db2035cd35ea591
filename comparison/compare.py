"""The procedure: categories one by one, comparisons of a category as one family of tests, then the whole table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from comparison.claims.item_evidence import compare_items
from comparison.claims.outcome import ALPHA, Category, Comparison, Contrast, Failure, Ranks, Sensitivity
from comparison.claims.overall import Part, Runs, compare_overall, runs_of, with_failures
from comparison.claims.pairs import Counted, Pair, choose_pairs, count_failures, make_pair, mean_score
from comparison.claims.three_claims import another_run, as_published, mark_of, other_tasks, sensitivities, these_tasks
from comparison.reading.families import Families
from comparison.reading.table import Table
from comparison.stats.effects import describe
from comparison.stats.multiple import holm, letters, reachable
from comparison.stats.seeds import Variances, variance_parts


@dataclass(frozen=True)
class Options:
    """How to compare.

    Attributes:
        baseline: the system that the others are compared with; None for all pairs.
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

    Raises:
        ComparisonError: there is no such baseline, or a file of item scores is damaged.
    """
    wanted = choose_pairs(table.systems, options.baseline)
    notes = list(table.notes)
    counted_pairs: dict[str, list[Counted]] = {}
    drafts = []
    for name, tasks in table.categories.items():
        every = [make_pair(table, tasks, families, names, options.same_revision) for names in wanted]
        counted_pairs[name] = count_failures(table, every, families, options.margin)
        drafts.append(_category(table, name, families, every, counted_pairs[name], options, notes))
    categories = _whole_table([draft for draft in drafts if draft.contrasts], options.baseline is None)
    counted = _counted(categories)
    notes += [_nothing(draft) for draft in drafts if not draft.contrasts]
    parts = _parts(categories, wanted)
    overall = compare_overall(parts, _runs(table, categories, parts), options.seed)
    if any(one.failed for of_category in counted_pairs.values() for one in of_category):
        overall = with_failures(overall, _counted_parts(drafts, counted_pairs), options.seed)
    return Comparison(dict(table.runs), options.baseline, options.margin, categories, overall, counted, notes)


def _category(
    table: Table, name: str, families: Families, every: Sequence[Pair], counted: Sequence[Counted], options: Options,
    notes: list[str],
) -> Category:  # fmt: skip
    tasks = table.categories[name]
    pairs = [pair for pair in every if pair.differences]
    lost = [one for pair, one in zip(every, sensitivities(counted, families, options.seed), strict=True) if pair.differences]
    scores = {
        system: {task: mean_score(table, system, task) for task in tasks if (system, task) in table.scores}
        for system in table.systems
    }
    return Category(
        name=name,
        tasks=list(tasks),
        families=families.group(tasks),
        scores=scores,
        means={system: float(np.mean(list(of.values()))) if len(of) == len(tasks) else None for system, of in scores.items()},
        contrasts=_contrasts(table, tasks, families, pairs, lost, options, notes) if pairs else [],
        skipped=[(pair.a, pair.b) for pair in every if not pair.differences],
        failures=_failures(table, tasks),
        groups=None,
        ranks=rank_systems({system: of for system, of in scores.items() if len(of) == len(tasks)}),
        variances=_variances(table, tasks),
    )


def _contrasts(
    table: Table, tasks: Sequence[str], families: Families, pairs: Sequence[Pair], lost: Sequence[Sensitivity | None],
    options: Options, notes: list[str],
) -> list[Contrast]:  # fmt: skip
    """Make the contrasts of one category; marks and what counts other categories are set by `_whole_table`."""
    others = other_tasks(pairs, families.group(tasks), options.margin, options.seed)
    runs = another_run(table, pairs, others, options.margin)
    found = zip(
        pairs,
        these_tasks(compare_items(table, pairs, options.seed, notes), [run.runs for run in runs]),
        others,
        runs,
        as_published(pairs, tasks, options.seed),
        lost,
        strict=True,
    )
    return [
        Contrast(
            a=pair.a,
            b=pair.b,
            differences=pair.differences,
            missing=pair.missing,
            families=pair.families,
            by_task=describe(list(pair.differences.values())),
            by_family=describe(pair.of_families),
            these_tasks=these,
            other_tasks=other,
            another_run=run,
            as_published=published,
            sensitivity=sensitivity,
            mark="",
            checkpoint=run.p is None and min(run.runs) == 1,
        )
        for pair, these, other, run, published, sensitivity in found
    ]


def rank_systems(scores: Mapping[str, Mapping[str, float]]) -> Ranks | None:
    """Return Friedman's test and mean ranks of systems with the same tasks.

    Returns:
        None below three systems or two tasks, or where all systems are equal.
    """
    values = np.array([list(of.values()) for of in scores.values()])
    if len(scores) < 3 or values.shape[1] < 2 or (values == values[0]).all():
        return None
    places = stats.rankdata(-values, axis=0).mean(axis=1)
    count, tasks = values.shape
    found = stats.friedmanchisquare(*values)
    quantile = stats.studentized_range.ppf(1 - ALPHA, count, np.inf) / np.sqrt(2)
    difference = float(quantile * np.sqrt(count * (count + 1) / (6 * tasks)))
    ranks = {name: float(place) for name, place in zip(scores, places, strict=True)}
    return Ranks(ranks, tasks, float(found.statistic), float(found.pvalue), difference)


def _failures(table: Table, tasks: Sequence[str]) -> dict[str, Failure]:
    """Return what failed, of each system of which anything did."""
    found = {}
    for system in table.systems:
        counts = [table.failed.get((system, task), 0) for task in tasks]
        if any(counts):
            scores = [table.scores[system, task] for task in tasks if (system, task) in table.scores]
            lost = int(np.isnan(scores).all(axis=0).sum()) if scores else table.runs[system]
            found[system] = Failure(
                table.runs[system], min(lost, *counts), sum(counts), sum(map(bool, counts)), len(tasks), not scores
            )
    return found


def _nothing(category: Category) -> str:
    gone = [system for system, failure in category.failures.items() if failure.everywhere]
    why = f": {', '.join(gone)} failed everywhere" if gone else ""
    return f"{category.name}: no two compared systems have a common task{why}"


def _variances(table: Table, tasks: Sequence[str]) -> Variances | None:
    """Return where scores vary, over systems with the same number of runs, at least two, and all tasks."""
    complete = [
        np.array([table.scores[system, task] for task in tasks]).T
        for system in table.systems
        if table.runs[system] > 1 and all((system, task) in table.scores for task in tasks)
    ]
    complete = [scores for scores in complete if np.isfinite(scores).all()]
    most = max((len(scores) for scores in complete), default=0)
    chosen = [scores for scores in complete if len(scores) == most]
    return variance_parts(np.array(chosen)) if len(chosen) > 1 else None


def _counted(categories: Sequence[Category]) -> int:
    floors = [min(one.other_tasks.p_floor for one in category.contrasts) for category in categories]
    return reachable(floors, ALPHA)


def _whole_table(categories: Sequence[Category], all_pairs: bool) -> list[Category]:
    """Adjust over categories, and mark what can be claimed."""
    counted = _counted(categories)
    table_wide = iter(holm([one.as_published.p for category in categories for one in category.contrasts]))
    made = []
    for category in categories:
        contrasts = [
            replace(
                one,
                other_tasks=replace(one.other_tasks, p_table=min(1.0, counted * one.other_tasks.p)),
                as_published=replace(one.as_published, p_holm_table=next(table_wide)),
                mark=mark_of(one.these_tasks, one.other_tasks, one.another_run, counted),
            )
            for one in category.contrasts
        ]
        groups = _groups(category, contrasts) if all_pairs else None
        made.append(replace(category, contrasts=contrasts, groups=groups))
    return made


def _groups(category: Category, contrasts: Sequence[Contrast]) -> dict[str, str] | None:
    """Return letters: systems that share one are not separated by claim B (and C where runs were repeated).

    First who beats more than beats it, so that nobody has a later letter than one whom it beats; then by mean score, those
    without all tasks last, since means over different tasks have no order.

    Returns:
        None where some pair of those with scores could not be compared or decided: that is not the same as not separated.
    """
    names = [name for name, scores in category.scores.items() if scores]
    if any(set(pair) <= set(names) for pair in category.skipped) or not all(one.other_tasks.decidable for one in contrasts):
        return None
    ahead = dict.fromkeys(names, 0)
    starred = [one for one in contrasts if one.starred and one.carried]
    for one in starred:
        better, worse = (one.a, one.b) if one.by_family.mean > 0 else (one.b, one.a)
        ahead[better] += 1
        ahead[worse] -= 1
    names.sort(key=lambda name: (-ahead[name], -(category.means[name] or 0.0)))
    return letters(names, [frozenset((one.a, one.b)) for one in starred])


def _parts(categories: Sequence[Category], wanted: Sequence[tuple[str, str]]) -> dict[tuple[str, str], dict[str, Part]]:
    """Return what each category gives to each comparison over all of them."""
    parts: dict[tuple[str, str], dict[str, Part]] = {names: {} for names in wanted}
    for category in categories:
        first = {task: family[0] for family in category.families for task in family}
        for one in category.contrasts:
            means = [float(np.mean([one.differences[task] for task in tasks])) for tasks in one.families]
            named = {first[tasks[0]]: mean for tasks, mean in zip(one.families, means, strict=True)}
            sign = float(np.sign(one.by_family.mean)) if one.mark in ("*", "**") else 0.0
            parts[one.a, one.b][category.name] = Part(named, sign)
    return parts


def _counted_parts(
    categories: Sequence[Category], counted: Mapping[str, Sequence[Counted]]
) -> dict[tuple[str, str], dict[str, Part]]:
    """Return the same with failed runs counted as losses, also in categories where nothing else is left to compare."""
    parts: dict[tuple[str, str], dict[str, Part]] = {}
    for category in categories:
        first = {task: family[0] for family in category.families for task in family}
        for one in counted[category.name]:
            if one.pair.differences:
                named = {
                    first[tasks[0]]: float(mean) for tasks, mean in zip(one.pair.families, one.pair.of_families, strict=True)
                }
                parts.setdefault((one.pair.a, one.pair.b), {})[category.name] = Part(named, 0.0, one.shares)
    return parts


def _runs(
    table: Table, categories: Sequence[Category], parts: Mapping[tuple[str, str], Mapping[str, Part]]
) -> dict[tuple[str, str], Runs]:
    families = {(one.a, one.b, category.name): one.families for category in categories for one in category.contrasts}
    return {
        names: runs_of(table, names, {name: families[*names, name] for name in of_pair})
        for names, of_pair in parts.items()
        if of_pair
    }
