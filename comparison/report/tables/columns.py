"""Columns of the tables of pairs of a comparison: to add one, add one line to `COLUMNS`.

A column has a name, a value, a text, and the outputs that show it, in the order of the list. `comparison.json` needs no line:
it holds the whole outcome, field by field.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Flag, auto
from typing import Any, Generic, TypeVar

from comparison.claims.outcome import AnotherRun, Category, Comparison, Contrast, OtherTasks, Sensitivity, TheseTasks
from comparison.report.words.cells import (
    mark_cell,
    markdown_pair,
    other_cell,
    other_interval,
    other_p,
    page_pair,
    run_cell,
    run_interval,
    run_p,
    sizes_cell,
    these_cell,
    these_interval,
)
from comparison.report.words.wording import chance, exact_span, points, span, verdict
from comparison.stats.effects import Effect, Interval


class Output(Flag):
    """The tables that show comparisons."""

    CSV = auto()  # comparison.csv
    CLAIMS = auto()  # comparison.md: the three claims
    SIZES = auto()  # comparison.md: effect sizes
    TESTS = auto()  # comparison.md: Wilcoxon's test as papers report it
    PAGE = auto()  # report.html: the numbers below a forest plot or a matrix


CSV, CLAIMS, SIZES, TESTS, PAGE = Output.CSV, Output.CLAIMS, Output.SIZES, Output.TESTS, Output.PAGE
Entry = TypeVar("Entry")
Part = TypeVar("Part")


@dataclass(frozen=True)
class Column(Generic[Entry]):
    """One column.

    Attributes:
        name: in the first row; two columns of one output may share it where texts are printed.
        value: of an entry: a number in score units, a text, or None.
        outputs: the tables that show it.
        text: of a value, where it is printed.
    """

    name: str
    value: Callable[[Entry], object]
    outputs: Output = CSV
    text: Callable[[Any], str] = str


@dataclass(frozen=True)
class ComparedPair:
    """One comparison with what its columns need beside it."""

    contrast: Contrast
    category: Category
    comparison: Comparison

    @property
    def tests(self) -> int:
        """Comparisons that are corrected for together."""
        return self.category.tests or len(self.category.contrasts)

    @property
    def these(self) -> TheseTasks | None:
        """Claim A."""
        return self.contrast.these_tasks

    @property
    def other(self) -> OtherTasks:
        """Claim B."""
        return self.contrast.other_tasks

    @property
    def run(self) -> AnotherRun:
        """Claim C."""
        return self.contrast.another_run

    @property
    def failures(self) -> Sensitivity | None:
        """The comparison with failed runs counted as losses."""
        return self.contrast.sensitivity

    @property
    def mark_p(self) -> float | None:
        """The p that decides a star: of claim C where it could be tested; None where no star is possible."""
        if not self.other.decidable:
            return None
        if self.run.p is None:
            return self.other.p
        return self.run.p

    @property
    def mark_p_table(self) -> float | None:
        """The same for a claim over the whole table."""
        if self.mark_p is None:
            return None
        return min(1.0, self.comparison.counted * self.mark_p)

    @property
    def these_interval(self) -> Interval | None:
        """Claim A's interval."""
        if self.these is None:
            return None
        return self.these.interval

    @property
    def these_together(self) -> Interval | None:
        """Claim A's interval for all comparisons of the category together."""
        if self.these is None:
            return None
        return self.these.simultaneous

    @property
    def families_interval(self) -> Interval | None:
        """Claim B's interval where a claim on other tasks is possible."""
        if not self.other.decidable:
            return None
        return self.contrast.by_family.interval

    @property
    def run_interval(self) -> Interval | None:
        """Claim C's interval where a claim on other tasks is possible."""
        if not self.other.decidable:
            return None
        return self.run.interval


def pairs_of(category: Category, comparison: Comparison) -> list[ComparedPair]:
    """Return the comparisons of a category, ready for columns."""
    return [ComparedPair(contrast, category, comparison) for contrast in category.contrasts]


def records(columns: Iterable[Column[Entry]], entries: Iterable[Entry], output: Output = CSV) -> list[dict[str, object]]:
    """Return values by column, a row an entry."""
    shown = _shown(columns, output)
    return [{column.name: column.value(entry) for column in shown} for entry in entries]


def heads(columns: Iterable[Column[Entry]], output: Output = CSV) -> list[str]:
    """Return the first row of a printed table."""
    return [column.name for column in _shown(columns, output)]


def texts(columns: Iterable[Column[Entry]], entries: Iterable[Entry], output: Output = CSV) -> list[list[str]]:
    """Return the other rows of a printed table."""
    shown = _shown(columns, output)
    rows = []
    for entry in entries:
        rows.append([column.text(column.value(entry)) for column in shown])
    return rows


