"""All categories together: the mean of the categories' means, flips by family within categories.

One test over all tasks would mix metrics and let the category with most tasks decide; so every category counts the same,
and inside a category every family of related tasks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from comparison.claims.pairs import run_means
from comparison.reading.table import Table
from comparison.stats.effects import ALPHA, Interval, combine, t_interval
from comparison.stats.multiple import holm, step_down_max_t
from comparison.stats.seeds import Variance, crossed_mean, mean_of_means, seed_variances, unit_parts


@dataclass(frozen=True)
class Overall:
    """One comparison over all categories.

    Attributes:
        a: a system.
        b: another.
        categories: category -> mean over its families.
        mean: over categories.
        families: number of families in all categories.
        p: step-down max-T over comparisons.
        p_run: the larger of it and Holm's crossed t, for another training run; None where runs were not repeated.
        opposed: whether marked categories contradict each other, so that nobody is better overall.
        interval: 95 %, of the mean: over families, and over runs where `p_run` is known; None where a category has one family.
        mean_failures: mean with failed runs counted as losses; None where none failed.
        p_failures: step-down max-T then.
        shares: of a's runs and of b's that failed, over tasks, mean over categories.
    """

    a: str
    b: str
    categories: dict[str, float]
    mean: float
    families: int
    p: float
    p_run: float | None
    opposed: bool
    interval: Interval | None = None
    mean_failures: float | None = None
    p_failures: float | None = None
    shares: tuple[float, float] = (0.0, 0.0)

    @property
    def carried(self) -> bool:
        """True where the same system is better with failed runs counted as losses, and less than half of its runs failed."""
        if self.p_failures is None:
            return True
        return self.p_failures <= ALPHA and self.mean * (self.mean_failures or 0.0) > 0 and self.shares[self.mean < 0] < 0.5


@dataclass(frozen=True)
class CategoryPart:
    """The contribution of one category to one comparison.

    Attributes:
        families: mean difference by family; families are named by their first task.
        sign: of the category's mean if it has a star, else 0.
        shares: of a's runs and of b's that failed and are counted as losses.
    """

    families: Mapping[str, float]
    sign: float
    shares: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class PairRuns:
    """Numbers of training runs of a comparison's systems, and their variances over all its categories."""

    counts: tuple[int, int]
    variances: Variance


def runs_of(table: Table, names: tuple[str, str], families: Mapping[str, Sequence[Sequence[str]]]) -> PairRuns:
    """Return the runs behind a comparison, from run means over categories.

    Args:
        table: the scores.
        names: of the two systems.
        families: category -> the comparison's common tasks by family.
    """
    means = []
    for system in table.systems:
        by_category = [run_means(table, system, of_category) for of_category in families.values()]
        counts = set(map(len, by_category))
        if len(counts) == 1:
            means.append(np.asarray(np.mean(by_category, axis=0)))
        else:  # a run lacks a category, and nobody can say which
            means.append(np.empty(0))
    variances = seed_variances(means)
    a, b = map(table.systems.index, names)
    return PairRuns((max(1, len(means[a])), max(1, len(means[b]))), (variances[a], variances[b]))


Parts = Mapping[str, CategoryPart]  # by category


def compare_overall(
    parts: Mapping[tuple[str, str], Parts], runs: Mapping[tuple[str, str], PairRuns], seed: int = 0
) -> list[Overall]:
    """Compare over categories.

    Args:
        parts: by comparison (a, b) and category; comparisons over fewer than two categories are left out.
        runs: by comparison.
        seed: of random flips.
    """
    several = {names: of_pair for names, of_pair in parts.items() if len(of_pair) > 1}
    if not several:
        return []
    drafts = []
    p_crossed: dict[tuple[str, str], float] = {}
    for names, of_pair in several.items():
        strata = [np.array(list(part.families.values())) for part in of_pair.values()]
        interval = over_families(strata)
        test = crossed_mean(strata, runs[names].counts, runs[names].variances)
        if test is not None:
            p_crossed[names] = test.p
            interval = test.interval
        drafts.append(_draft(names, of_pair, interval))
    adjusted = dict(zip(p_crossed, holm(list(p_crossed.values())), strict=True))
    comparisons = []
    for draft, p in zip(drafts, step_down_max_t(_weighted(several), seed), strict=True):
        p_run = None
        if (draft.a, draft.b) in adjusted:
            p_run = max(p, adjusted[draft.a, draft.b])
        comparisons.append(replace(draft, p=p, p_run=p_run))
    return comparisons


def _draft(names: tuple[str, str], of_pair: Parts, interval: Interval | None) -> Overall:
    """Return a comparison whose p-values are still to come."""
    means = _means(of_pair)
    families = 0
    signs = set[float]()
    for part in of_pair.values():
        families += len(part.families)
        signs.add(part.sign)
    return Overall(
        a=names[0],
        b=names[1],
        categories=means,
        mean=float(np.mean(list(means.values()))),
        families=families,
        p=1.0,
        p_run=None,
        opposed=len(signs - {0.0}) > 1,
        interval=interval,
    )


def with_failures(comparisons: Sequence[Overall], counted: Mapping[tuple[str, str], Parts], seed: int = 0) -> list[Overall]:
    """Add the results with failed runs counted as losses to each comparison in which something failed.

    Args:
        comparisons: without losses.
        counted: each category's part with losses, by comparison; also categories in which nothing else is left.
        seed: of random flips.
    """
    parts = {(overall.a, overall.b): counted[overall.a, overall.b] for overall in comparisons}
    if not parts:
        return []
    completed = []
    for overall, p in zip(comparisons, step_down_max_t(_weighted(parts), seed), strict=True):
        of_pair = parts[overall.a, overall.b]
        shares_a, shares_b = zip(*(part.shares for part in of_pair.values()), strict=True)
        failed_a, failed_b = float(np.mean(shares_a)), float(np.mean(shares_b))
        if failed_a or failed_b:
            mean = float(np.mean(list(_means(of_pair).values())))
            overall = replace(overall, mean_failures=mean, p_failures=p, shares=(failed_a, failed_b))
        completed.append(overall)
    return completed


def _means(of_pair: Parts) -> dict[str, float]:
    """Return each category's mean over its families."""
    return {name: float(np.mean(list(part.families.values()))) for name, part in of_pair.items()}


def _weighted(pairs: Mapping[tuple[str, str], Parts]) -> np.ndarray:
    """Return families' differences by their weight in the mean of means, ``(pairs, units)``, 0 where a pair lacks a unit.

    A family's weight is 1 / its category's families / the pair's categories. Units are (category, family), sorted.
    """
    weighted: list[dict[tuple[str, str], float]] = []
    for of_pair in pairs.values():
        row: dict[tuple[str, str], float] = {}
        for category, part in of_pair.items():
            weight = 1 / len(part.families) / len(of_pair)
            for family, difference in part.families.items():
                row[category, family] = difference * weight
        weighted.append(row)
    units = sorted(set().union(*weighted))
    columns = {unit: column for column, unit in enumerate(units)}
    matrix = np.zeros((len(weighted), len(units)))
    for number, row in enumerate(weighted):
        for unit, difference in row.items():
            matrix[number, columns[unit]] = difference
    return matrix


def over_families(strata: Sequence[np.ndarray]) -> Interval | None:
    """Return the t interval of the mean of means over families, with Satterthwaite's degrees of freedom."""
    if min(map(len, strata)) < 2:
        return None
    error, df = combine(unit_parts(strata))
    return t_interval(mean_of_means(strata), error, df)
