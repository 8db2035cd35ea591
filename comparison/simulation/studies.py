"""Made-up studies with the structure of real ones, and the marks that the command's functions give them.

Five designs, the paper's numbers of tasks with families of related ones; a score is

    task + design + design x task (correlated within a family) + run (shared by all tasks) + run x task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

import numpy as np

from comparison.claims.outcome import ALPHA, AnotherRun, OtherTasks
from comparison.claims.overall import CategoryPart, compare_overall, runs_of
from comparison.claims.pairs import Pair, choose_pairs, make_pair
from comparison.claims.three_claims import another_run, mark_of, other_tasks
from comparison.reading.families import Families, parse_families
from comparison.reading.table import Table
from comparison.stats.multiple import reachable

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
    """The truth behind simulated studies.

    Attributes:
        name: shown in the table.
        effects: of each design, by category.
        runs: of each design.
        run_sd: of a run's mean score, shared by all its tasks.
        noise: ``normal``, ``skewed``, ``heavy``, or ``lopsided``, where the first design varies less than the others.
        families: category -> families as they are.
        assumed: category -> families as the comparison's map has them.
    """

    name: str
    effects: Mapping[str, Sequence[float]] = field(default_factory=lambda: NULL)
    runs: tuple[int, ...] = (1,) * 5
    run_sd: float = 0.0
    noise: str = "normal"
    families: Structure = field(default_factory=lambda: CATEGORIES)
    assumed: Structure = field(default_factory=lambda: CATEGORIES)

    @property
    def spread(self) -> np.ndarray:
        """Standard deviation of each design's part of a difference with variance 1, ``(designs,)``.

        Exchangeable designs have symmetric differences; lopsided ones do not.
        """
        if self.noise == "lopsided":
            return np.array([0.2, *[0.98] * (len(DESIGNS) - 1)])
        return np.full(len(DESIGNS), np.sqrt(0.5))

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
    World("five Wikipedia tasks related (.32), the map says so", families=WIKIPEDIA, assumed=WIKIPEDIA),
    World("differences skewed: model1 alike on all tasks, the others exponential", noise="lopsided"),
    World("one run each, seed sd .006, read as a claim about designs", run_sd=0.006),
]
POWER = [
    World("paper's effects, one run each", effects=PAPER),
    World("paper's effects, three runs each, seed sd .003", effects=PAPER, runs=(3,) * 5, run_sd=0.003),
    World("paper's effects, three runs each, seed sd .006", effects=PAPER, runs=(3,) * 5, run_sd=0.006),
]


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
    table = Table(DESIGNS, dict(zip(DESIGNS, world.runs, strict=True)), [])
    checkpoints = []  # each moves all its tasks
    for runs in world.runs:
        checkpoints.append(world.run_sd * generator.normal(size=(runs, 1)))
    for category, (sizes, correlation, sd) in world.families.items():
        tasks = task_names(sizes, category)
        table.categories[category] = tasks
        shared = np.repeat(world.draw(generator, (len(DESIGNS), len(sizes))), sizes, axis=1)
        own = world.draw(generator, (len(DESIGNS), len(tasks)))
        crossing = sd * world.spread[:, None] * (np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own)
        level = generator.uniform(0.3, 0.9, len(tasks))
        for number, design in enumerate(DESIGNS):
            left = world.run_sd * generator.normal(size=(world.runs[number], len(tasks)))
            scores = level + world.effects[category][number] + crossing[number] + checkpoints[number] + left
            for task, column in zip(tasks, scores.T, strict=True):
                table.scores[design, task] = column
    return table


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
    runs = {names: runs_of(table, names, families) for names in parts}
    marks = []
    for overall in compare_overall(parts, runs):
        p = overall.p if overall.p_run is None else overall.p_run
        marks.append(p <= ALPHA)
    return marks
