"""Seed noise: how much of it would overturn a result, and where variance comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from comparison.stats.effects import CONFIDENCE


def overturning_seed_sd(mean: float, error: float, df: float, runs: tuple[float, float] = (1, 1)) -> float:
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
        runs: of each design; infinite for a model that nobody trains again, which has no seed noise.
    """

    mean: float
    error: float
    df: float
    runs: tuple[float, float]


def corrected_seed_sds(tests: Sequence[Measured], alpha: float) -> list[float]:
    """Return each comparison's tipping point with Holm's correction over all of them.

    It is the largest sd over runs, taken to be the same for all designs, at which Holm's step-down test at `alpha` still
    rejects this comparison; 0 where it does not reject without any seed noise. Holm's rejections do not depend on the order
    in which they are made (each rejects whoever passes alpha over the number that is left), so those who last longest are
    rejected first, and nobody lasts longer than those before.
    """
    tipping = np.zeros(len(tests))
    left = np.arange(len(tests))
    means, errors, dfs = _columns(tests)
    different, places = np.unique(dfs, return_inverse=True)  # few: quantiles take long
    shares = np.array([1 / test.runs[0] + 1 / test.runs[1] for test in tests])
    highest = np.inf
    while left.size and highest > 0:
        quantiles = special.stdtrit(different, 1 - alpha / left.size / 2)[places[left]]
        limits = _tipping_sds(means[left], errors[left], quantiles, shares[left])
        largest = int(np.argmax(limits))
        highest = min(highest, float(limits[largest]))
        tipping[left[largest]] = highest
        left = np.delete(left, largest)
    return list(map(float, tipping))


def _columns(tests: Sequence[Measured]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return means, errors and degrees of freedom, ``(tests,)`` each."""
    rows = [(test.mean, test.error, test.df) for test in tests]
    means, errors, dfs = np.array(rows, dtype=np.float64).reshape(-1, 3).T
    return means, errors, dfs


def _tipping_sd(test: Measured, level: float) -> float:
    """Return the sd over runs, s, at which the test's p-value equals `level`."""
    means, errors, dfs = _columns([test])
    share = np.array([1 / test.runs[0] + 1 / test.runs[1]])
    return float(_tipping_sds(means, errors, special.stdtrit(dfs, 1 - level / 2), share)[0])


def _tipping_sds(means: np.ndarray, errors: np.ndarray, quantiles: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Return the sd over runs, s, at which each test's statistic equals its quantile, ``(tests,)``.

    With t the quantile, mean = t sqrt(error² + s² (1 / S_a + 1 / S_b)) is solved for s, the degrees of freedom held fixed;
    0 where the mean is not that large even without seed noise. `shares` are 1 / S_a + 1 / S_b.
    """
    room = (means / quantiles) ** 2 - errors**2
    return np.asarray(np.sqrt(np.maximum(0.0, room) / shares))


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
