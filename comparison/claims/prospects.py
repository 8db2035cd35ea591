"""The outlook of a kind of tasks: how much its size can show, and how much more it would take. From its own spread."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from comparison.claims.outcome import Category, Comparison, Contrast, Outlook
from comparison.claims.pairs import run_means
from comparison.reading.table import Table
from comparison.stats.planning import Spread, families_needed, prospect

MARGINS = 2  # the true difference that is asked for, in margins
POWER = 0.8
STUDIES_NOW = 2_000  # of the present size: where power is low few of them have a star
STUDIES = 200  # of each size that is tried
FEWEST_STARS = 20
MOST_COMPARISONS = 100  # of a category; a table of more is no plan


def spread_of(table: Table, category: Category, run_sd: float | None = None, comparisons: int | None = None) -> Spread | None:
    """Return the spread of a kind of tasks: root mean squares over its comparisons, and over its designs that have runs.

    Args:
        table: the scores.
        category: the kind of tasks.
        run_sd: over training runs of a mean score, instead of the designs' own.
        comparisons: that are corrected for together, instead of the category's.

    Returns:
        None where nothing varies, or there is one family.
    """
    variances = [contrast.by_family.sd**2 for contrast in category.contrasts if contrast.by_family.sd]
    if not variances:
        return None
    if run_sd is None:
        run_sd = _run_sd(table, category)
    tests = comparisons or category.tests or len(category.contrasts)
    return Spread(float(np.sqrt(np.mean(variances))), run_sd, tests, _baseline_varies(category))


def _baseline_varies(category: Category) -> bool:
    """Return whether both sides have noise between runs: not where designs are compared with a model as it is."""
    runs = [contrast.another_run for contrast in category.contrasts]
    repeated = [run for run in runs if run.p is not None]
    return not all(any(run.as_it_is) for run in repeated or runs)


def _runs(contrast: Contrast) -> int:
    """Return the runs of each design of a comparison, 1 where it speaks of checkpoints; a model as it is has none to count."""
    run = contrast.another_run
    if run.p is None:
        return 1
    return min(count for count, fixed in zip(run.runs, run.as_it_is, strict=True) if not fixed)


def _run_sd(table: Table, category: Category) -> float:
    """Return the sd over runs of a design's mean over its tasks, pooled over designs: for a plan that is enough."""
    squares, df = 0.0, 0
    for system in table.systems:
        had = [[task for task in family if (system, task) in table.scores] for family in category.families]
        means = run_means(table, system, list(filter(None, had))) if any(had) else np.empty(0)
        if len(means) > 1:
            squares += float(np.var(means, ddof=1)) * (len(means) - 1)
            df += len(means) - 1
    if not df:
        return 0.0
    return float(np.sqrt(squares / df))


def with_outlooks(table: Table, comparison: Comparison, seed: int = 0) -> Comparison:
    """Add to each kind of tasks that can be decided what it can show of a difference of two margins."""
    categories = []
    for category in comparison.categories:
        categories.append(replace(category, outlook=_outlook(table, category, MARGINS * comparison.margin, seed)))
    return replace(comparison, categories=categories)


def _outlook(table: Table, category: Category, difference: float, seed: int) -> Outlook | None:
    decidable = [contrast for contrast in category.contrasts if contrast.other_tasks.decidable]
    spread = spread_of(table, category)
    if not decidable or spread is None or spread.comparisons > MOST_COMPARISONS:
        return None
    families = max(contrast.other_tasks.families for contrast in decidable)
    runs = max(map(_runs, decidable))
    now = prospect(spread, difference, families, runs, STUDIES_NOW, seed)
    exaggeration = now.exaggeration
    if now.power * STUDIES_NOW < FEWEST_STARS:  # too few to average
        exaggeration = None
    needed = families_needed(spread, difference, POWER, runs, STUDIES, seed)
    return Outlook(difference, families, runs, spread.families, spread.runs, now.power, exaggeration, needed)
