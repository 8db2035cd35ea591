"""Describe a handful of paired differences: how large they are, how sure, and what to expect on a new task.

The units are tasks, or families of related tasks (each the mean of its tasks). Tasks count as independent only if no two
are related, so the intervals that speak of other tasks are those over families.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from comparison.stats.exact import (
    between_averages,
    floor,
    of_one_size,
    of_signed_ranks,
    pratt_ranks,
    sign_flips,
    walsh_averages,
)

CONFIDENCE = 0.95
ALPHA = 0.05
AT_ONCE = 512  # comparisons described together


@dataclass(frozen=True)
class Interval:
    """An interval in score units; `confidence` is exact for Hodges-Lehmann intervals and nominal for others."""

    low: float
    high: float
    confidence: float

    def inside(self, margin: float) -> bool:
        """Return whether it lies within ± margin."""
        return -margin <= self.low and self.high <= margin

    @property
    def excludes_zero(self) -> bool:
        """True where it lies on one side of zero."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Effect:
    """Differences a - b over units.

    Attributes:
        units: number of tasks or families.
        wins: units where a is better.
        losses: units where b is better.
        ties: units with the same score, to 1e-6.
        mean: mean difference.
        sd: standard deviation over units; None for one unit.
        median: median difference.
        interval: Student's t, 95 %; None for one unit.
        interval_90: Student's t, 90 %: the one that equivalence is read from.
        new_unit: where the difference on one more such unit may fall, 95 %.
        p_t: two-sided p-value of the t test.
        hodges_lehmann: median of all pairs' means.
        hodges_lehmann_interval: exact; None where no interval has 95 %.
        hodges_lehmann_interval_90: exact; None where no interval has 90 %.
        w_plus: signed ranks of the wins.
        w_minus: signed ranks of the losses.
        rank_biserial: consistency of the sign, -1 to 1.
        p_wilcoxon: exact two-sided, zeros as Pratt.
        p_sign_flip: two-sided, of the mean, under all flips of signs.
        p_floor: smallest p that this number of units can reach.
    """

    units: int
    wins: int
    losses: int
    ties: int
    mean: float
    sd: float | None
    median: float
    interval: Interval | None
    interval_90: Interval | None
    new_unit: Interval | None
    p_t: float | None
    hodges_lehmann: float
    hodges_lehmann_interval: Interval | None
    hodges_lehmann_interval_90: Interval | None
    w_plus: float
    w_minus: float
    rank_biserial: float
    p_wilcoxon: float
    p_sign_flip: float
    p_floor: float


@dataclass(frozen=True)
class _StudentT:
    """Student's t for the mean of several units; every figure is None for one unit, whose spread is unknown."""

    sd: float | None = None
    interval: Interval | None = None
    interval_90: Interval | None = None
    new_unit: Interval | None = None
    p: float | None = None


def describe(differences: Sequence[float] | np.ndarray) -> Effect:
    """Describe differences ``(units,)``, at least one, all finite.

    >>> effect = describe([0.02, 0.01, 0.03, -0.01])
    >>> effect.wins, effect.losses, round(effect.mean, 4), effect.p_sign_flip
    (3, 1, 0.0125, 0.375)
    """
    return describe_all([np.asarray(differences, dtype=np.float64)])[0]


def describe_all(comparisons: Sequence[np.ndarray]) -> list[Effect]:
    """Describe many comparisons, ``(units,)`` each; those of one size are ranked, sorted and flipped together."""
    effects: dict[int, Effect] = {}
    p_values = sign_flips(comparisons)
    for numbers, rows in of_one_size(comparisons):
        for start in range(0, len(rows), AT_ONCE):
            block = rows[start : start + AT_ONCE]
            ranks, averages = pratt_ranks(block), walsh_averages(block)
            medians, centres = np.median(block, axis=1), np.median(averages, axis=1)
            for row, values in enumerate(block):
                number = int(numbers[start + row])
                shape = _Shape(ranks[row], averages[row], float(medians[row]), float(centres[row]), p_values[number])
                effects[number] = _effect(values, shape)
    return [effects[number] for number in range(len(comparisons))]


@dataclass(frozen=True)
class _Shape:
    """A part of an effect that many comparisons compute together: ranks, sorted Walsh averages, medians and p."""

    ranks: np.ndarray
    averages: np.ndarray
    median: float
    centre: float
    p_sign_flip: float


