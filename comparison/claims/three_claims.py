"""Make the three claims for the comparisons of one category, which are one family of tests.

A, these tasks: t over items. B, other tasks: sign flips by family, step-down max-T over the comparisons. C, another run: t over
families and runs together. `comparison/claims/outcome.py` describes the results.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache, partial

import numpy as np

from comparison.claims.outcome import ALPHA, FEWEST_FAMILIES, AnotherRun, AsPublished, OtherTasks, Sensitivity, TheseTasks
from comparison.claims.pairs import Counted, Pair, family_matrix
from comparison.claims.results import noisy_runs
from comparison.claims.runs import difference_parts, trained_runs
from comparison.reading.families import Families
from comparison.reading.table import Table
from comparison.stats.crossed import Crossed, crossed
from comparison.stats.effects import CONFIDENCE, Effect, combine, new_task_interval, t_interval, t_test
from comparison.stats.equivalence import equivalence
from comparison.stats.exact import floor, of_one_size, pratt_ranks, sign_flips
from comparison.stats.multiple import holm, step_down_max_t
from comparison.stats.seeds import Measured, corrected_seed_sds, overturning_seed_sd
from comparison.stats.simultaneous import cut_at_zero, hull, max_t_intervals
from comparison.stats.within import Within


def these_tasks(evidence: Sequence[Mapping[str, Within]], runs: Sequence[tuple[float, float]]) -> list[TheseTasks | None]:
    """Return claim A of each comparison; None without item scores.

    Of T tasks with differences d and errors e it is the mean of d; its error is sqrt(sum(e²)) / T, since tasks have
    different items, with Satterthwaite's degrees of freedom. Holm's correction is over the comparisons, and for single
    tasks over all of their tests.

    Args:
        evidence: of each comparison, the result within each of its tasks.
        runs: of each comparison's two systems; infinite for a model as it is.
    """
    tests: dict[int, Measured] = {}
    p_values: dict[int, float] = {}
    for number, tasks in enumerate(evidence):
        if tasks:
            test = _mean_of_tasks(tasks, runs[number])
            tests[number] = test
            p_values[number] = t_test(test.mean, test.error, test.df)
    adjusted, limits = holm_by_number(p_values), _tipping_sds(tests)
    p_tasks = _adjusted_by_task(evidence)
    claims: list[TheseTasks | None] = [None] * len(evidence)
    for number, test in tests.items():
        together = t_interval(test.mean, test.error, test.df, 1 - ALPHA / len(tests))
        claims[number] = TheseTasks(
            tasks=dict(evidence[number]),
            mean=test.mean,
            interval=t_interval(test.mean, test.error, test.df),
            p=p_values[number],
            p_adjusted=adjusted[number],
            p_tasks=p_tasks[number],
            overturned_by=limits[number],
            overturned_alone=_tipping_sd_alone(test),
            simultaneous=cut_at_zero(replace(together, confidence=CONFIDENCE), test.mean, adjusted[number]),
        )
    return claims


def _mean_of_tasks(tasks: Mapping[str, Within], runs: tuple[float, float]) -> Measured:
    differences: list[float] = []
    parts: list[tuple[float, float]] = []
    for within in tasks.values():
        differences.append(within.difference)
        parts.append(((within.error / len(tasks)) ** 2, within.df))
    error, df = combine(parts)
    return Measured(float(np.mean(differences)), error, df, runs)


def _adjusted_by_task(evidence: Sequence[Mapping[str, Within]]) -> list[dict[str, float]]:
    """Return Holm's p-values of single tasks, corrected over all tasks of all comparisons."""
    raw: dict[tuple[int, str], float] = {}
    for number, tasks in enumerate(evidence):
        for task, within in tasks.items():
            raw[number, task] = within.p
    adjusted: list[dict[str, float]] = [{} for _ in evidence]
    for (number, task), p in zip(raw, holm(list(raw.values())), strict=True):
        adjusted[number][task] = p
    return adjusted


def other_tasks(pairs: Sequence[Pair], families: Sequence[Sequence[str]], margin: float, seed: int = 0) -> list[OtherTasks]:
    """Return claim B of each comparison, not yet adjusted for the whole table (`p_table` is `p`).

    Args:
        pairs: the comparisons, each with at least one common task.
        families: of all tasks of the category.
        margin: of equivalence.
        seed: of random flips.
    """
    matrix = family_matrix(pairs, families)
    joint = step_down_max_t(matrix, seed)
    intervals = max_t_intervals(matrix, _has_family(pairs, families), joint, seed)
    decidable = {number: pair.of_families for number, pair in enumerate(pairs) if len(pair.families) >= FEWEST_FAMILIES}
    names = {number: (pairs[number].a, pairs[number].b) for number in decidable}
    against_margin = equivalence(decidable, margin, seed, names)
    p_equivalent = holm_by_number({number: test.p for number, test in against_margin.items()})
    claims = []
    alone = sign_flips([pair.of_families for pair in pairs], seed)
    for number, pair in enumerate(pairs):
        claim = OtherTasks(
            families=len(pair.families),
            p=joint[number],
            p_alone=alone[number],
            p_floor=floor(len(pair.families)),
            p_table=joint[number],
            new_task=new_task_interval(pair.by_family),
            p_equivalent=p_equivalent.get(number),
        )
        if number in decidable:
            claim = replace(claim, skewed=against_margin[number].skewed, simultaneous=intervals[number])
        claims.append(claim)
    return claims