def _shown(columns: Iterable[Column[Entry]], output: Output) -> list[Column[Entry]]:
    return [column for column in columns if output in column.outputs]


def known(part: Part | None, value: Callable[[Part], object]) -> object:
    """Return a value of a part that may be missing; None where it is."""
    if part is None:
        return None
    return value(part)


def _ends(name: str, interval: Callable[[ComparedPair], Interval | None]) -> list[Column[ComparedPair]]:
    """Return two columns for the ends of an interval."""
    return [
        Column(f"{name}_low", lambda pair: known(interval(pair), lambda ends: ends.low)),
        Column(f"{name}_high", lambda pair: known(interval(pair), lambda ends: ends.high)),
    ]


def _effect(
    name: str, effect: Callable[[ComparedPair], Effect], mean_interval: Callable[[ComparedPair], Interval | None]
) -> list[Column[ComparedPair]]:
    """Return the columns of an effect, over tasks or over families."""
    return [
        Column(f"{name}_wins", lambda pair: effect(pair).wins),
        Column(f"{name}_losses", lambda pair: effect(pair).losses),
        Column(f"{name}_ties", lambda pair: effect(pair).ties),
        Column(f"{name}_mean", lambda pair: effect(pair).mean),
        *_ends(f"{name}_mean", mean_interval),
        Column(f"{name}_hodges_lehmann", lambda pair: effect(pair).hodges_lehmann),
        *_ends(f"{name}_hodges_lehmann", lambda pair: effect(pair).hodges_lehmann_interval),
        Column(f"{name}_rank_biserial", lambda pair: effect(pair).rank_biserial),
    ]


def _wins_losses_ties(pair: ComparedPair) -> str:
    effect = pair.contrast.by_task
    return f"{effect.wins}-{effect.losses}-{effect.ties}"


def _centres(pair: ComparedPair) -> str:
    effect = pair.contrast.by_task
    return f"{points(effect.mean)} / {points(effect.hodges_lehmann)}"


def _family_mean(pair: ComparedPair) -> str:
    return f"{points(pair.contrast.by_family.mean)} {span(pair.families_interval)}"


def _family_median(pair: ComparedPair) -> str:
    effect = pair.contrast.by_family
    return f"{points(effect.hodges_lehmann)} {exact_span(effect.hodges_lehmann_interval)}"


def mixed_interval(pair: ComparedPair) -> Interval | None:
    """Return the mixed model's interval."""
    if pair.contrast.second is None:
        return None
    return pair.contrast.second.mixed_interval


def posterior_interval(pair: ComparedPair) -> Interval | None:
    """Return the Bayesian interval."""
    if pair.contrast.second is None:
        return None
    return pair.contrast.second.interval


