"""Simulated studies with the structure of real ones: how often marks are wrong, how often effects are found, what covers.

``python -m comparison.simulate --repetitions 1000`` prints the tables of docs/statistics.md (half an hour, one thread).

Five designs, the paper's numbers of tasks with families of related ones; a score is

    task + design + design x task (correlated within a family) + run (shared by all tasks) + run x task.

Every repetition goes through the functions that the command uses, from differences to marks.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from comparison.claims.outcome import ALPHA, AnotherRun, OtherTasks, is_equivalent
from comparison.claims.overall import Part, compare_overall, over_families, runs_of
from comparison.claims.pairs import Pair, choose_pairs, make_pair
from comparison.claims.three_claims import another_run, mark_of, other_tasks
from comparison.reading.families import Families, parse_families
from comparison.reading.table import Table
from comparison.simulate_items import coverage_within, print_within
from comparison.stats.effects import Interval, new_task_interval, t_interval
from comparison.stats.exact import hodges_lehmann_interval
from comparison.stats.multiple import reachable
from comparison.stats.seeds import crossed_mean

DESIGNS = ("model1", "model2", "model3", "model4", "model5")
# category -> sizes of its families, correlation inside a family, sd of a difference of two designs over tasks
Structure = Mapping[str, tuple[list[int], float, float]]
CATEGORIES: Structure = {
    "STS": ([6, 1, 1], 0.5, 0.012),
    "Retrieval": ([2, *[1] * 12], 0.5, 0.030),
    "Classification": ([2, 1, 1, 1, 1], 0.9, 0.030),
    "Clustering": ([2, 2, 2, 2, 2, 1], 0.5, 0.030),
}
# the paper's differences from model1 (arXiv 2409.02727)
PAPER = {
    "STS": (0.0, 0.0129, 0.0118, 0.0095, 0.0166),
    "Retrieval": (0.0, 0.0102, 0.0135, 0.0213, 0.0226),
    "Classification": (0.0, -0.0035, -0.0033, -0.0483, -0.0143),
    "Clustering": (0.0, -0.0076, -0.0017, -0.0493, -0.0246),
}
NULL = dict.fromkeys(CATEGORIES, (0.0,) * 5)
MARGIN = 0.01


@dataclass(frozen=True)
class World:
    """What is simulated.

    Attributes:
        name: shown in the table.
        effects: of each design, by category.
        runs: of each design.
        run_sd: of a run's mean score, shared by all its tasks.
        noise: ``normal``, ``skewed``, ``heavy``, or ``lopsided``, where the first design varies less than the others.
        families: category -> families as they are.
        told: the families that the comparison knows of.
    """

    name: str
    effects: Mapping[str, Sequence[float]] = field(default_factory=lambda: NULL)
    runs: tuple[int, ...] = (1,) * 5
    run_sd: float = 0.0
    noise: str = "normal"
    families: Structure = field(default_factory=lambda: CATEGORIES)
    told: Structure = field(default_factory=lambda: CATEGORIES)

    def draw(self, generator: np.random.Generator, size: Sequence[int] | int) -> np.ndarray:
        """Return noise of mean 0 and variance 1."""
        if self.noise in ("skewed", "lopsided"):
            return np.asarray(generator.exponential(size=size) - 1.0)
        if self.noise == "heavy":
            return np.asarray(generator.standard_t(3, size=size) / np.sqrt(3.0))
        return np.asarray(generator.normal(size=size))


ALIKE = {name: (sizes, correlation, 0.008) for name, (sizes, correlation, _) in CATEGORIES.items()}
WIKIPEDIA = {**CATEGORIES, "Retrieval": ([5, *[1] * 9], 0.32, 0.030)}
WORLDS = [
    World("one run each, no seed noise"),
    World("the same, skewed", noise="skewed"),
    World("the same, heavy tails (t, 3 df)", noise="heavy"),
    World("three runs each, seed sd .003", runs=(3,) * 5, run_sd=0.003),
    World("three runs each, seed sd .010", runs=(3,) * 5, run_sd=0.010),
    World("two runs each, seed sd .006", runs=(2,) * 5, run_sd=0.006),
    World("three runs of model1, one of the others, seed sd .006", runs=(3, 1, 1, 1, 1), run_sd=0.006),
    World("the same, seed sd .010, over tasks .008", runs=(3, 1, 1, 1, 1), run_sd=0.010, families=ALIKE),
    World("three runs each, seed sd .010, over tasks .008", runs=(3,) * 5, run_sd=0.010, families=ALIKE),
]
BROKEN = [
    World("five Wikipedia tasks related (.32), the map says two", families=WIKIPEDIA),
    World("five Wikipedia tasks related (.32), the map says so", families=WIKIPEDIA, told=WIKIPEDIA),
    World("differences skewed: model1 alike on all tasks, the others exponential", noise="lopsided"),
    World("one run each, seed sd .006, read as a claim about designs", run_sd=0.006),
]
POWER = [
    World("paper's effects, one run each", effects=PAPER),
    World("paper's effects, three runs each, seed sd .003", effects=PAPER, runs=(3,) * 5, run_sd=0.003),
    World("paper's effects, three runs each, seed sd .006", effects=PAPER, runs=(3,) * 5, run_sd=0.006),
]


def task_names(sizes: Sequence[int], category: str) -> list[str]:
    """Return names of as many tasks as the families have."""
    return [f"{category}{number}" for number in range(sum(sizes))]


def told_families(told: Structure) -> Families:
    """Return the map of families that the comparison is given."""
    content = {}
    for category, (sizes, _, _) in told.items():
        names = iter(task_names(sizes, category))
        content[category] = [[next(names) for _ in range(size)] for size in sizes]
    return parse_families(content)


def simulate_table(world: World, generator: np.random.Generator) -> Table:
    """Return one study's scores."""
    table = Table(DESIGNS, dict(zip(DESIGNS, world.runs, strict=True)), [])
    checkpoints = [world.run_sd * generator.normal(size=(runs, 1)) for runs in world.runs]  # each moves all its tasks
    for category, (sizes, correlation, sd) in world.families.items():
        tasks = task_names(sizes, category)
        table.categories[category] = tasks
        shared = np.repeat(world.draw(generator, (len(DESIGNS), len(sizes))), sizes, axis=1)
        own = world.draw(generator, (len(DESIGNS), len(tasks)))
        # exchangeable designs have symmetric differences; lopsided ones do not
        spread = sd * (np.array([[0.2], *[[0.98]] * 4]) if world.noise == "lopsided" else np.sqrt(0.5))
        crossing = spread * (np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own)
        level = generator.uniform(0.3, 0.9, len(tasks))
        for number, design in enumerate(DESIGNS):
            left = world.run_sd * generator.normal(size=(world.runs[number], len(tasks)))
            scores = level + world.effects[category][number] + crossing[number] + checkpoints[number] + left
            table.scores |= {(design, task): scores[:, column] for column, task in enumerate(tasks)}
    return table


