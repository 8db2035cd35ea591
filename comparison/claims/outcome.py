"""Results of a comparison, as plain data: tables, files and reports are made from this and from nothing else.

Three claims are kept apart. `TheseTasks`: other queries, pairs or texts of the same tasks. `OtherTasks`: other tasks of this
kind. `AnotherRun`: other training runs, on other tasks of this kind. A difference is always a - b in score units (0 to 1).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from comparison.claims.losses import Failure as Failure
from comparison.claims.losses import Sensitivity as Sensitivity
from comparison.claims.losses import SharedData as SharedData
from comparison.claims.overall import Overall
from comparison.stats.effects import ALPHA as ALPHA
from comparison.stats.effects import Effect, Interval
from comparison.stats.seeds import Variances
from comparison.stats.within import Within

FEWEST_FAMILIES = 6  # 2^(1 - 6) = .031 is the first floor below .05


@dataclass(frozen=True)
class TheseTasks:
    """Claim A, tasks fixed: units resampled within each task, task differences averaged.

    Attributes:
        tasks: those with comparable scores item by item, and the result on each.
        mean: mean of their differences.
        interval: 95 %, of the mean.
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
        p_equivalent: two one-sided t tests over families against the margin, Holm over the comparisons; None below three
            families.
        unknown: the comparison's tasks that stand in no map and that the user did not declare, so that no claim is made; empty
            where families would be too few even if these tasks were unrelated.
        worst: the answer if these were one family; None without any.
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

    @property
    def decidable(self) -> bool:
        """True where all relations of the tasks are known, and this number of families can reach .05 at all."""
        return self.families >= FEWEST_FAMILIES and not self.unknown


@dataclass(frozen=True)
class AnotherRun:
    """Claim C: tasks crossed with training runs.

    Attributes:
        runs: of a and of b.
        interval: 95 %, over families and runs; None where the variance over runs is unknown.
        p: the larger of `OtherTasks.p` and Holm's crossed t; None where it is unknown.
        p_crossed: of the crossed t, this comparison alone.
        df: its degrees of freedom.
        source: where the variance over runs is from: ``own`` or ``pooled``; None if unknown.
        p_equivalent: the larger of `OtherTasks.p_equivalent` and Holm's over families and runs; None where it is unknown.
        overturned_by: the sd over runs of a mean score above which Holm's crossed t would not reach .05; None with one family.
        overturned_alone: the same for this comparison alone, uncorrected.
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


def is_equivalent(other: OtherTasks, run: AnotherRun) -> bool:
    """Return whether a difference is shown to be within the margin: over families, and over runs where those are known."""
    p = other.p_equivalent if run.p is None else run.p_equivalent
    return not other.unknown and p is not None and p <= ALPHA


@dataclass(frozen=True)
class AsPublished:
    """Wilcoxon's test over tasks as if no two were related, as papers report it: beside the claims, never in their place.

    Attributes:
        p: exact, zeros as Pratt, uncorrected.
        p_holm: over the category's comparisons.
        p_holm_table: over all comparisons of all categories.
        p_floor: smallest p that this number of tasks can reach.
        p_by_family: the same statistic, the signs of a family's tasks flipped together.
        p_max_t: step-down max-T of the mean, flips by task.
        p_max_t_ranks: step-down max-T of signed ranks, flips by task.
    """

    p: float
    p_holm: float
    p_holm_table: float
    p_floor: float
    p_by_family: float
    p_max_t: float
    p_max_t_ranks: float


@dataclass(frozen=True)
class Contrast:
    """One comparison of two systems in one category.

    Attributes:
        a: a system.
        b: another; the baseline where there is one.
        differences: a - b by common task, rounded to 1e-6.
        missing: tasks of the category that are not common, and who lacks them.
        families: the common tasks by family.
        by_task: effect over tasks, each counted as independent.
        by_family: effect over families.
        these_tasks: claim A; None without scores item by item.
        other_tasks: claim B.
        another_run: claim C.
        as_published: the raw Wilcoxon test and its corrections.
        sensitivity: with failed runs as losses; None if none failed.
        mark: ``**``, ``*``, ``o``, or nothing.
        checkpoint: whether the mark speaks of two checkpoints only, because seed noise was not measured.
        data: how far the results are of the same tasks, data and items; None where no files are known.
    """

    a: str
    b: str
    differences: dict[str, float]
    missing: dict[str, str]
    families: list[list[str]]
    by_task: Effect
    by_family: Effect
    these_tasks: TheseTasks | None
    other_tasks: OtherTasks
    another_run: AnotherRun
    as_published: AsPublished
    sensitivity: Sensitivity | None
    mark: str
    checkpoint: bool
    data: SharedData | None = None

    @property
    def starred(self) -> bool:
        """True where a system is shown to be better on other tasks, and in other runs where those were repeated."""
        return self.mark in ("*", "**")

    @property
    def equivalent(self) -> bool:
        """True where the difference is shown to be within the margin, and in other runs where those were repeated."""
        return is_equivalent(self.other_tasks, self.another_run)

    @property
    def carried(self) -> bool:
        """True where a star stands with failed runs counted as losses, and where none failed."""
        return self.sensitivity is None or self.sensitivity.carries(self.by_family.mean)


@dataclass(frozen=True)
class Ranks:
    """Friedman's test and mean ranks over complete tasks; they depend on which other systems are compared.

    Attributes:
        systems: those with all tasks, and their mean rank, 1 the best.
        tasks: number of tasks.
        chi2: Friedman's statistic.
        p: of the chi-squared approximation.
        critical_difference: Nemenyi's, at .05.
    """

    systems: dict[str, float]
    tasks: int
    chi2: float
    p: float
    critical_difference: float


@dataclass(frozen=True)
class Category:
    """Everything on one category of tasks.

    Attributes:
        name: such as Retrieval.
        tasks: of any system.
        families: all tasks by family.
        scores: system -> task -> score, mean over runs.
        means: system -> mean over all the category's tasks; None where it lacks one.
        contrasts: the comparisons, which are one family of tests.
        skipped: pairs without a common task.
        failures: of each system that has any.
        groups: system -> letters; systems that share one are not separated. Only where all pairs are compared and decidable.
        ranks: of complete systems, if there are three.
        variances: where scores vary, if runs were repeated.
    """

    name: str
    tasks: list[str]
    families: list[list[str]]
    scores: dict[str, dict[str, float]]
    means: dict[str, float | None]
    contrasts: list[Contrast]
    skipped: list[tuple[str, str]]
    failures: dict[str, Failure]
    groups: dict[str, str] | None
    ranks: Ranks | None
    variances: Variances | None


@dataclass(frozen=True)
class Comparison:
    """The whole outcome.

    Attributes:
        systems: name -> number of runs.
        baseline: what the others are compared with; None for all pairs.
        margin: differences within it count as none.
        categories: in the order in which tasks were read.
        overall: over the categories that both systems have; empty with one category.
        counted: categories that a claim over the whole table counts (Tarone).
        notes: sentences on what was left out, and on what a reader should know.
    """

    systems: dict[str, int]
    baseline: str | None
    margin: float
    categories: list[Category]
    overall: list[Overall]
    counted: int
    notes: list[str] = field(default_factory=list)
