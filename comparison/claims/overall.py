"""All categories together: the mean of the categories' means, flips by family within categories.

One test over all tasks would mix metrics and let the category with most tasks decide; so every category counts the same,
and inside a category every family of related tasks. A category with one family says nothing of how much other tasks of its
kind would differ, so it cannot carry a claim on other tasks: it is left out, and named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from comparison.claims.runs import PairRuns
from comparison.stats.crossed import Crossed, crossed_mean, mean_of_means, unit_parts
from comparison.stats.effects import ALPHA, CONFIDENCE, Interval, combine, t_interval
from comparison.stats.multiple import holm, step_down_max_t
from comparison.stats.simultaneous import cut_at_zero, hull, max_t_intervals


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
        interval: 95 %, of the mean: over families, and over runs where `p_run` is known.
        simultaneous: interval for all comparisons together, 95 %: it has no zero in it exactly where `p`, and `p_run` where it
            is known, are at most .05.
        left_out: categories with a single family, which are not in the mean.
        unknown: categories with tasks whose relations to others are unknown, which are not in the mean either.
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
    simultaneous: Interval | None = None
    left_out: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
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


Parts = Mapping[str, CategoryPart]  # by category
Names = tuple[str, str]  # of two systems
FEWEST = 2  # families of a category that can be in the mean


def carriers(parts: Mapping[Names, Parts]) -> dict[Names, dict[str, CategoryPart]]:
    """Return the parts of the categories that can carry a claim: those in which a comparison has two families or more."""
    carrying: dict[Names, dict[str, CategoryPart]] = {}
    for names, of_pair in parts.items():
        carrying[names] = {category: part for category, part in of_pair.items() if len(part.families) >= FEWEST}
    return carrying


def compare_overall(parts: Mapping[Names, Parts], runs: Mapping[Names, PairRuns], seed: int = 0) -> list[Overall]:
    """Compare over categories.

    Args:
        parts: by comparison (a, b) and category; comparisons over fewer than two categories that can carry it are left out.
        runs: by comparison, over the same categories.
        seed: of random flips.
    """
    several = {names: of_pair for names, of_pair in carriers(parts).items() if len(of_pair) > 1}
    if not several:
        return []
    drafts = []
    tests: dict[Names, Crossed] = {}
    for names, of_pair in several.items():
        strata = [np.array(list(part.families.values())) for part in of_pair.values()]
        test = crossed_mean(strata, runs[names].parts)
        if test is not None:
            tests[names] = test
        left_out = tuple(category for category in parts[names] if category not in of_pair)
        drafts.append(replace(_draft(names, of_pair), interval=over_families(strata), left_out=left_out))
    matrix, weights = _weighted(several)
    joint = step_down_max_t(matrix, seed)
    intervals = max_t_intervals(matrix, weights, joint, seed)
    adjusted = dict(zip(tests, holm([test.p for test in tests.values()]), strict=True))
    comparisons = []
    for draft, p, simultaneous in zip(drafts, joint, intervals, strict=True):
        overall = replace(draft, p=p, simultaneous=simultaneous)
        names = (draft.a, draft.b)
        if names in tests:
            overall = _with_runs(overall, tests[names], adjusted[names], len(tests))
        comparisons.append(overall)
    return comparisons


def _with_runs(overall: Overall, test: Crossed, p_holm: float, tests: int) -> Overall:
    """Add the crossed test."""
    corrected = replace(test.joint.interval(test.mean, 1 - ALPHA / tests), confidence=CONFIDENCE)
    simultaneous = hull(cut_at_zero(corrected, test.mean, p_holm), overall.simultaneous)
    return replace(overall, p_run=max(overall.p, p_holm), interval=test.interval, simultaneous=simultaneous)


def _draft(names: Names, of_pair: Parts) -> Overall:
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
    )


def with_failures(comparisons: Sequence[Overall], counted: Mapping[tuple[str, str], Parts], seed: int = 0) -> list[Overall]:
    """Add the results with failed runs counted as losses to each comparison in which something failed.

    Args:
        comparisons: without losses.
        counted: each category's part with losses, by comparison; also categories in which nothing else is left.
        seed: of random flips.
    """
    carrying = carriers(counted)
    parts = {(overall.a, overall.b): carrying[overall.a, overall.b] for overall in comparisons}
    if not parts:
        return []
    completed = []
    matrix, _ = _weighted(parts)
    for overall, p in zip(comparisons, step_down_max_t(matrix, seed), strict=True):
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


def _weighted(pairs: Mapping[Names, Parts]) -> tuple[np.ndarray, np.ndarray]:
    """Return families' differences by their weight in the mean of means, and the weights, both ``(pairs, units)``.

    A family's weight is 1 / its category's families / the pair's categories; 0 where a pair lacks it. Units are (category,
    family), sorted.
    """
    units: set[tuple[str, str]] = set()
    for of_pair in pairs.values():
        for category, part in of_pair.items():
            units.update((category, family) for family in part.families)
    columns = {unit: column for column, unit in enumerate(sorted(units))}
    differences, weights = np.zeros((len(pairs), len(units))), np.zeros((len(pairs), len(units)))
    for number, of_pair in enumerate(pairs.values()):
        for category, part in of_pair.items():
            weight = 1 / len(part.families) / len(of_pair)
            for family, difference in part.families.items():
                column = columns[category, family]
                differences[number, column] = difference * weight
                weights[number, column] = weight
    return differences, weights


def over_families(strata: Sequence[np.ndarray]) -> Interval | None:
    """Return the t interval of the mean of means over families, with Satterthwaite's degrees of freedom."""
    if min(map(len, strata)) < 2:
        return None
    error, df = combine(unit_parts(strata))
    return t_interval(mean_of_means(strata), error, df)