COLUMNS: Sequence[Column[ComparedPair]] = [
    Column("category", lambda pair: pair.category.name),
    Column("a", lambda pair: pair.contrast.a),
    Column("b", lambda pair: pair.contrast.b),
    Column("mark", lambda pair: pair.contrast.mark),
    Column("mark_p", lambda pair: pair.mark_p),
    Column("mark_p_table", lambda pair: pair.mark_p_table),
    Column("checkpoint", lambda pair: pair.contrast.checkpoint),
    Column("tasks", lambda pair: pair.contrast.by_task.units),
    Column("families", lambda pair: pair.other.families),
    Column("comparisons", lambda pair: pair.tests),
    *_effect("tasks", lambda pair: pair.contrast.by_task, lambda pair: pair.contrast.by_task.interval),
    *_effect("families", lambda pair: pair.contrast.by_family, lambda pair: pair.families_interval),
    Column("these_tasks", lambda pair: known(pair.these, lambda these: len(these.tasks)) or 0),
    Column("these_mean", lambda pair: known(pair.these, lambda these: these.mean)),
    *_ends("these", lambda pair: pair.these_interval),
    *_ends("these_together", lambda pair: pair.these_together),
    Column("these_p", lambda pair: known(pair.these, lambda these: these.p_adjusted)),
    *_ends("other_together", lambda pair: pair.other.simultaneous),
    Column("other_p", lambda pair: pair.other.p),
    Column("other_p_table", lambda pair: pair.other.p_table),
    Column("other_p_alone", lambda pair: pair.other.p_alone),
    Column("other_p_floor", lambda pair: pair.other.p_floor),
    Column("other_decidable", lambda pair: pair.other.decidable),
    *_ends("new_task", lambda pair: pair.other.new_task),
    Column("equivalent_p", lambda pair: pair.other.p_equivalent),
    Column("equivalent_skewed", lambda pair: pair.other.skewed),
    Column("runs_a", lambda pair: pair.run.runs[0]),
    Column("runs_b", lambda pair: pair.run.runs[1]),
    Column("run_p", lambda pair: pair.run.p),
    *_ends("run", lambda pair: pair.run_interval),
    *_ends("run_together", lambda pair: pair.run.simultaneous),
    Column("run_equivalent_p", lambda pair: pair.run.p_equivalent),
    Column("overturned_by_seed_sd", lambda pair: pair.run.overturned_by),
    Column("overturned_alone_by_seed_sd", lambda pair: pair.run.overturned_alone),
    Column("other_p_without_one_family", lambda pair: known(pair.contrast.without_one, lambda without: without.p)),
    Column("mixed_model_mean", lambda pair: known(pair.contrast.second, lambda second: second.mixed_mean)),
    *_ends("mixed_model", mixed_interval),
    Column("mixed_model_p", lambda pair: known(pair.contrast.second, lambda second: second.mixed_p)),
    Column("posterior_mean", lambda pair: known(pair.contrast.second, lambda second: second.mean)),
    *_ends("posterior", posterior_interval),
    Column("posterior_better", lambda pair: known(pair.contrast.second, lambda second: second.p_better)),
    Column("posterior_equal", lambda pair: known(pair.contrast.second, lambda second: second.p_equal)),
    Column("posterior_worse", lambda pair: known(pair.contrast.second, lambda second: second.p_worse)),
    Column("wilcoxon_p", lambda pair: pair.contrast.as_published.p),
    Column("wilcoxon_p_holm", lambda pair: pair.contrast.as_published.p_holm),
    Column("wilcoxon_p_holm_table", lambda pair: pair.contrast.as_published.p_holm_table),
    Column("wilcoxon_p_floor", lambda pair: pair.contrast.as_published.p_floor),
    Column("max_t_by_task_p", lambda pair: pair.contrast.as_published.p_max_t),
    Column("with_failures_p", lambda pair: known(pair.failures, lambda failures: failures.p)),
    Column("with_failures_mean", lambda pair: known(pair.failures, lambda failures: failures.mean)),
    Column("with_failures_families_mean", lambda pair: known(pair.failures, lambda failures: failures.mean_families)),
    Column("missing_tasks", lambda pair: "; ".join(pair.contrast.missing)),
    # printed tables
    Column("a - b", lambda pair: markdown_pair(pair.contrast), CLAIMS | SIZES | TESTS),
    Column("a - b", lambda pair: page_pair(pair.contrast), PAGE),
    Column("tasks / families", lambda pair: sizes_cell(pair.contrast), CLAIMS | PAGE),
    Column("mean over tasks", lambda pair: pair.contrast.by_task.mean, CLAIMS | PAGE, points),
    Column("these tasks", lambda pair: these_cell(pair.contrast), CLAIMS),
    Column("these tasks", lambda pair: these_interval(pair.contrast), PAGE),
    Column("other tasks", lambda pair: other_cell(pair.contrast), CLAIMS),
    Column("other tasks of this kind", lambda pair: other_interval(pair.contrast), PAGE),
    Column("p", lambda pair: other_p(pair.contrast), PAGE),
    Column("another training run", lambda pair: run_interval(pair.contrast), PAGE),
    Column("p", lambda pair: run_p(pair.contrast), PAGE),
    Column("one new task", lambda pair: pair.other.new_task, CLAIMS | PAGE, span),
    Column("another run", lambda pair: run_cell(pair.contrast), CLAIMS),
    Column("verdict", lambda pair: verdict(pair.contrast, pair.comparison.margin, pair.tests), CLAIMS),
    Column("mark", lambda pair: mark_cell(pair.contrast), PAGE),
    Column("wins-losses-ties", _wins_losses_ties, SIZES),
    Column("rank-biserial", lambda pair: pair.contrast.by_task.rank_biserial, SIZES, "{:+.2f}".format),
    Column("mean / Hodges-Lehmann over tasks", _centres, SIZES),
    Column("mean over families, t", _family_mean, SIZES),
    Column("Hodges-Lehmann over families, exact", _family_median, SIZES),
    Column("n", lambda pair: pair.contrast.by_task.units, TESTS),
    Column("Wilcoxon p", lambda pair: pair.contrast.as_published.p, TESTS, chance),
    Column("Holm, category", lambda pair: pair.contrast.as_published.p_holm, TESTS, chance),
    Column("Holm, table", lambda pair: pair.contrast.as_published.p_holm_table, TESTS, chance),
    Column("max-T by task", lambda pair: pair.contrast.as_published.p_max_t, TESTS, chance),
    Column("smallest p", lambda pair: pair.contrast.as_published.p_floor, TESTS, chance),
]
