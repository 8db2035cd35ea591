"""All categories together: the mean of the categories' means, flips by family within categories.

One test over all tasks would mix metrics and let the category with most tasks decide; so every category counts the same,
and inside a category every family of related tasks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from comparison.multiple import holm, step_down_max_t
from comparison.pairing import run_means
from comparison.seeds import Variance, crossed_mean, seed_variances
from comparison.selection import Table


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
    """

    a: str
    b: str
    categories: dict[str, float]
    mean: float
    families: int
    p: float
    p_run: float | None
    opposed: bool


@dataclass(frozen=True)
class Part:
    """What one category gives to one comparison.

    Attributes:
        families: mean difference by family; families are named by their first task.
        sign: of the category's mean if it has a star, else 0.
    """

    families: Mapping[str, float]
    sign: float


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
    units = sorted(
        {(name, family) for of_pair in several.values() for name, part in of_pair.items() for family in part.families}
    )
    rows, drafts, tested = [], [], {}
    for (a, b), of_pair in several.items():
        means = {name: float(np.mean(list(part.families.values()))) for name, part in of_pair.items()}
        share = {name: 1 / len(part.families) / len(of_pair) for name, part in of_pair.items()}
        rows.append(
            [of_pair[name].families.get(family, 0.0) * share[name] if name in of_pair else 0.0 for name, family in units]
        )
        signs = {part.sign for part in of_pair.values()} - {0.0}
        families = sum(len(part.families) for part in of_pair.values())
        drafts.append(Overall(a, b, means, float(np.mean(list(means.values()))), families, 1.0, None, len(signs) > 1))
        strata = [np.array(list(part.families.values())) for part in of_pair.values()]
        found = crossed_mean(strata, runs[a, b].counts, runs[a, b].variances)
        if found is not None:
            tested[a, b] = found.p
    if not rows:
        return []
    adjusted = dict(zip(tested, holm(list(tested.values())), strict=True))
    return [
        replace(one, p=p, p_run=max(p, adjusted[one.a, one.b]) if (one.a, one.b) in adjusted else None)
        for one, p in zip(drafts, step_down_max_t(np.array(rows), seed), strict=True)
    ]
