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
from comparison.stats.seeds import Variance, crossed_mean, seed_variances


@dataclass(frozen=True)
class Overall:
    """One comparison over all categories.

    Attributes:
        a: a system.
        b: another.
        categories: category -> mean over its families.
        mean: over categories.
        families: in all.
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
        """Whether the same one is better with failed runs counted as losses, and less than half of its runs failed."""
        if self.p_failures is None:
            return True
        return self.p_failures <= ALPHA and self.mean * (self.mean_failures or 0.0) > 0 and self.shares[self.mean < 0] < 0.5


@dataclass(frozen=True)
class Part:
    """What one category gives to one comparison.

    Attributes:
        families: mean difference by family; families are named by their first task.
        sign: of the category's mean if it has a star, else 0.
        shares: of a's runs and of b's that failed and are counted as losses.
    """

    families: Mapping[str, float]
    sign: float
    shares: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Runs:
    """How many training runs a comparison's systems have, and their variances over all its categories."""

    counts: tuple[int, int]
    variances: Variance


def runs_of(table: Table, names: tuple[str, str], families: Mapping[str, Sequence[Sequence[str]]]) -> Runs:
    """Return the runs behind a comparison, from run means over categories.

    Args:
        table: the scores.
        names: of the two systems.
        families: category -> the comparison's common tasks by family.
    """
    means = []
    for system in table.systems:
        of_categories = [run_means(table, system, of) for of in families.values()]
        complete = min(map(len, of_categories)) == max(map(len, of_categories))
        means.append(np.mean(of_categories, axis=0) if complete else np.empty(0))
    known = dict(zip(table.systems, zip(map(len, means), seed_variances(means), strict=True), strict=True))
    (runs_a, of_a), (runs_b, of_b) = known[names[0]], known[names[1]]
    return Runs((max(1, runs_a), max(1, runs_b)), (of_a, of_b))


def compare_overall(
    parts: Mapping[tuple[str, str], Mapping[str, Part]], runs: Mapping[tuple[str, str], Runs], seed: int = 0
) -> list[Overall]:
    """Compare over categories.

    Args:
        parts: by comparison (a, b) and category; comparisons over fewer than two categories are left out.
        runs: by comparison.
        seed: of random flips.
    """
    several = {names: of_pair for names, of_pair in parts.items() if len(of_pair) > 1}
    drafts, tested = [], {}
    for (a, b), of_pair in several.items():
        means = _means(of_pair)
        signs = {part.sign for part in of_pair.values()} - {0.0}
        families = sum(len(part.families) for part in of_pair.values())
        strata = [np.array(list(part.families.values())) for part in of_pair.values()]
        found = crossed_mean(strata, runs[a, b].counts, runs[a, b].variances)
        if found is not None:
            tested[a, b] = found.p
        interval = found.interval if found is not None else over_families(strata)
        mean = float(np.mean(list(means.values())))
        drafts.append(Overall(a, b, means, mean, families, 1.0, None, len(signs) > 1, interval))
    if not drafts:
        return []
    adjusted = dict(zip(tested, holm(list(tested.values())), strict=True))
    return [
        replace(one, p=p, p_run=max(p, adjusted[one.a, one.b]) if (one.a, one.b) in adjusted else None)
        for one, p in zip(drafts, step_down_max_t(_weighted(several), seed), strict=True)
    ]


def with_failures(
    found: Sequence[Overall], counted: Mapping[tuple[str, str], Mapping[str, Part]], seed: int = 0
) -> list[Overall]:
    """Add to each comparison in which something failed what it is with failed runs counted as losses.

    Args:
        found: the comparisons.
        counted: what each category gives with losses, by comparison; also categories in which nothing else is left.
        seed: of random flips.
    """
    wanted = {(one.a, one.b): counted[one.a, one.b] for one in found}
    if not wanted:
        return []
    made = []
    for one, p in zip(found, step_down_max_t(_weighted(wanted), seed), strict=True):
        of_pair = wanted[one.a, one.b]
        mean = float(np.mean(list(_means(of_pair).values())))
        of_a, of_b = (float(np.mean([part.shares[side] for part in of_pair.values()])) for side in (0, 1))
        made.append(replace(one, mean_failures=mean, p_failures=p, shares=(of_a, of_b)) if of_a or of_b else one)
    return made


def _means(of_pair: Mapping[str, Part]) -> dict[str, float]:
    return {name: float(np.mean(list(part.families.values()))) for name, part in of_pair.items()}


def _weighted(pairs: Mapping[tuple[str, str], Mapping[str, Part]]) -> np.ndarray:
    """Return families' differences by their weight in the mean of means, ``(pairs, units)``, 0 where a pair lacks a unit."""
    units = sorted({(name, family) for of_pair in pairs.values() for name, part in of_pair.items() for family in part.families})
    rows = []
    for of_pair in pairs.values():
        share = {name: 1 / len(part.families) / len(of_pair) for name, part in of_pair.items()}
        rows.append(
            [of_pair[name].families.get(family, 0.0) * share[name] if name in of_pair else 0.0 for name, family in units]
        )
    return np.array(rows)


def over_families(strata: Sequence[np.ndarray]) -> Interval | None:
    """Return the t interval of the mean of means over families, with Satterthwaite's degrees of freedom."""
    if min(map(len, strata)) < 2:
        return None
    error, df = combine([(float(np.var(of, ddof=1)) / len(of) / len(strata) ** 2, len(of) - 1) for of in strata])
    return t_interval(float(np.mean([np.mean(of) for of in strata])), error, df)