def _effect(values: np.ndarray, shape: _Shape) -> Effect:
    ranks = of_signed_ranks(shape.ranks)
    student = _student_t(values)
    return Effect(
        units=values.size,
        wins=int((values > 0).sum()),
        losses=int((values < 0).sum()),
        ties=int((values == 0).sum()),
        mean=float(values.mean()),
        sd=student.sd,
        median=shape.median,
        interval=student.interval,
        interval_90=student.interval_90,
        new_unit=student.new_unit,
        p_t=student.p,
        hodges_lehmann=shape.centre,
        hodges_lehmann_interval=_exact_interval(shape.averages, values.size, CONFIDENCE),
        hodges_lehmann_interval_90=_exact_interval(shape.averages, values.size, 0.90),
        w_plus=ranks.plus,
        w_minus=ranks.minus,
        rank_biserial=ranks.rank_biserial,
        p_wilcoxon=ranks.p,
        p_sign_flip=shape.p_sign_flip,
        p_floor=floor(values.size),
    )


def _student_t(values: np.ndarray) -> _StudentT:
    """Return mean ± t sd / sqrt(n) with n - 1 degrees of freedom; for one more unit mean ± t sd sqrt(1 + 1 / n)."""
    if values.size < 2:
        return _StudentT()
    mean = float(values.mean())
    sd = float(values.std(ddof=1))
    error = float(sd / np.sqrt(values.size))
    error_of_new_unit = error * np.sqrt(values.size + 1)  # sd / sqrt(n) x sqrt(n + 1) = sd sqrt(1 + 1 / n)
    df = values.size - 1
    return _StudentT(
        sd=sd,
        interval=t_interval(mean, error, df),
        interval_90=t_interval(mean, error, df, 0.90),
        new_unit=t_interval(mean, error_of_new_unit, df),
        p=t_test(mean, error, df),
    )


def t_interval(mean: float, error: float, df: float, confidence: float = CONFIDENCE) -> Interval:
    """Return mean ± the t quantile times the standard error."""
    half = float(special.stdtrit(df, (1 + confidence) / 2)) * error
    return Interval(mean - half, mean + half, confidence)


def t_test(mean: float, error: float, df: float) -> float:
    """Return the two-sided p-value of mean / error; where nothing varies, 1 for no difference and 0 for any."""
    if error == 0:
        return 1.0 if mean == 0 else 0.0
    return float(2 * special.stdtr(df, -abs(mean) / error))


def combine(parts: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the standard error and Satterthwaite's degrees of freedom of a sum of independent (variance, df).

    With V the sum of the variances v, the error is sqrt(V) and df = V² / sum(v² / df_v) (Satterthwaite 1946).
    """
    variances: list[float] = []
    freedoms: list[float] = []
    weights: list[float] = []
    for variance, df in parts:
        variances.append(variance)
        freedoms.append(df)
        weights.append(variance**2 / df)
    total = sum(variances)
    if total == 0:
        return 0.0, float(sum(freedoms))
    return float(np.sqrt(total)), float(total**2 / sum(weights))


def within_p(mean: float, error: float, df: float, margin: float) -> float:
    """Return the larger p-value of two one-sided t tests of a mean with this standard error against ± margin."""
    room = margin - abs(mean)
    if error == 0:
        return 0.0 if room > 0 else 1.0
    return float(special.stdtr(df, -room / error))


def new_task_interval(families: Sequence[Sequence[float]]) -> Interval | None:
    """Return where the difference on one new task, related to none of these, may fall (95 %).

    The spread of a single task is estimated from all tasks around the mean of the families, so that a large family, whose
    mean varies less than a task does, does not make it too narrow. Where each family is one task this is the textbook's
    mean ± t sd sqrt(1 + 1/n).

    Args:
        families: differences of each family's tasks.
    """
    count = len(families)
    if count < 2:
        return None
    means = [sum(tasks) / len(tasks) for tasks in families]  # a handful: plain numbers are faster than arrays
    mean = sum(means) / count
    variance_of_mean = sum((of_family - mean) ** 2 for of_family in means) / (count - 1) / count
    variance_of_task = 0.0
    for tasks in families:
        squares = sum((value - mean) ** 2 for value in tasks)
        variance_of_task += squares / len(tasks) / count
    error = float(np.sqrt(variance_of_task + 2 * variance_of_mean))
    return t_interval(mean, error, count - 1)


def _exact_interval(averages: np.ndarray, units: int, confidence: float) -> Interval | None:
    interval = between_averages(averages, units, confidence)
    if interval is None:
        return None
    return Interval(*interval)