def _has_family(pairs: Sequence[Pair], families: Sequence[Sequence[str]]) -> np.ndarray:
    """Return 1 where a pair has a task of a family, else 0, ``(pairs, families)``."""
    has = np.zeros((len(pairs), len(families)))
    for row, pair in zip(has, pairs, strict=True):
        for column, tasks in enumerate(families):
            row[column] = not pair.differences.keys().isdisjoint(tasks)
    return has


def another_run(table: Table, pairs: Sequence[Pair], others: Sequence[OtherTasks], margin: float) -> list[AnotherRun]:
    """Return claim C of each comparison: p is the larger of claim B's and Holm's crossed test; the same for equivalence.

    Where one of the two was trained once it says only how large seed noise would have to be to overturn the result.
    """
    runs, tests = cross_with_runs(table, pairs)
    adjusted = holm_by_number({number: test.p for number, test in tests.items()})
    equivalent = holm_by_number({number: test.joint.within_p(test.mean, margin) for number, test in tests.items()})
    without_runs: dict[int, Measured] = {}
    for number, pair in enumerate(pairs):
        if len(pair.families) > 1:
            averaged = noisy_runs(runs[number], _as_they_are(table, pair))
            without_runs[number] = _mean_of_families(pair.of_families, averaged)
    limits = _tipping_sds(without_runs)
    claims = []
    for number, (pair, other) in enumerate(zip(pairs, others, strict=True)):
        claim = AnotherRun(
            runs=runs[number],
            interval=None,
            p=None,
            p_crossed=None,
            df=None,
            source=None,
            p_equivalent=None,
            overturned_by=limits.get(number),
            overturned_alone=None,
            as_it_is=_as_they_are(table, pair),
        )
        if number in without_runs:
            claim = replace(claim, overturned_alone=_tipping_sd_alone(without_runs[number]))
        if number in tests:
            claim = _with_runs(claim, other, tests[number], adjusted[number], len(tests))
            if other.p_equivalent is not None:
                claim = replace(claim, p_equivalent=max(other.p_equivalent, equivalent[number]))
        claims.append(claim)
    return claims


def _as_they_are(table: Table, pair: Pair) -> tuple[bool, bool]:
    return pair.a in table.as_they_are, pair.b in table.as_they_are


def _with_runs(claim: AnotherRun, other: OtherTasks, test: Crossed, p_holm: float, tests: int) -> AnotherRun:
    """Add the crossed test; its simultaneous interval has Bonferroni's confidence, and zero at its end where Holm rejects."""
    corrected = test.joint.interval(test.mean, 1 - ALPHA / tests)
    simultaneous = cut_at_zero(replace(corrected, confidence=CONFIDENCE), test.mean, p_holm)
    return replace(
        claim,
        interval=test.interval,
        p=max(other.p, p_holm),
        p_crossed=test.p,
        df=test.joint.df,
        source="own",
        simultaneous=hull(simultaneous, other.simultaneous),
    )


def cross_with_runs(table: Table, pairs: Sequence[Pair]) -> tuple[list[tuple[int, int]], dict[int, Crossed]]:
    """Return the runs of each comparison, and by its number the crossed test where the variance over runs is known."""
    runs_of = cache(partial(trained_runs, table))
    counts: list[tuple[int, int]] = []
    tests: dict[int, Crossed] = {}
    for number, pair in enumerate(pairs):
        families = tuple(map(tuple, pair.families))
        runs = {system: runs_of(system, families) for system in pair.sides.systems}
        first = min(runs[system].runs for system in pair.sides.first)
        second = min(runs[system].runs for system in pair.sides.second)
        counts.append((first, second))
        test = crossed(pair.of_families, difference_parts(pair.sides, runs))
        if test is not None:
            tests[number] = test
    return counts, tests


def holm_by_number(p_values: Mapping[int, float]) -> dict[int, float]:
    """Return Holm's p-values under the same numbers."""
    return dict(zip(p_values, holm(list(p_values.values())), strict=True))


