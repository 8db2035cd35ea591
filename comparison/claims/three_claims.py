"""The three claims over the comparisons of one category, which are one family of tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache

import numpy as np

from comparison.claims.outcome import ALPHA, AnotherRun, AsPublished, OtherTasks, Sensitivity, TheseTasks
from comparison.claims.pairs import Counted, Pair, family_matrix, run_means
from comparison.reading.families import Families
from comparison.reading.table import Table
from comparison.stats.effects import combine, describe, equivalence_p, new_task_interval, t_interval, t_test, within_p
from comparison.stats.exact import floor, pratt_ranks, sign_flip
from comparison.stats.multiple import holm, step_down_max_t
from comparison.stats.seeds import Measured, SeedVariance, corrected_seed_sds, crossed, overturning_seed_sd, seed_variances
from comparison.stats.within import Within


def these_tasks(found: Sequence[Mapping[str, Within]], runs: Sequence[tuple[int, int]]) -> list[TheseTasks | None]:
    """Return claim A of each comparison; None where there is nothing.

    Args:
        found: what was found within its tasks.
        runs: of its two systems.
    """
    drafts: list[TheseTasks | None] = []
    tests: list[Measured] = []
    for tasks, of_systems in zip(found, runs, strict=True):
        if not tasks:
            drafts.append(None)
            continue
        mean = float(np.mean([within.difference for within in tasks.values()]))
        error, df = combine([((within.error / len(tasks)) ** 2, within.df) for within in tasks.values()])
        p = t_test(mean, error, df)
        tests.append(Measured(mean, error, df, of_systems))
        alone = overturning_seed_sd(mean, error, df, of_systems)
        drafts.append(TheseTasks(dict(tasks), mean, t_interval(mean, error, df), p, p, {}, 0.0, alone))
    adjusted = iter(holm([draft.p for draft in drafts if draft]))
    limits = iter(corrected_seed_sds(tests, ALPHA))
    of_tasks = iter(holm([within.p for tasks in found for within in tasks.values()]))
    return [
        draft
        and replace(
            draft,
            p_adjusted=next(adjusted),
            p_tasks={task: next(of_tasks) for task in draft.tasks},
            overturned_by=next(limits),
        )
        for draft in drafts
    ]


def other_tasks(pairs: Sequence[Pair], families: Sequence[Sequence[str]], margin: float, seed: int = 0) -> list[OtherTasks]:
    """Return claim B of each comparison, not yet adjusted for the whole table (`p_table` is `p`).

    Args:
        pairs: the comparisons, each with at least one common task.
        families: of all tasks of the category.
        margin: of equivalence.
        seed: of random flips.
    """
    joint = step_down_max_t(family_matrix(pairs, families), seed)
    equivalent = {
        number: equivalence_p(pair.of_families, margin) for number, pair in enumerate(pairs) if len(pair.families) > 2
    }
    adjusted = dict(zip(equivalent, holm(list(equivalent.values())), strict=True))
    return [
        OtherTasks(
            families=len(pair.families),
            p=joint[number],
            p_alone=sign_flip(pair.of_families, seed),
            p_floor=floor(len(pair.families)),
            p_table=joint[number],
            new_task=new_task_interval([[pair.differences[task] for task in tasks] for tasks in pair.families]),
            p_equivalent=adjusted.get(number),
        )
        for number, pair in enumerate(pairs)
    ]


def another_run(table: Table, pairs: Sequence[Pair], others: Sequence[OtherTasks], margin: float) -> list[AnotherRun]:
    """Return claim C of each comparison: p is the larger of claim B's and Holm's crossed t; the same for equivalence."""

    @cache
    def over_runs(families: tuple[tuple[str, ...], ...]) -> dict[str, tuple[int, SeedVariance | None]]:
        means = [run_means(table, name, families) for name in table.systems]
        counted = [(max(1, len(of_system)), known) for of_system, known in zip(means, seed_variances(means), strict=True)]
        return dict(zip(table.systems, counted, strict=True))

    found = []
    for pair in pairs:
        known = over_runs(tuple(map(tuple, pair.families)))
        (runs_a, of_a), (runs_b, of_b) = known[pair.a], known[pair.b]
        found.append(((runs_a, runs_b), crossed(pair.of_families, (runs_a, runs_b), (of_a, of_b))))
    tested = {number: one for number, (_, one) in enumerate(found) if one is not None}
    adjusted = dict(zip(tested, holm([one.p for one in tested.values()]), strict=True))
    inside = [within_p(one.mean, one.error, one.df, margin) for one in tested.values()]
    equivalent = dict(zip(tested, holm(inside), strict=True))
    several = {
        number: _measured(pair.of_families, found[number][0]) for number, pair in enumerate(pairs) if len(pair.families) > 1
    }
    limits = dict(zip(several, corrected_seed_sds(list(several.values()), ALPHA), strict=True))
    return [
        AnotherRun(
            runs=runs,
            interval=one.interval if one else None,
            p=max(other.p, adjusted[number]) if one else None,
            p_crossed=one.p if one else None,
            df=one.df if one else None,
            source=one.source if one else None,
            p_equivalent=max(other.p_equivalent, equivalent[number]) if one and other.p_equivalent is not None else None,
            overturned_by=limits.get(number),
            overturned_alone=_alone(several[number]) if number in several else None,
        )
        for number, (other, (runs, one)) in enumerate(zip(others, found, strict=True))
    ]


def _measured(units: np.ndarray, runs: tuple[int, int]) -> Measured:
    return Measured(float(units.mean()), float(units.std(ddof=1) / np.sqrt(len(units))), len(units) - 1, runs)


def _alone(test: Measured) -> float:
    return overturning_seed_sd(test.mean, test.error, test.df, test.runs)


def as_published(pairs: Sequence[Pair], tasks: Sequence[str], seed: int = 0) -> list[AsPublished]:
    """Return the tests by task of each comparison; `p_holm_table` is `p_holm` until the other categories are known."""
    effects = [describe(list(pair.differences.values())) for pair in pairs]
    holms = holm([effect.p_wilcoxon for effect in effects])
    of_mean = step_down_max_t(_by_task(pairs, tasks, lambda values: values), seed)
    of_ranks = step_down_max_t(_by_task(pairs, tasks, pratt_ranks), seed)
    return [
        AsPublished(
            p=effect.p_wilcoxon,
            p_holm=holms[n],
            p_holm_table=holms[n],
            p_floor=effect.p_floor,
            p_by_family=sign_flip(_family_ranks(pairs[n]), seed),
            p_max_t=of_mean[n],
            p_max_t_ranks=of_ranks[n],
        )
        for n, effect in enumerate(effects)
    ]


def _family_ranks(pair: Pair) -> np.ndarray:
    """Return the sum of each family's signed ranks, ranked over tasks, ``(families,)``."""
    ranks = dict(zip(pair.differences, pratt_ranks(np.array(list(pair.differences.values()))), strict=True))
    return np.array([sum(ranks[task] for task in tasks) for tasks in pair.families])


