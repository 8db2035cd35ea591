"""Count over many made-up studies: wrong marks, wrong equivalence, and intervals that hold the truth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np

from comparison.claims.outcome import ALPHA, OtherTasks, is_equivalent
from comparison.claims.overall import over_families
from comparison.claims.pairs import Pair, Sides, make_pair
from comparison.claims.runs import runs_of
from comparison.claims.three_claims import another_run, other_tasks
from comparison.reading.families import Families
from comparison.reading.table import Table
from comparison.simulation.studies import judge, map_of, overall_marks, simulate_table
from comparison.simulation.worlds import ALIKE, CATEGORIES, MARGIN, World, draw
from comparison.stats.crossed import crossed_mean
from comparison.stats.effects import Interval, new_task_interval, t_interval
from comparison.stats.exact import hodges_lehmann_interval


def share_with_marks(world: World, baseline: str | None, repetitions: int, seed: int) -> dict[str, float]:
    """Return the share of studies with at least one star, by category, in the whole table, overall, and for model5."""
    generator, families, counts = np.random.default_rng(seed), map_of(world.assumed), Counter[str]()
    for _ in range(repetitions):
        table = simulate_table(world, generator)
        judged = judge(table, families, baseline)
        marks_of_table: set[str] = set()
        for category, comparisons in judged.items():
            marks = {comparison.mark for comparison in comparisons}
            counts[category] += any(marks)
            counts[f"model5 {category}"] += any(comparison.mark and comparison.of_model5 for comparison in comparisons)
            marks_of_table |= marks
        counts["** in the table"] += "**" in marks_of_table
        counts["overall"] += any(overall_marks(table, judged))
    return {name: count / repetitions for name, count in counts.items()}


def share_equivalent(
    repetitions: int, seed: int, runs: int = 1, run_sd: float = 0.0, over_runs: bool = True
) -> dict[str, float]:
    """Return the share of studies with a wrong "equivalent": every design exactly the margin away from model1.

    Args:
        repetitions: studies.
        seed: of everything random.
        runs: of each design.
        run_sd: of a run's mean score.
        over_runs: where runs are repeated, test equivalence over runs too, as the command does.
    """
    edge = dict.fromkeys(CATEGORIES, (0.0, MARGIN, -MARGIN, MARGIN, -MARGIN))
    world = World("", effects=edge, families=ALIKE, runs=(runs,) * 5, run_sd=run_sd)
    generator, families, counts = np.random.default_rng(seed), map_of(CATEGORIES), Counter[str]()
    for _ in range(repetitions):
        for category, comparisons in judge(simulate_table(world, generator), families, "model1").items():
            for comparison in comparisons:
                if over_runs:
                    equivalent = is_equivalent(comparison.other, comparison.run)
                else:
                    equivalent = is_equivalent_over_families(comparison.other)
                if equivalent:
                    counts[category] += 1
                    break
    return {category: counts[category] / repetitions for category in CATEGORIES}


def is_equivalent_over_families(other: OtherTasks) -> bool:
    """Return whether families alone show a difference to be within the margin."""
    return other.p_equivalent is not None and other.p_equivalent <= ALPHA


Truths = dict[str, tuple[Interval | None, float]]  # kind of interval -> the interval, and the value that it should hold


def coverage(world: World, repetitions: int, seed: int) -> dict[tuple[str, str], float]:
    """Return the share of intervals with the truth in them, for model5 - model1, by kind and category."""
    generator, families = np.random.default_rng(seed), map_of(CATEGORIES)
    hits: dict[tuple[str, str], list[bool]] = {}
    for _ in range(repetitions):
        table = simulate_table(world, generator)
        pairs = {}
        for category, tasks in table.categories.items():
            pair = make_pair(table, tasks, families, ("model5", "model1"))
            pairs[category] = pair
            intervals = _over_families(world, category, pair, generator)
            if max(world.runs) > 1:
                intervals = _over_runs(world, category, pair, table, families)
            _count_hits(hits, category, intervals)
        _count_hits(hits, "overall", _over_categories(world, pairs, table))
    return {key: float(np.mean(of_key)) for key, of_key in hits.items()}


def _count_hits(hits: dict[tuple[str, str], list[bool]], category: str, intervals: Truths) -> None:
    for kind, (interval, truth) in intervals.items():
        if interval is not None:
            hits.setdefault((kind, category), []).append(interval.low <= truth <= interval.high)


def _true_difference(world: World, category: str) -> float:
    """Return the effect of model5 less that of model1."""
    return world.effects[category][4] - world.effects[category][0]


def _over_families(world: World, category: str, pair: Pair, generator: np.random.Generator) -> Truths:
    """Return the intervals of a study without repeated runs; for the new task, a task is drawn."""
    truth = _true_difference(world, category)
    sd = world.families[category][2]
    new = truth + sd * np.diff(world.spread[:2] * draw(world.noise, generator, 2))[0]
    new += world.run_sds[0] * np.diff(generator.normal(size=2))[0]
    exact = hodges_lehmann_interval(pair.of_families, 0.95)
    return {
        "mean over families, t": (t_of(pair.of_families), truth),
        "Hodges-Lehmann over families": (exact and Interval(*exact), truth),
        "new task": (new_task_interval(pair.by_family), new),
        "AS IF INDEPENDENT: mean over tasks, t": (t_of(pair.values), truth),
    }


def _over_runs(world: World, category: str, pair: Pair, table: Table, families: Families) -> Truths:
    others = other_tasks([pair], families.group(table.categories[category]), MARGIN)
    (claim,) = another_run(table, [pair], others, MARGIN)
    return {"families and runs": (claim.interval, _true_difference(world, category))}


def _over_categories(world: World, pairs: Mapping[str, Pair], table: Table) -> Truths:
    strata, families, truths = [], {}, []
    for category, pair in pairs.items():
        strata.append(pair.of_families)
        families[category] = pair.families
        truths.append(_true_difference(world, category))
    runs = runs_of(table, Sides(("model5",), ("model1",)), families)
    truth = float(np.mean(truths))
    crossing = crossed_mean(strata, runs.parts)
    if crossing is None:
        return {"mean over families, t": (over_families(strata), truth)}
    return {"families and runs": (crossing.interval, truth)}


def t_of(values: np.ndarray) -> Interval:
    """Return Student's t interval of the mean of ``(units,)``."""
    return t_interval(float(values.mean()), float(values.std(ddof=1) / np.sqrt(values.size)), values.size - 1)
