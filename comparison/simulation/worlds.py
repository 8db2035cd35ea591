"""Truths behind simulated studies: what differs, how scores scatter over tasks and over training runs, what a map knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

DESIGNS = ("model1", "model2", "model3", "model4", "model5")
# category -> sizes of its families, correlation inside a family, sd of a difference of two designs over tasks
Structure = Mapping[str, tuple[list[int], float, float]]
CATEGORIES: Structure = {
    "STS": ([6, 1, 1], 0.5, 0.012),
    "Retrieval": ([2, *[1] * 12], 0.5, 0.030),
    "Classification": ([2, 1, 1, 1, 1], 0.9, 0.030),
    "Clustering": ([2, 2, 2, 2, 2, 1], 0.5, 0.030),
}
# MTEB English with the default map of families: 9 tasks in 4 families, 15 in 14, 12 in 8, 11 in 6
ENGLISH: Structure = {
    "STS": ([6, 1, 1, 1], 0.5, 0.012),
    "Retrieval": ([2, *[1] * 13], 0.5, 0.030),
    "Classification": ([2, 2, 2, 2, 1, 1, 1, 1], 0.5, 0.030),
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
RARE, LARGE = 0.08, 11.0  # share of large values, and how many times larger they are


def with_sd(structure: Structure, sd: float) -> Structure:
    """Return a structure with this standard deviation over tasks in each category."""
    return {name: (sizes, correlation, sd) for name, (sizes, correlation, _) in structure.items()}


@dataclass(frozen=True)
class World:
    """The truth behind simulated studies.

    Attributes:
        name: shown in the table.
        effects: of each design, by category.
        runs: of each design.
        run_sd: of a run's mean score, shared by all its tasks: of all designs, or of each.
        noise: over tasks: ``normal``, ``skewed``, ``heavy``, ``rare``, or ``lopsided``, where the first design varies less.
        run_noise: over runs: ``normal``, ``heavy`` or ``rare``.
        spread_of_tasks: sd of the logarithm of each task's own spread; 0 for tasks that are alike.
        digits: to which scores are rounded; None for all.
        level: mean scores of tasks are drawn between these; scores end at 1.
        missing: chance that a system lacks a task.
        families: category -> families as they are.
        assumed: category -> families as the comparison's map has them.
    """

    name: str
    effects: Mapping[str, Sequence[float]] = field(default_factory=lambda: NULL)
    runs: tuple[int, ...] = (1,) * 5
    run_sd: float | tuple[float, ...] = 0.0
    noise: str = "normal"
    run_noise: str = "normal"
    spread_of_tasks: float = 0.0
    digits: int | None = None
    level: tuple[float, float] = (0.3, 0.9)
    missing: float = 0.0
    families: Structure = field(default_factory=lambda: CATEGORIES)
    assumed: Structure = field(default_factory=lambda: CATEGORIES)

    @property
    def designs(self) -> tuple[str, ...]:
        """Names, model1 first."""
        return tuple(f"model{number}" for number in range(1, len(self.runs) + 1))

    @property
    def run_sds(self) -> tuple[float, ...]:
        """The sd over runs of each design."""
        if isinstance(self.run_sd, tuple):
            return self.run_sd
        return (self.run_sd,) * len(self.runs)

    @property
    def spread(self) -> np.ndarray:
        """Standard deviation of each design's part of a difference with variance 1, ``(designs,)``.

        Exchangeable designs have symmetric differences; lopsided ones do not.
        """
        if self.noise == "lopsided":
            return np.array([0.2, *[0.98] * (len(self.runs) - 1)])
        return np.full(len(self.runs), np.sqrt(0.5))


def draw(noise: str, generator: np.random.Generator, size: Sequence[int] | int) -> np.ndarray:
    """Return noise of a kind with mean 0 and variance 1."""
    if noise in ("skewed", "lopsided"):
        return np.asarray(generator.exponential(size=size) - 1.0)
    if noise == "heavy":
        return np.asarray(generator.standard_t(3, size=size) / np.sqrt(3.0))
    values = generator.normal(size=size)
    if noise == "rare":
        values *= np.where(generator.random(size) < RARE, LARGE, 1.0) / np.sqrt(1 - RARE + RARE * LARGE**2)
    return np.asarray(values)


ALIKE = with_sd(CATEGORIES, 0.008)
WIKIPEDIA = {**CATEGORIES, "Retrieval": ([5, *[1] * 9], 0.32, 0.030)}
WORLDS = [
    World("one run each, no seed noise"),
    World("the same, skewed", noise="skewed"),
    World("the same, heavy tails (t, 3 df)", noise="heavy"),
    World("three runs each, seed sd .003", runs=(3,) * 5, run_sd=0.003),
    World("three runs each, seed sd .010", runs=(3,) * 5, run_sd=0.010),
    World("two runs each, seed sd .006", runs=(2,) * 5, run_sd=0.006),
    World("three runs each, seed sd .010, over tasks .008", runs=(3,) * 5, run_sd=0.010, families=ALIKE),
]
# A design that was trained once is a checkpoint, whatever the others are: its marks claim nothing about designs.
BROKEN = [
    World("five Wikipedia tasks related (.32), the map says two", families=WIKIPEDIA),
    World("five Wikipedia tasks related (.32), the map says so", families=WIKIPEDIA, assumed=WIKIPEDIA),
    World("differences skewed: model1 alike on all tasks, the others exponential", noise="lopsided"),
    World(
        "three runs of model1, one of the others, seed sd .006, read as a claim about designs",
        runs=(3, 1, 1, 1, 1),
        run_sd=0.006,
    ),
    World("one run each, seed sd .006, read as a claim about designs", run_sd=0.006),
]
POWER = [
    World("paper's effects, one run each", effects=PAPER),
    World("paper's effects, three runs each, seed sd .003", effects=PAPER, runs=(3,) * 5, run_sd=0.003),
    World("paper's effects, three runs each, seed sd .006", effects=PAPER, runs=(3,) * 5, run_sd=0.006),
]
