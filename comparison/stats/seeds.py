"""Another training run: tasks crossed with seeds, what seed noise would overturn a result, and where variance comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from comparison.stats.effects import CONFIDENCE, Interval, combine, t_interval, t_test


@dataclass(frozen=True)
class SeedVariance:
    """Variance over training runs of a design's mean score.

    Attributes:
        value: the variance of one run.
        df: its degrees of freedom.
        source: ``own`` (three runs or more of the design itself), or ``pooled`` over all designs with several runs.
    """

    value: float
    df: int
    source: str


@dataclass(frozen=True)
class Crossed:
    """A difference of means with both tasks and runs as samples.

    Attributes:
        mean: mean difference.
        error: its standard error.
        interval: 95 %.
        p: two-sided, one comparison.
        df: degrees of freedom, see `crossed_mean`.
        source: where the variance over runs is from: ``own`` or ``pooled`` (weaker: designs taken to vary alike).
    """

    mean: float
    error: float
    interval: Interval
    p: float
    df: float
    source: str


ENOUGH = 4  # degrees of freedom of the variance over runs

# Over runs of each of two designs; None where it is unknown.
Variance = tuple[SeedVariance | None, SeedVariance | None]


def seed_variances(means: Sequence[np.ndarray]) -> list[SeedVariance | None]:
    """Return each design's variance over runs, from its run means ``(runs,)``.

    A design with three runs or more has its own; another one takes the variance pooled over all designs with at least two
    runs, if that has two degrees of freedom; None where nothing is known.
    """
    pooled = _pooled_variance(means)
    variances: list[SeedVariance | None] = []
    for runs in means:
        if len(runs) > 2:
            variances.append(SeedVariance(float(np.var(runs, ddof=1)), len(runs) - 1, "own"))
        else:
            variances.append(pooled)
    return variances


def _pooled_variance(means: Sequence[np.ndarray]) -> SeedVariance | None:
    """Return sum(df v) / sum(df) over designs with several runs; None below two degrees of freedom."""
    weighted: list[float] = []
    df = 0
    for runs in means:
        if len(runs) > 1:
            weighted.append(float(np.var(runs, ddof=1)) * (len(runs) - 1))
            df += len(runs) - 1
    if df < 2:
        return None
    return SeedVariance(sum(weighted) / df, df, "pooled")


def crossed(units: np.ndarray, runs: tuple[int, int], variances: Variance) -> Crossed | None:
    """Test a difference over units (families of tasks) and training runs together.

    Args:
        units: differences of the designs' means over their runs, ``(families,)``.
        runs: how many of each design.
        variances: over runs of each design's mean; None where unknown.

    Returns:
        None with fewer than two units, or where the variance over runs is unknown.
    """
    return crossed_mean([units], runs, variances)


def crossed_mean(strata: Sequence[np.ndarray], runs: tuple[int, int], variances: Variance) -> Crossed | None:
    """Test a mean of means over units and training runs: each stratum (category) of units counts the same.

    V = sum(s²/T)/C² + v_a/S_a + v_b/S_b with Satterthwaite's degrees of freedom: the idea of Clark's quasi-F (1973).
    Slightly conservative, since seed x task noise is in the units and in the runs. The variances are of `seed_variances`.

    With fewer than `ENOUGH` degrees of freedom for the runs' variance it is often far too small, and then Satterthwaite's
    formula has too many, those of the units: 8 % of simulated studies had a wrong star. So t has those of the runs alone,
    which errs on the safe side (Mickey and Brown 1966, Bounds on the distribution functions of the Behrens-Fisher statistic).
    """
    first, second = variances
    if min(map(len, strata)) < 2 or first is None or second is None:
        return None
    from_runs = run_parts((first, second), runs)
    mean = mean_of_means(strata)
    error, df = combine([*unit_parts(strata), *from_runs])
    _, dfs_of_runs = zip(*from_runs, strict=True)
    df_of_runs = sum(dfs_of_runs)
    if df_of_runs < ENOUGH:
        df = min(df, float(df_of_runs))
    source = "pooled"
    if first.source == second.source == "own":
        source = "own"
    return Crossed(mean, error, t_interval(mean, error, df), t_test(mean, error, df), df, source)


def mean_of_means(strata: Sequence[np.ndarray]) -> float:
    """Return the mean of the strata's means, so that each stratum counts the same."""
    return float(np.mean(list(map(np.mean, strata))))


def unit_parts(strata: Sequence[np.ndarray]) -> list[tuple[float, float]]:
    """Return what units add to the variance of the mean of means, s² / T / C² each, as independent (variance, df)."""
    parts: list[tuple[float, float]] = []
    for units in strata:
        parts.append((float(np.var(units, ddof=1)) / len(units) / len(strata) ** 2, len(units) - 1))
    return parts


def run_parts(variances: tuple[SeedVariance, SeedVariance], runs: tuple[int, int]) -> list[tuple[float, float]]:
    """Return what training runs add to the variance of a difference, as independent (variance, df).

    A pooled variance is one estimate however many designs borrow it, and it contains that of each design with runs of its
    own: ``v_pooled = (df_own v_own + df_rest v_rest) / df_pooled``. So where one design borrows and the other does not,
    ``v_own`` counts once, with all its weight.
    """
    first, second = variances
    if first.source == second.source == "own":
        return [(first.value / runs[0], first.df), (second.value / runs[1], second.df)]
    if first.source == second.source:
        return [(first.value * (1 / runs[0] + 1 / runs[1]), first.df)]
    if first.source == "own":
        return _half_borrowed(first, runs[0], second, runs[1])
    return _half_borrowed(second, runs[1], first, runs[0])