@dataclass(frozen=True)
class Judged:
    """One comparison of one simulated study, judged by the command's functions."""

    pair: Pair
    other: OtherTasks
    run: AnotherRun
    mark: str


def judge(table: Table, families: Families, baseline: str | None) -> dict[str, list[Judged]]:
    """Return every comparison with its mark, by category."""
    found = {}
    for category, tasks in table.categories.items():
        pairs = [make_pair(table, tasks, families, names) for names in choose_pairs(table.systems, baseline)]
        others = other_tasks(pairs, families.group(tasks), MARGIN)
        found[category] = list(zip(pairs, others, another_run(table, pairs, others, MARGIN), strict=True))
    counted = reachable([min(other.p_floor for _, other, _ in of_category) for of_category in found.values()], ALPHA)
    return {
        category: [Judged(pair, other, run, mark_of(None, other, run, counted)) for pair, other, run in of_category]
        for category, of_category in found.items()
    }


def overall_marks(table: Table, judged: Mapping[str, Sequence[Judged]]) -> list[bool]:
    """Return whether each comparison over all categories is marked."""
    parts: dict[tuple[str, str], dict[str, Part]] = {}
    families = {category: of_category[0].pair.families for category, of_category in judged.items()}
    for category, of_category in judged.items():
        for one in of_category:
            means = {tasks[0]: float(value) for tasks, value in zip(one.pair.families, one.pair.of_families, strict=True)}
            parts.setdefault((one.pair.a, one.pair.b), {})[category] = Part(means, 0.0)
    found = compare_overall(parts, {names: runs_of(table, names, families) for names in parts})
    return [(one.p if one.p_run is None else one.p_run) <= ALPHA for one in found]


