"""Texts of single cells in the tables of comparisons: one claim, with what limits it."""

from __future__ import annotations

from comparison.claims.outcome import Contrast
from comparison.report.words.marks import holds_on_these_tasks, mark_text, scored_part
from comparison.report.words.names import name
from comparison.report.words.relations import worst_text
from comparison.report.words.wording import (
    DASH,
    another_run_interval,
    chance,
    escape,
    other_tasks_interval,
    points,
    runs_text,
    span,
    when,
)

UNDECIDED = "cannot be decided"


def markdown_pair(contrast: Contrast) -> str:
    """Return both names as Markdown: ``a - b``."""
    return f"{escape(contrast.a)} - {escape(contrast.b)}"


def page_pair(contrast: Contrast) -> str:
    """Return both names as the page shows them: ``a − b``."""
    return f"{name(contrast.a)} − {name(contrast.b)}"


def sizes_cell(contrast: Contrast) -> str:
    """Return how many tasks and families a comparison is over: ``8 / 6``."""
    return f"{contrast.by_task.units} / {contrast.other_tasks.families}"


def these_cell(contrast: Contrast) -> str:
    """Return claim A of a comparison with p and mark."""
    these = contrast.these_tasks
    if these is None:
        return DASH
    mark = ""
    if holds_on_these_tasks(contrast):
        mark = " o" + when(contrast.checkpoint, " checkpoint")
    units = contrast.by_task.units
    part = when(len(these.tasks) < units, f" ({len(these.tasks)} of {units} tasks)")
    return f"{these_interval(contrast)}, p {chance(these.p_adjusted)}{mark}{part}"


def these_interval(contrast: Contrast) -> str:
    """Return claim A's mean and interval."""
    these = contrast.these_tasks
    if these is None:
        return DASH
    return f"{points(these.mean)} {span(these.simultaneous or these.interval)}"


def other_cell(contrast: Contrast) -> str:
    """Return claim B of a comparison with p and mark."""
    other = contrast.other_tasks
    if not other.decidable:
        return worst_text(other) or f"floor {chance(other.p_floor)}"
    star = ""
    if contrast.starred:
        star = f" {escape(contrast.mark)}"
        star += when(contrast.checkpoint, " checkpoint")
        star += when(not contrast.carried, f", only {scored_part(contrast)}")
    return f"{other_interval(contrast)}, p {chance(other.p)}{star}"


def other_interval(contrast: Contrast) -> str:
    """Return claim B's mean and interval."""
    if not contrast.other_tasks.decidable:
        return UNDECIDED
    return f"{points(contrast.by_family.mean)} {span(other_tasks_interval(contrast))}"


def other_p(contrast: Contrast) -> str:
    """Return claim B's p, or the smallest that so few families can reach."""
    if not contrast.other_tasks.decidable:
        if contrast.other_tasks.unknown:
            return "relations unknown"
        return f"≥ {chance(contrast.other_tasks.p_floor)}"
    return chance(contrast.other_tasks.p)


def run_cell(contrast: Contrast) -> str:
    """Return claim C of a comparison with p and runs."""
    run = contrast.another_run
    runs = runs_text(contrast)
    if run.runs == (1, 1):
        runs = "one run each"
    if contrast.checkpoint and run.p is None:
        return f"{runs}, seed noise unknown"
    if run.p is None:
        return f"{runs}, cannot be said of designs: one family only"
    if not contrast.other_tasks.decidable:
        return f"{runs}, {UNDECIDED}"
    weak = when(run.weak, ", weak: two runs")
    return f"{span(another_run_interval(contrast))}, p {chance(run.p)}, {runs}{weak}"


def run_interval(contrast: Contrast) -> str:
    """Return claim C's interval, or why there is none."""
    if contrast.another_run.p is not None and contrast.other_tasks.decidable:
        return span(another_run_interval(contrast))
    if contrast.another_run.p is not None:
        return UNDECIDED
    if contrast.checkpoint:
        return "seed noise unknown"
    return "one family only"


def run_p(contrast: Contrast) -> str:
    """Return claim C's p."""
    if not contrast.other_tasks.decidable:
        return DASH
    return chance(contrast.another_run.p)


def mark_cell(contrast: Contrast) -> str:
    """Return the mark with all that belongs to it, or that the two are equivalent."""
    if contrast.negligible:
        return f"{mark_text(contrast)}, less than the margin"
    if contrast.equivalent and not contrast.mark:
        return "equivalent" + when(contrast.checkpoint, " checkpoint")
    return mark_text(contrast) or DASH