def _half_borrowed(own: SeedVariance, own_runs: int, pooled: SeedVariance, borrowed_runs: int) -> list[tuple[float, float]]:
    """Return the parts where only the design with `own_runs` has a variance of its own, which is part of the pooled one."""
    share = own.value * own.df / pooled.df  # of the pooled variance
    parts: list[tuple[float, float]] = [(own.value / own_runs + share / borrowed_runs, own.df)]
    if pooled.df > own.df:
        parts.append((max(0.0, pooled.value - share) / borrowed_runs, pooled.df - own.df))
    return parts


def overturning_seed_sd(mean: float, error: float, df: float, runs: tuple[int, int] = (1, 1)) -> float:
    """Return the seed noise above which one difference alone could be chance: the sd over runs of a design's mean score.

    The 95 % t interval over units and runs reaches zero there; 0 where it reaches zero without any seed noise. Where several
    differences are compared, `corrected_seed_sds` is what goes with their marks.
    """
    return _tipping_sd(Measured(mean, error, df, runs), 1 - CONFIDENCE)


@dataclass(frozen=True)
class Measured:
    """A comparison for which a tipping point is computed: mean, standard error and degrees of freedom without seed noise.

    Attributes:
        mean: mean difference.
        error: its standard error.
        df: degrees of freedom.
        runs: of each design.
    """

    mean: float
    error: float
    df: float
    runs: tuple[int, int]


def corrected_seed_sds(tests: Sequence[Measured], alpha: float) -> list[float]:
    """Return each comparison's tipping point with Holm's correction over all of them.

    It is the largest sd over runs, taken to be the same for all designs, at which Holm's step-down test at `alpha` still
    rejects this comparison; 0 where it does not reject without any seed noise. Holm's rejections do not depend on the order
    in which they are made (each rejects whoever passes alpha over the number that is left), so those who last longest are
    rejected first, and nobody lasts longer than those before.
    """
    tipping = np.zeros(len(tests))
    left = list(range(len(tests)))
    highest = np.inf
    while left and highest > 0:
        limits = [_tipping_sd(tests[number], alpha / len(left)) for number in left]
        highest = min(highest, max(limits))
        tipping[left.pop(int(np.argmax(limits)))] = highest
    return list(map(float, tipping))


def _tipping_sd(test: Measured, level: float) -> float:
    """Return the sd over runs, s, at which the test's p-value equals `level`.

    With t the quantile, mean = t sqrt(error² + s² (1 / S_a + 1 / S_b)) is solved for s, the degrees of freedom held fixed;
    0 where the mean is not that large even without seed noise.
    """
    quantile = float(special.stdtrit(test.df, 1 - level / 2))
    room = (test.mean / quantile) ** 2 - test.error**2
    return float(np.sqrt(max(0.0, room) / (1 / test.runs[0] + 1 / test.runs[1])))


@dataclass(frozen=True)
class Variances:
    """Standard deviations of the parts of a score: tasks, design x task, training run, and run x task with what is left.

    Negative estimates of a variance are shown as 0.
    """

    task: float
    design_by_task: float
    run: float
    run_by_task: float


def variance_parts(scores: np.ndarray) -> Variances | None:
    """Return the parts by analysis of variance; None without two designs, two runs and two tasks.

    The mean squares (MS) of tasks, of design x task, of runs inside designs, and of what is left, have as expectations sums
    of the parts' variances; those are solved for the variances (the method of moments).

    Args:
        scores: ``(designs, runs, tasks)``, runs nested in designs.
    """
    designs, runs, tasks = scores.shape
    if min(designs, runs, tasks) < 2:
        return None
    # 1. Means: of a design on a task (cells), of a run, of a task, of a design, of all.
    cells = scores.mean(axis=1)  # (designs, tasks)
    run_means = scores.mean(axis=2)  # (designs, runs)
    task_means = scores.mean(axis=(0, 1))  # (tasks,)
    design_means = scores.mean(axis=(1, 2))  # (designs,)
    grand = scores.mean()
    # 2. Mean squares: squared deviations over their degrees of freedom.
    residuals = scores - cells[:, None, :] - run_means[:, :, None] + design_means[:, None, None]
    ms_residual = (residuals**2).sum() / (designs * (runs - 1) * (tasks - 1))
    ms_runs = tasks * ((run_means - design_means[:, None]) ** 2).sum() / (designs * (runs - 1))
    interaction = cells - design_means[:, None] - task_means[None, :] + grand
    ms_interaction = runs * (interaction**2).sum() / ((designs - 1) * (tasks - 1))
    ms_tasks = designs * runs * ((task_means - grand) ** 2).sum() / (tasks - 1)
    # 3. Variances from the mean squares' expectations.
    return Variances(
        task=_root((ms_tasks - ms_interaction) / (designs * runs)),
        design_by_task=_root((ms_interaction - ms_residual) / runs),
        run=_root((ms_runs - ms_residual) / tasks),
        run_by_task=_root(ms_residual),
    )


def _root(variance: float) -> float:
    """Return the standard deviation; 0 for a negative estimate."""
    return float(np.sqrt(max(0.0, variance)))