def share_with_marks(world: World, baseline: str | None, repetitions: int, seed: int) -> dict[str, float]:
    """Return the share of studies with at least one star, by category, in the whole table, overall, and for model5."""
    generator, families, counts = np.random.default_rng(seed), told_families(world.told), Counter[str]()
    for _ in range(repetitions):
        table = simulate_table(world, generator)
        judged = judge(table, families, baseline)
        for category, of_category in judged.items():
            counts[category] += any(one.mark for one in of_category)
            counts[f"model5 {category}"] += any(
                one.mark and {one.pair.a, one.pair.b} == {"model1", "model5"} for one in of_category
            )
        counts["** in the table"] += any(one.mark == "**" for of_category in judged.values() for one in of_category)
        counts["overall"] += any(overall_marks(table, judged))
    return {name: count / repetitions for name, count in counts.items()}


EQUIVALENT = [  # name, runs of each design, seed sd, whether claim C is asked as the command does
    ("one run each, no seed noise", 1, 0.0, True),
    ("three runs each, seed sd .003", 3, 0.003, True),
    ("three runs each, seed sd .006", 3, 0.006, True),
    ("three runs each, seed sd .010", 3, 0.010, True),
    ("three runs each, seed sd .006, over families alone", 3, 0.006, False),
]


def share_equivalent(
    repetitions: int, seed: int, runs: int = 1, run_sd: float = 0.0, over_runs: bool = True
) -> dict[str, float]:
    """Return the share of studies with a wrong "equivalent": every design exactly the margin away from model1.

    Args:
        repetitions: studies.
        seed: of everything random.
        runs: of each design.
        run_sd: of a run's mean score.
        over_runs: where runs are repeated, ask for equivalence over runs too, as the command does.
    """
    edge = dict.fromkeys(CATEGORIES, (0.0, MARGIN, -MARGIN, MARGIN, -MARGIN))
    world = World("", effects=edge, families=ALIKE, runs=(runs,) * 5, run_sd=run_sd)
    generator, families, counts = np.random.default_rng(seed), told_families(CATEGORIES), Counter[str]()
    for _ in range(repetitions):
        for category, of_category in judge(simulate_table(world, generator), families, "model1").items():
            of_families = [one.other.p_equivalent is not None and one.other.p_equivalent <= ALPHA for one in of_category]
            counts[category] += any(is_equivalent(one.other, one.run) for one in of_category) if over_runs else any(of_families)
    return {category: counts[category] / repetitions for category in CATEGORIES}


