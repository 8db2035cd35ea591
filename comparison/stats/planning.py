"""Plan a comparison: how often a true difference gets a star, how much too large a star then says it is, what size is needed.

Studies are simulated with the spread that is given, and judged by joint sign flips of families and, where runs are repeated,
by families crossed with runs. Two shortcuts keep it fast: the single step of max-T instead of step-down, and Bonferroni's
level instead of Holm's; with one design better than the others both cost less than a point of power.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import special

from comparison.stats.effects import ALPHA
from comparison.stats.exact import TOLERANCE, sign_patterns

FEWEST = 6  # families that can be decided at all
ENUMERATED = 10  # families up to which all patterns are visited
DRAWN = 999  # random patterns beyond
AT_ONCE = 64  # studies
MOST = 256  # families that are tried


@dataclass(frozen=True)
class Spread:
    """Spread of a pilot.

    Attributes:
        families: standard deviation over families of a difference between two systems, in score units.
        runs: standard deviation over training runs of a design's mean score; 0 for none.
        comparisons: that are corrected for together.
        baseline_varies: whether the baseline has that noise too; not if it is a model that nobody trains again.
    """

    families: float
    runs: float
    comparisons: int
    baseline_varies: bool = True


@dataclass(frozen=True)
class Prospect:
    """The prospect of a study of one size for a true difference.

    Attributes:
        power: share of studies in which the better design gets a star.
        exaggeration: mean difference in those studies over the true one; None where there are none.
    """

    power: float
    exaggeration: float | None


def prospect(spread: Spread, difference: float, families: int, runs: int = 1, studies: int = 400, seed: int = 0) -> Prospect:
    """Simulate studies in which one design out of `comparisons` is better than the baseline and the others are not.

    Args:
        spread: of the pilot.
        difference: the true one, in score units.
        families: unrelated tasks, or families of related ones.
        runs: of each design; 1 for checkpoints, whose own noise is then part of what is compared.
        studies: how many.
        seed: of everything random.
    """
    if families < FEWEST:
        return Prospect(0.0, None)
    generator = np.random.default_rng(seed)
    count = spread.comparisons
    designs = generator.normal(size=(studies, count + 1, families)) * spread.families / np.sqrt(2)
    noise = generator.normal(size=(studies, count + 1, runs)) * (spread.runs * (runs > 1))
    if not spread.baseline_varies:
        noise[:, 0] = 0.0
    means = designs + noise.mean(axis=2)[:, :, None]
    differences = means[:, 1:] - means[:, :1]
    differences[:, 0] += difference
    starred = _flips(differences, seed)
    if runs > 1 and spread.runs:
        starred &= _crossed(differences, noise, ALPHA / count)
    sizes = differences[:, 0].mean(axis=1)
    starred &= sizes * difference > 0
    if not starred.any():
        return Prospect(0.0, None)
    return Prospect(float(starred.mean()), float(sizes[starred].mean() / difference))


def _flips(differences: np.ndarray, seed: int) -> np.ndarray:
    """Return whether the first comparison of each study is rejected by the single step of max-T, ``(studies,)``."""
    studies, count, families = differences.shape
    if families <= ENUMERATED:
        patterns = sign_patterns(families)
    else:
        drawn = np.random.default_rng(seed + 1).integers(0, 2, size=(DRAWN, families))
        patterns = np.vstack([np.ones(families), 1.0 - 2.0 * drawn])
    scaled = differences / np.sqrt((differences**2).sum(axis=2, keepdims=True))
    rejected = np.zeros(studies, dtype=bool)
    for start in range(0, studies, AT_ONCE):
        block = scaled[start : start + AT_ONCE]
        statistics = np.abs(block.reshape(-1, families) @ patterns.T).reshape(len(block), count, -1)
        highest = statistics.max(axis=1)
        share = np.mean(highest >= statistics[:, :1, 0] - TOLERANCE, axis=1)
        rejected[start : start + AT_ONCE] = share <= ALPHA
    return rejected


def _crossed(differences: np.ndarray, noise: np.ndarray, level: float) -> np.ndarray:
    """Return whether the first comparison of each study is rejected by families crossed with runs (`crossed.JointError`)."""
    families, runs = differences.shape[2], noise.shape[2]
    first = differences[:, 0]
    of_units = first.var(axis=1, ddof=1) / families
    of_a, of_b = noise[:, 1].var(axis=1, ddof=1) / runs, noise[:, 0].var(axis=1, ddof=1) / runs
    of_runs = of_a + of_b
    df_runs = of_runs**2 / ((of_a**2 + of_b**2) / (runs - 1))
    share = of_runs / (of_units + of_runs)
    units, by_runs = special.stdtrit(families - 1, 1 - level / 2), special.stdtrit(df_runs, 1 - level / 2)
    quantile = units ** (1 - share) * by_runs**share
    return np.asarray(np.abs(first.mean(axis=1)) > quantile * np.sqrt(of_units + of_runs))


def families_needed(
    spread: Spread, difference: float, power: float, runs: int = 1, studies: int = 400, seed: int = 0
) -> int | None:
    """Return the smallest number of families with this power; None where `MOST` do not reach it.

    More tasks average out the spread over tasks, and never the noise of runs: with few runs no number of tasks is enough.
    """

    def enough(families: int) -> bool:
        return prospect(spread, difference, families, runs, studies, seed).power >= power

    return _smallest(enough, about_needed(spread, difference, power))


def _smallest(enough: Callable[[int], bool], guess: int) -> int | None:
    """Return the smallest number that is enough, by doubling from a guess and halving the rest."""
    low, high = FEWEST - 1, max(FEWEST, min(guess, MOST))
    while not enough(high):
        if high == MOST:
            return None
        low, high = high, min(MOST, 2 * high)
    while high - low > 1:
        middle = (low + high) // 2
        if enough(middle):
            high = middle
        else:
            low = middle
    return high


def about_needed(spread: Spread, difference: float, power: float) -> int:
    """Return roughly how many families are needed without noise between runs, at least six: the normal approximation.

    n = ((z of 1 - α / (2 m)) + (z of power))² (sd / difference)² + z² / 2 for m comparisons, of which the last term is what a
    spread that is estimated costs (Guenther 1981).
    """
    level = float(special.ndtri(1 - ALPHA / (2 * spread.comparisons)))
    total = (level + float(special.ndtri(power))) * spread.families / difference
    return max(FEWEST, int(np.ceil(total**2 + level**2 / 2)))
