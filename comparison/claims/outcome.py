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
from comparison.claims.results import FEWEST_FAMILIES as FEWEST_FAMILIES
from comparison.claims.results import AnotherRun as AnotherRun
from comparison.claims.results import OtherTasks as OtherTasks
from comparison.claims.results import TheseTasks as TheseTasks
from comparison.claims.results import WorstGrouping as WorstGrouping
from comparison.claims.results import is_equivalent as is_equivalent
from comparison.disagreements.items import ItemApart
from comparison.stats.effects import ALPHA as ALPHA
from comparison.stats.effects import Effect, Interval
from comparison.stats.second_opinions import SecondOpinion
from comparison.stats.seeds import Variances


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
class WithoutOne:
    """A star with one family of tasks left out: the family that matters most.

    Attributes:
        p: the largest p of the claim that the star rests on (other tasks, or another run), over all families left out in turn.
        family: the tasks of that family.
        families: how many are left.
    """

    p: float
    family: list[str]
    families: int


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
        checkpoint: whether the mark speaks of trained files, because one of the two was trained once.
        without_one: a star with each family left out in turn; None without a star, and where that was not asked.
        second: a mixed model and a Bayesian estimate, this comparison alone; None below two families, and in large tables.
        data: how far the results are of the same tasks, data and items; None where no files are known.
        apart: the items on which the two differ most, those first on which a is ahead; empty without scores item by item.
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
    second: SecondOpinion | None = None
    without_one: WithoutOne | None = None
    data: SharedData | None = None
    apart: list[ItemApart] = field(default_factory=list)

    @property
    def starred(self) -> bool:
        """True where a system is shown to be better on other tasks, and in other runs where those were repeated."""
        return self.mark in ("*", "**")

    @property
    def equivalent(self) -> bool:
        """True where the difference is shown to be within the margin, and in other runs where those were repeated."""
        return is_equivalent(self.other_tasks, self.another_run)

    @property
    def negligible(self) -> bool:
        """True where a system is shown to be better, by less than the margin: no reason to choose it."""
        return self.starred and self.equivalent

    @property
    def simultaneous(self) -> Interval | None:
        """The interval that agrees with the mark: of claim C where that could be tested, else of claim B."""
        if self.another_run.p is not None:
            return self.another_run.simultaneous
        return self.other_tasks.simultaneous

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
class Outlook:
    """What a kind of tasks can show at its size, simulated with its own spread.

    Attributes:
        difference: a true difference of one design, in score units.
        families: of the largest comparison.
        runs: of each design.
        sd: of differences over families.
        run_sd: of a mean score over runs; 0 where it is not known.
        power: share of such studies in which the design gets a star.
        exaggeration: what a star says of it over the truth, on average; None where hardly any study has one.
        needed: families for a power of 80 % with these runs; None where no number that was tried is enough.
    """

    difference: float
    families: int
    runs: int
    sd: float
    run_sd: float
    power: float
    exaggeration: float | None
    needed: int | None


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
        tests: comparisons for which p-values are corrected; 0 where that is the number of contrasts.
        outlook: what its size can show; None where that was not asked.
        rank_intervals: system -> best and worst rank that the data allow; only where all pairs are compared.
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
    tests: int = 0
    outlook: Outlook | None = None
    rank_intervals: dict[str, tuple[int, int]] | None = None


@dataclass(frozen=True)
class Grid:
    """Designs that cross two attentions with several poolings, compared factor by factor.

    A contrast's `a` and `b` are levels: of attention, of pooling, or, for the interaction, poolings with which one attention
    gains more over the other.

    Attributes:
        attentions: both, the one that is the reference last.
        poolings: all, the one that is the reference last.
        systems: attention -> pooling -> the design with them.
        effects: (a, b) of each contrast -> ``attention``, ``pooling`` or ``interaction``, as a list in the contrasts' order.
        simple: kind of tasks -> pooling -> the gain of the first attention over the second with that pooling.
        categories: the contrasts of each kind of tasks.
        overall: over the kinds.
        lost: kind of tasks -> of each contrast, the systems with failed runs or missing tasks; nothing is claimed beside one.
        left_out: kinds of tasks without a task that all of the grid have.
        without: systems of a known attention and pooling that are not in the grid.
    """

    attentions: tuple[str, str]
    poolings: tuple[str, ...]
    systems: dict[str, dict[str, str]]
    effects: list[str]
    simple: dict[str, dict[str, float]]
    categories: list[Category]
    overall: list[Overall]
    lost: dict[str, list[list[str]]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    without: list[str] = field(default_factory=list)


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
        as_they_are: systems that nobody trains again, such as an untrained model.
        grid: attention and pooling as factors; None where the designs do not cross them.
        planned: sentences on what was declared before scores existed.
        not_compared: categories in which no two compared systems have a common task.
    """

    systems: dict[str, int]
    baseline: str | None
    margin: float
    categories: list[Category]
    overall: list[Overall]
    counted: int
    notes: list[str] = field(default_factory=list)
    as_they_are: list[str] = field(default_factory=list)
    grid: Grid | None = None
    planned: list[str] = field(default_factory=list)
    not_compared: list[str] = field(default_factory=list)
