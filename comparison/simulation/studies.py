"""Made-up studies with the structure of real ones, and the marks that the command's functions give them.

Five designs, the paper's numbers of tasks with families of related ones; a score is

    task + design + design x task (correlated within a family) + run (shared by all tasks) + run x task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from comparison.claims.outcome import ALPHA, AnotherRun, OtherTasks
from comparison.claims.overall import CategoryPart, compare_overall
from comparison.claims.pairs import Pair, Sides, choose_pairs, make_pair
from comparison.claims.runs import runs_of
from comparison.claims.three_claims import another_run, mark_of, other_tasks
from comparison.reading.families import Families, parse_families
from comparison.reading.table import Table
from comparison.simulation.worlds import MARGIN, Structure, World, draw
from comparison.stats.multiple import reachable


@dataclass(frozen=True)
class Study:
    """One made-up study.

    Attributes:
        table: its scores.
        checkpoints: of each design, by how much its runs moved the mean score, averaged over them.
    """

    table: Table
    checkpoints: dict[str, float]


def task_names(sizes: Sequence[int], category: str) -> list[str]:
    """Return a name for each task of the families."""
    return [f"{category}{number}" for number in range(sum(sizes))]


def map_of(structure: Structure) -> Families:
    """Return the map of families that the comparison reads."""
    content = {}
    for category, (sizes, _, _) in structure.items():
        names = iter(task_names(sizes, category))
        content[category] = [list(islice(names, size)) for size in sizes]
    return parse_families(content)


def simulate_table(world: World, generator: np.random.Generator) -> Table:
    """Return one study's scores."""
    return simulate_study(world, generator).table


def simulate_study(world: World, generator: np.random.Generator) -> Study:
    """Return one study: its scores, and what its runs happened to be."""
    designs, count = world.designs, len(world.designs)
    table = Table(designs, dict(zip(designs, world.runs, strict=True)), [])
    moves = []  # each checkpoint moves all its tasks
    for runs, sd in zip(world.runs, world.run_sds, strict=True):
        moves.append(sd * draw(world.run_noise, generator, (runs, 1)))
    for category, (sizes, correlation, sd) in world.families.items():
        tasks = task_names(sizes, category)
        table.categories[category] = tasks
        shared = np.repeat(draw(world.noise, generator, (count, len(sizes))), sizes, axis=1)
        own = draw(world.noise, generator, (count, len(tasks)))
        crossing = sd * world.spread[:, None] * (np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own)
        if world.spread_of_tasks:
            crossing *= np.exp(world.spread_of_tasks * generator.normal(size=len(tasks)))
        level = generator.uniform(*world.level, len(tasks))
        for number, design in enumerate(designs):
            left = world.run_sds[number] * generator.normal(size=(world.runs[number], len(tasks)))
            scores = level + world.effects[category][number] + crossing[number] + moves[number] + left
            if world.digits is not None:
                scores = scores.round(world.digits)
            for task, column in zip(tasks, np.minimum(scores, 1.0).T, strict=True):
                if not world.missing or generator.random() >= world.missing:
                    table.scores[design, task] = column
    means = [float(np.mean(of_design)) for of_design in moves]
    return Study(table, dict(zip(designs, means, strict=True)))


@dataclass(frozen=True)
class Judged:
    """One comparison of one simulated study, judged by the command's functions."""

    pair: Pair
    other: OtherTasks
    run: AnotherRun
    mark: str = ""

    @property
    def of_model5(self) -> bool:
        """True for model5 with model1."""
        return {self.pair.a, self.pair.b} == {"model1", "model5"}


def judge(table: Table, families: Families, baseline: str | None) -> dict[str, list[Judged]]:
    """Return every comparison with its mark, by category."""
    drafts: dict[str, list[Judged]] = {}
    floors = []
    for category, tasks in table.categories.items():
        pairs = [make_pair(table, tasks, families, names) for names in choose_pairs(table.systems, baseline)]
        others = other_tasks(pairs, families.group(tasks), MARGIN)
        runs = another_run(table, pairs, others, MARGIN)
        drafts[category] = list(map(Judged, pairs, others, runs))
        floors.append(min(other.p_floor for other in others))
    counted = reachable(floors, ALPHA)
    judged = {}
    for category, comparisons in drafts.items():
        judged[category] = [replace(draft, mark=mark_of(None, draft.other, draft.run, counted)) for draft in comparisons]
    return judged


def overall_marks(table: Table, judged: Mapping[str, Sequence[Judged]]) -> list[bool]:
    """Return for each comparison over all categories, whether it is marked."""
    parts: dict[tuple[str, str], dict[str, CategoryPart]] = {}
    families = {}
    for category, comparisons in judged.items():
        families[category] = comparisons[0].pair.families
        for comparison in comparisons:
            pair = comparison.pair
            means = {}
            for tasks, mean in zip(pair.families, pair.of_families, strict=True):
                means[tasks[0]] = float(mean)
            parts.setdefault((pair.a, pair.b), {})[category] = CategoryPart(means, 0.0)
    runs = {(a, b): runs_of(table, Sides((a,), (b,)), families) for a, b in parts}
    marks = []
    for overall in compare_overall(parts, runs):
        p = overall.p if overall.p_run is None else overall.p_run
        marks.append(p <= ALPHA)
    return marks
