"""The three claims of one comparison, as plain data: these tasks, other tasks, another run. Differences are a - b."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from comparison.stats.effects import ALPHA, Interval
from comparison.stats.within import Within

FEWEST_FAMILIES = 6  # 2^(1 - 6) = .031 is the first floor below .05


@dataclass(frozen=True)
class TheseTasks:
    """Claim A, tasks fixed: units resampled within each task, task differences averaged.

    Attributes:
        tasks: those with comparable scores item by item, and the result on each.
        mean: mean of their differences.
        interval: 95 %, of the mean.
        simultaneous: the same for all comparisons of the category together: it has no zero in it exactly where `p_adjusted` is
            at most .05.
        p: two-sided, this comparison alone.
        p_adjusted: Holm over the category's comparisons.
        p_tasks: Holm over all tasks x comparisons of the category, by task.
        overturned_by: the sd over runs of a mean score above which `p_adjusted` would not reach .05.
        overturned_alone: the same for this comparison alone.
    """

    tasks: dict[str, Within]
    mean: float
    interval: Interval
    p: float
    p_adjusted: float
    p_tasks: dict[str, float]
    overturned_by: float
    overturned_alone: float
    simultaneous: Interval | None = None


@dataclass(frozen=True)
class WorstGrouping:
    """Claim B if all tasks whose relations are unknown were one family.

    Attributes:
        families: number of independent families then.
        mean: over families.
        p: step-down max-T over the category's comparisons.
    """

    families: int
    mean: float
    p: float


@dataclass(frozen=True)
class OtherTasks:
    """Claim B, tasks as a sample: exact sign flips by family of related tasks.

    Attributes:
        families: number of independent families in the comparison.
        p: step-down max-T over the category's comparisons.
        p_alone: this comparison alone.
        p_floor: smallest p that this number of families can reach.
        p_table: p times the number of categories that could reach it: for a claim over the whole table.
        new_task: where the difference on one new task may fall, 95 %.
        p_equivalent: two one-sided tests over families against the margin, Holm over the comparisons; None below six families.
        unknown: the comparison's tasks that stand in no map and that the user did not declare, so that no claim is made; empty
            where families would be too few even if these tasks were unrelated.
        worst: the answer if these were one family; None without any.
        skewed: whether the differences lean to the side of the margin, so that there is no verdict on equivalence.
        simultaneous: interval of the mean over families that holds for all comparisons of the category together, 95 %: it has
            no zero in it exactly where `p` is at most .05; None below six families.
    """

    families: int
    p: float
    p_alone: float
    p_floor: float
    p_table: float
    new_task: Interval | None
    p_equivalent: float | None
    unknown: list[str] = field(default_factory=list)
    worst: WorstGrouping | None = None
    skewed: bool = False
    simultaneous: Interval | None = None

    @property
    def decidable(self) -> bool:
        """True where all relations of the tasks are known, and this number of families can reach .05 at all."""
        return self.families >= FEWEST_FAMILIES and not self.unknown


@dataclass(frozen=True)
class AnotherRun:
    """Claim C: tasks crossed with training runs.

    Attributes:
        runs: of a and of b.
        interval: 95 %, over families and runs; None where the variance over runs of one of the two is unknown.
        p: the larger of `OtherTasks.p` and Holm's crossed t; None where it is unknown.
        p_crossed: of the crossed t, this comparison alone.
        df: degrees of freedom of the t distribution with the same 97.5 % quantile.
        source: where the variance over runs is from: ``own``, each design's own runs; None if it is unknown.
        p_equivalent: the larger of `OtherTasks.p_equivalent` and Holm's over families and runs; None where it is unknown.
        overturned_by: the sd over runs of a mean score above which Holm's crossed t would not reach .05; None with one family.
        overturned_alone: the same for this comparison alone, uncorrected.
        simultaneous: interval for all comparisons of the category together, 95 %, over families and runs; it has no zero in it
            exactly where `p` is at most .05.
        as_it_is: whether a is a model that nobody trains again, and whether b is.
    """

    runs: tuple[int, int]
    interval: Interval | None
    p: float | None
    p_crossed: float | None
    df: float | None
    source: str | None
    p_equivalent: float | None
    overturned_by: float | None
    overturned_alone: float | None
    simultaneous: Interval | None = None
    as_it_is: tuple[bool, bool] = (False, False)

    @property
    def noisy_runs(self) -> tuple[float, float]:
        """The runs of both over which noise is averaged (`noisy_runs`)."""
        return noisy_runs(self.runs, self.as_it_is)

    @property
    def weak(self) -> bool:
        """True where the noise of one of the two designs is known from two runs only."""
        trained = [count for count, fixed in zip(self.runs, self.as_it_is, strict=True) if not fixed]
        return self.p is not None and min(trained) == 2


def noisy_runs(runs: tuple[int, int], as_it_is: tuple[bool, bool]) -> tuple[float, float]:
    """Return the runs of two systems over which noise is averaged: without end for a model as it is, which has none.

    Of two models as they are both count as trained once: what another training would give is asked of somebody.
    """
    if all(as_it_is):
        return runs
    first, second = (np.inf if fixed else float(count) for count, fixed in zip(runs, as_it_is, strict=True))
    return first, second


def is_equivalent(other: OtherTasks, run: AnotherRun) -> bool:
    """Return whether a difference is shown to be within the margin: over families, and over runs where those are known."""
    p = other.p_equivalent if run.p is None else run.p_equivalent
    return not other.unknown and p is not None and p <= ALPHA and not other.skewed