def coverage(world: World, repetitions: int, seed: int) -> dict[tuple[str, str], float]:
    """Return the share of intervals with the truth in them, for model5 - model1, by kind and category."""
    generator, families = np.random.default_rng(seed), told_families(CATEGORIES)
    hits: dict[tuple[str, str], list[bool]] = {}
    for _ in range(repetitions):
        table = simulate_table(world, generator)
        strata, of_pairs = [], {}
        for category, tasks in table.categories.items():
            pair = make_pair(table, tasks, families, ("model5", "model1"))
            truth = world.effects[category][4] - world.effects[category][0]
            spread = np.array([0.2, 0.98]) if world.noise == "lopsided" else np.sqrt(0.5)
            new = truth + world.families[category][2] * np.diff(spread * world.draw(generator, 2))[0]
            new += world.run_sd * np.diff(generator.normal(size=2))[0]
            strata.append(pair.of_families)
            of_pairs[category] = pair.families
            exact = hodges_lehmann_interval(pair.of_families, 0.95)
            found = {
                "mean over families, t": (t_of(pair.of_families), truth),
                "Hodges-Lehmann over families": (exact and Interval(*exact), truth),
                "new task": (new_task_interval([[pair.differences[task] for task in of] for of in pair.families]), new),
                "AS IF INDEPENDENT: mean over tasks, t": (t_of(np.array(list(pair.differences.values()))), truth),
            }
            if max(world.runs) > 1:
                others = other_tasks([pair], families.group(tasks), MARGIN)
                found = {"families and runs": (another_run(table, [pair], others, MARGIN)[0].interval, truth)}
            for kind, (interval, value) in found.items():
                if interval is not None:
                    hits.setdefault((kind, category), []).append(interval.low <= value <= interval.high)
        runs = runs_of(table, ("model5", "model1"), of_pairs)
        crossing = crossed_mean(strata, runs.counts, runs.variances)
        overall = crossing.interval if crossing else over_families(strata)
        truth = float(np.mean([of_category[4] - of_category[0] for of_category in world.effects.values()]))
        if overall is not None:
            kind = "families and runs" if crossing else "mean over families, t"
            hits.setdefault((kind, "overall"), []).append(overall.low <= truth <= overall.high)
    return {key: float(np.mean(of_key)) for key, of_key in hits.items()}


def t_of(values: np.ndarray) -> Interval:
    """Return Student's t interval of the mean of ``(units,)``."""
    return t_interval(float(values.mean()), float(values.std(ddof=1) / np.sqrt(values.size)), values.size - 1)


def print_table(title: str, columns: Sequence[str], rows: Sequence[tuple[str, Mapping[str, float]]]) -> None:
    """Print shares in per cent as a Markdown table; a share that is not there as a dash."""
    print(f"\n{title}\n\n| | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    for name, row in rows:
        cells = [f"{100 * row[column]:.1f}" if column in row else "–" for column in columns]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Print all tables."""
    parser = argparse.ArgumentParser(description="simulate studies and count wrong marks, found effects and coverage")
    parser.add_argument("--repetitions", type=int, default=1000, help="studies in each world (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    count, seed = args.repetitions, args.seed
    columns = [*CATEGORIES, "** in the table", "overall"]
    kinds: list[tuple[str, str | None]] = [("4 with model1", "model1"), ("10 pairs", None)]
    rows = [(f"{world.name}; {kind}", share_with_marks(world, base, count, seed)) for world in WORLDS for kind, base in kinds]
    print_table(f"Studies with at least one wrong star, no design differing, % of {count}", columns, rows)
    rows = [(world.name, share_with_marks(world, "model1", count, seed)) for world in BROKEN]
    print_table("The same where an assumption does not hold, 4 with model1, %", columns, rows)
    rows = [(name, share_equivalent(count, seed, runs, sd, over)) for name, runs, sd, over in EQUIVALENT]
    print_table(
        "Studies with a wrong `equivalent`, every design the margin away, 4 with model1, sd .008, %", list(CATEGORIES), rows
    )
    rows = []
    for world in POWER:
        for kind, base in kinds:
            found = share_with_marks(world, base, count, seed)
            rows.append((f"{world.name}; {kind}", {category: found[f"model5 {category}"] for category in CATEGORIES}))
    print_table("Studies in which model5 - model1 has a star, %", list(CATEGORIES), rows)
    covered: dict[str, dict[str, float]] = {}
    for world in (*WORLDS[:3], BROKEN[2], *WORLDS[4:8]):
        for (kind, category), share in coverage(world, count, seed).items():
            covered.setdefault(f"{kind}; {world.name}", {})[category] = share
    print_table("Intervals with the truth in them, %", [*CATEGORIES, "overall"], list(covered.items()))
    print_within(coverage_within(count, seed), count)
    return 0


if __name__ == "__main__":
    sys.exit(main())
