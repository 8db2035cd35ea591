"""Second opinions on a mean difference over families of tasks: a mixed model, and a Bayesian estimate with a margin.

Both take the differences of single tasks as y = μ + family + task, with family and task effects normal of variances τ² and σ².
Systems are fixed, families and tasks random; the noise of training runs is added to the error of μ. With λ = τ² / σ², n tasks
in a family, m its mean, w = 1 / (λ + 1 / n) and W the squares inside families:

    μ(λ) = Σ w m / Σ w,    σ²(λ) = (W + Σ w (m - μ)²) / (N - 1),    error² = σ² / Σ w,

and the restricted likelihood of λ is exp(-((N - 1) log σ² + Σ log(1 + λ n) + log Σ w) / 2) (Patterson and Thompson 1971). The
mixed model takes the λ with the largest one. The Bayesian estimate averages over all of them, the correlation inside families
λ / (1 + λ) uniform, μ flat, σ as 1 / σ; given λ, μ is Student's t with N - 1 degrees of freedom (Box and Tiao 1973, chapter 5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from comparison.stats.crossed import JointError, Parts
from comparison.stats.effects import Interval, combine

CORRELATIONS = np.linspace(0.0, 0.995, 200)  # inside families, of which λ = ρ / (1 - ρ)


@dataclass(frozen=True)
class SecondOpinion:
    """A mean difference by other methods than sign flips; this comparison alone, uncorrected.

    Attributes:
        mixed_mean: of the mixed model.
        mixed_interval: 95 %.
        mixed_p: two-sided.
        mean: posterior mean.
        interval: 95 % of the posterior.
        p_better: probability that a is better than b by more than the margin.
        p_equal: that the difference is within the margin.
        p_worse: that a is worse by more than the margin.
        p_positive: that a is better at all.
    """

    mixed_mean: float
    mixed_interval: Interval
    mixed_p: float
    mean: float
    interval: Interval
    p_better: float
    p_equal: float
    p_worse: float
    p_positive: float


def second_opinion(families: Sequence[Sequence[float]], margin: float, from_runs: Parts | None = None) -> SecondOpinion | None:
    """Return both second opinions.

    Args:
        families: differences of each family's tasks.
        margin: of equivalence, in score units.
        from_runs: what training runs add to the variance; None where that is unknown: checkpoints.

    Returns:
        None below two families, or where nothing varies.
    """
    if len(families) < 2:
        return None
    sizes = np.array(list(map(len, families)), dtype=np.float64)
    means = np.array(list(map(np.mean, families)))
    inside = 0.0
    for tasks, mean in zip(families, means, strict=True):
        inside += float(np.sum((np.asarray(tasks) - mean) ** 2))
    grid = _grid(means, sizes, inside)
    if grid is None:
        return None
    centres, errors, chances = grid
    of_runs, df_runs = combine(from_runs or [(0.0, 1.0)])
    best = int(np.argmax(chances))
    mixed_error = float(np.hypot(errors[best], of_runs))
    joint = JointError(mixed_error, (of_runs / mixed_error) ** 2, len(families) - 1, df_runs)
    posterior = _Posterior(centres, np.hypot(errors, of_runs), chances, _df(errors, sizes.sum() - 1, of_runs, df_runs))
    return SecondOpinion(
        mixed_mean=float(centres[best]),
        mixed_interval=joint.interval(float(centres[best])),
        mixed_p=joint.p(float(centres[best])),
        mean=float(chances @ centres),
        interval=Interval(posterior.quantile(0.025), posterior.quantile(0.975), 0.95),
        p_better=1 - posterior.below(margin),
        p_equal=posterior.below(margin) - posterior.below(-margin),
        p_worse=posterior.below(-margin),
        p_positive=1 - posterior.below(0.0),
    )


def _grid(means: np.ndarray, sizes: np.ndarray, inside: float) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Return μ, its error and the posterior probability at each correlation, ``(correlations,)``; None where nothing varies."""
    correlations = CORRELATIONS
    if sizes.max() == 1:  # one task in each family: nothing tells families from tasks, and nothing depends on it
        correlations = CORRELATIONS[:1]
    ratios = (correlations / (1 - correlations))[:, None]
    weights = 1 / (ratios + 1 / sizes)
    total = weights.sum(axis=1)
    centres = weights @ means / total
    squares = inside + (weights * (means - centres[:, None]) ** 2).sum(axis=1)
    if not squares.min() > 0:
        return None
    df = sizes.sum() - 1
    log_likelihood = -(df * np.log(squares / df) + np.log1p(ratios * sizes).sum(axis=1) + np.log(total)) / 2
    chances = np.exp(log_likelihood - log_likelihood.max())
    return centres, np.sqrt(squares / df / total), chances / chances.sum()


def _df(errors: np.ndarray, df: float, of_runs: float, df_runs: float) -> np.ndarray:
    """Return Satterthwaite's degrees of freedom of each error with that of runs added."""
    of_units = errors**2
    return np.asarray((of_units + of_runs**2) ** 2 / (of_units**2 / df + of_runs**4 / df_runs))


@dataclass(frozen=True)
class _Posterior:
    """A mixture of Student's t distributions, each array ``(correlations,)``."""

    centres: np.ndarray
    scales: np.ndarray
    chances: np.ndarray
    dfs: np.ndarray

    def below(self, value: float) -> float:
        """Return the probability of a smaller difference."""
        return float(self.chances @ special.stdtr(self.dfs, (value - self.centres) / self.scales))

    def quantile(self, probability: float) -> float:
        """Return a quantile by halving."""
        reach = 200 * float(self.scales.max())
        low, high = float(self.centres.min()) - reach, float(self.centres.max()) + reach
        for _ in range(60):
            middle = (low + high) / 2
            if self.below(middle) < probability:
                low = middle
            else:
                high = middle
        return (low + high) / 2