def _by_task(pairs: Sequence[Pair], tasks: Sequence[str], change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    matrix = np.zeros((len(pairs), len(tasks)))
    for row, pair in zip(matrix, pairs, strict=True):
        row[[tasks.index(task) for task in pair.differences]] = change(np.array(list(pair.differences.values())))
    return matrix


def sensitivities(counted: Sequence[Counted], families: Families, seed: int = 0) -> list[Sensitivity | None]:
    """Return each comparison with failed runs counted as losses; None where none failed, or nothing is there to compare."""
    if not any(one.failed for one in counted):
        return [None] * len(counted)
    pairs = [one.pair for one in counted]
    every = families.group(dict.fromkeys(task for pair in pairs for task in pair.differences))
    joint = step_down_max_t(family_matrix(pairs, every), seed)
    return [
        Sensitivity(
            one.failed_a,
            one.failed_b,
            float(np.mean(list(one.pair.differences.values()))),
            float(one.pair.of_families.mean()),
            p,
            one.shares,
        )
        if one.failed and one.pair.differences
        else None
        for one, p in zip(counted, joint, strict=True)
    ]


def mark_of(these: TheseTasks | None, other: OtherTasks, run: AnotherRun, counted: int) -> str:
    """Return ``**``, ``*``, ``o`` or nothing.

    Where runs were repeated, a star needs claim C as well, so that it speaks of designs; with one run it speaks of
    checkpoints and is shown so.
    """
    p = other.p if run.p is None else run.p
    if other.decidable and p <= ALPHA:
        return "**" if counted * p <= ALPHA else "*"
    return "o" if these is not None and these.p_adjusted <= ALPHA else ""