def _tipping_sds(tests: Mapping[int, Measured]) -> dict[int, float]:
    """Return tipping points with Holm's correction under the same numbers."""
    return dict(zip(tests, corrected_seed_sds(list(tests.values()), ALPHA), strict=True))


def _tipping_sd_alone(test: Measured) -> float:
    return overturning_seed_sd(test.mean, test.error, test.df, test.runs)


def _mean_of_families(units: np.ndarray, runs: tuple[float, float]) -> Measured:
    return Measured(float(units.mean()), float(units.std(ddof=1) / np.sqrt(len(units))), len(units) - 1, runs)


def as_published(pairs: Sequence[Pair], effects: Sequence[Effect], tasks: Sequence[str], seed: int = 0) -> list[AsPublished]:
    """Return the tests by task of each comparison; `p_holm_table` is `p_holm` until the other categories are known.

    Args:
        pairs: the comparisons.
        effects: of each, over its tasks.
        tasks: of the category.
        seed: of random flips.
    """
    p_holm = holm([effect.p_wilcoxon for effect in effects])
    ranks = _ranks(pairs)
    p_max_t = step_down_max_t(_by_task(pairs, tasks, [pair.values for pair in pairs]), seed)
    p_max_t_ranks = step_down_max_t(_by_task(pairs, tasks, ranks), seed)
    by_family = sign_flips(list(map(_family_ranks, pairs, ranks)), seed)
    claims = []
    for number, effect in enumerate(effects):
        claim = AsPublished(
            p=effect.p_wilcoxon,
            p_holm=p_holm[number],
            p_holm_table=p_holm[number],
            p_floor=effect.p_floor,
            p_by_family=by_family[number],
            p_max_t=p_max_t[number],
            p_max_t_ranks=p_max_t_ranks[number],
        )
        claims.append(claim)
    return claims


def _ranks(pairs: Sequence[Pair]) -> list[np.ndarray]:
    """Return the signed ranks of each pair's differences, ``(tasks,)`` each."""
    ranks: list[np.ndarray] = [np.empty(0)] * len(pairs)
    for numbers, rows in of_one_size([pair.values for pair in pairs]):
        for number, of_pair in zip(numbers, pratt_ranks(rows), strict=True):
            ranks[number] = of_pair
    return ranks


def _family_ranks(pair: Pair, ranks: np.ndarray) -> np.ndarray:
    """Return the sum of each family's signed ranks, ``(families,)``."""
    by_task = dict(zip(pair.differences, ranks.tolist(), strict=True))
    sums = []
    for tasks in pair.families:
        sums.append(sum(map(by_task.__getitem__, tasks)))
    return np.array(sums)


def _by_task(pairs: Sequence[Pair], tasks: Sequence[str], values: Sequence[np.ndarray]) -> np.ndarray:
    """Return each pair's values ``(pairs, tasks)``, 0 where it lacks a task."""
    matrix = np.zeros((len(pairs), len(tasks)))
    columns = {task: column for column, task in enumerate(tasks)}
    for row, pair, of_pair in zip(matrix, pairs, values, strict=True):
        row[[columns[task] for task in pair.differences]] = of_pair
    return matrix


def sensitivities(counted: Sequence[Counted], families: Families, seed: int = 0) -> list[Sensitivity | None]:
    """Return each comparison with failed runs counted as losses; None where none failed, or nothing is there to compare."""
    results: list[Sensitivity | None] = [None] * len(counted)
    pairs: list[Pair] = []
    tasks: dict[str, None] = {}
    failed = 0
    for comparison in counted:
        pairs.append(comparison.pair)
        tasks |= dict.fromkeys(comparison.pair.differences)
        failed += comparison.failed
    if not failed:
        return results
    joint = step_down_max_t(family_matrix(pairs, families.group(tasks)), seed)
    for number, comparison in enumerate(counted):
        pair = comparison.pair
        if comparison.failed and pair.differences:
            results[number] = Sensitivity(
                failed_a=comparison.failed_a,
                failed_b=comparison.failed_b,
                mean=float(np.mean(pair.values)),
                mean_families=float(pair.of_families.mean()),
                p=joint[number],
                shares=comparison.shares,
                absent=comparison.absent,
            )
    return results


def mark_of(these: TheseTasks | None, other: OtherTasks, run: AnotherRun, counted: int) -> str:
    """Return ``**`` (claimed over a table of `counted` categories), ``*`` (in its category), ``o`` (these tasks) or nothing.

    Where runs were repeated, a star needs claim C as well, so that it speaks of designs; with one run it speaks of
    checkpoints and is shown so.
    """
    p = other.p if run.p is None else run.p
    if other.decidable and p <= ALPHA:
        return "**" if counted * p <= ALPHA else "*"
    if these is not None and these.p_adjusted <= ALPHA:
        return "o"
    return ""
