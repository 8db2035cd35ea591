"""Another training run: units (families of tasks) crossed with runs, each design with the noise of its own runs.

1. The variance of a difference of means is s²/F + v_a/S_a + v_b/S_b: over F families, and over S runs of each design.
2. A design's v is that of its own runs, with S - 1 degrees of freedom. Nothing is borrowed from other designs: that would take
   spreads that are shown to be alike, and fewer than eight runs each cannot show it (the 95 % bound of the ratio of two
   variances that look equal, F(.95; 7, 7), is 3.8, a factor of two in standard deviations; with three runs each it is 19).
3. A model as it is, which nobody trains again, has no such noise.
4. The quantile of the difference over its error lies between the t of families and the t of runs (`JointError`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from comparison.stats.effects import CONFIDENCE, Interval, combine

SMALLEST_P = 1e-16


@dataclass(frozen=True)
class RunVariance:
    """Variance over training runs of a design's mean score.

    Attributes:
        value: the variance of one run.
        df: its degrees of freedom; 0 for a model as it is, whose variance is 0.
    """

    value: float
    df: int


AS_IT_IS = RunVariance(0.0, 0)  # nobody trains it again

Parts = list[tuple[float, float]]  # independent parts of a variance, each with its degrees of freedom


def run_variance(means: np.ndarray) -> RunVariance | None:
    """Return a design's variance over runs from the mean of each, ``(runs,)``; None for a single run, which has none.

    >>> run_variance(np.array([0.5, 0.52, 0.51])).df
    2
    """
    if len(means) < 2:
        return None
    return RunVariance(float(np.var(means, ddof=1)), len(means) - 1)


@dataclass(frozen=True)
class JointError:
    """Standard error of a difference, made of independent parts: units, and training runs.

    With w the share of the runs in the variance, a quantile is t_units^(1 - w) x t_runs^w, the quantiles of Student's t with
    the degrees of freedom of each kind. Cochran and Cox (Experimental Designs, 1950, section 4.14) take the mean
    (1 - w) t_units + w t_runs, which never errs on the wrong side by much and, for two runs, covers 99 %; the geometric mean
    covers 92 to 98 % (docs/statistics.md). Satterthwaite's degrees of freedom cover 88 % there: where the runs' variance is
    the larger one and comes out small by chance, his formula forgets how little is known of it.

    Attributes:
        error: of the difference.
        share: w, the variance from runs over all.
        df_units: degrees of freedom of the variance over units.
        df_runs: of the variance over runs; Satterthwaite's where both designs have some.
    """

    error: float
    share: float
    df_units: float
    df_runs: float

    def quantile(self, probability: float) -> float:
        """Return the quantile of the difference over its error; `probability` is above .5."""
        units = float(special.stdtrit(self.df_units, probability))
        if not self.share:
            return units
        runs = float(special.stdtrit(self.df_runs, probability))
        return float(units ** (1 - self.share) * runs**self.share)

    def interval(self, mean: float, confidence: float = CONFIDENCE) -> Interval:
        """Return mean ± the quantile times the error."""
        half = self.quantile((1 + confidence) / 2) * self.error
        return Interval(mean - half, mean + half, confidence)

    def p(self, mean: float) -> float:
        """Return the two-sided p-value of a mean: 1 - the confidence of the interval that just reaches zero."""
        if self.error == 0:
            return 1.0 if mean == 0 else 0.0
        ratio = abs(mean) / self.error
        if ratio <= self.quantile(0.5 + SMALLEST_P):
            return 1.0
        low, high = SMALLEST_P, 1.0  # p is between them; quantiles fall as p rises
        if ratio >= self._of_p(low):
            return low
        while high / low > 1 + 1e-12:
            middle = float(np.sqrt(low * high))
            if self._of_p(middle) > ratio:
                low = middle
            else:
                high = middle
        return high

    def _of_p(self, p: float) -> float:
        """Return the quantile that a two-sided p-value belongs to; from the lower tail, which is exact for small p."""
        units = -float(special.stdtrit(self.df_units, p / 2))
        if not self.share:
            return units
        runs = -float(special.stdtrit(self.df_runs, p / 2))
        return float(units ** (1 - self.share) * runs**self.share)

    def within_p(self, mean: float, margin: float) -> float:
        """Return the larger p-value of two one-sided tests of a mean against ± margin (Schuirmann 1987)."""
        room = margin - abs(mean)
        if room <= 0:
            return 1.0
        return self.p(room) / 2

    @property
    def df(self) -> float:
        """Degrees of freedom of the t distribution with the same 97.5 % quantile."""
        return float(special.stdtridf(0.975, self.quantile(0.975)))


@dataclass(frozen=True)
class Crossed:
    """A difference of means with both tasks and runs as samples.

    Attributes:
        mean: mean difference.
        joint: its standard error.
    """

    mean: float
    joint: JointError

    @property
    def p(self) -> float:
        """Two-sided, one comparison."""
        return self.joint.p(self.mean)

    @property
    def interval(self) -> Interval:
        """95 %, one comparison."""
        return self.joint.interval(self.mean)


@dataclass(frozen=True)
class Trained:
    """A design in a difference.

    Attributes:
        weight: of its mean score in the difference, such as 1 or -1.
        variance: over its runs; None where it is unknown.
        runs: how many.
    """

    weight: float
    variance: RunVariance | None
    runs: int


def crossed(units: np.ndarray, from_runs: Parts | None) -> Crossed | None:
    """Test a difference over units (families of tasks) and training runs together.

    Args:
        units: differences of the designs' means over their runs, ``(families,)``.
        from_runs: what runs add to its variance (`run_parts`).

    Returns:
        None with fewer than two units, or where the variance over runs is unknown.
    """
    return crossed_mean([units], from_runs)


def crossed_mean(strata: Sequence[np.ndarray], from_runs: Parts | None) -> Crossed | None:
    """Test a mean of means over units and training runs: each stratum (category) of units counts the same.

    V = sum(s²/F)/C² + v_a/S_a + v_b/S_b: the idea of Clark's quasi-F (1973). Slightly conservative, since seed x task noise is
    in the units and in the runs.

    Returns:
        None where a stratum has fewer than two units, or where the variance over runs is unknown.
    """
    if min(map(len, strata)) < 2 or from_runs is None:
        return None
    error_of_units, df_units = combine(unit_parts(strata))
    error_of_runs, df_runs = combine(from_runs)
    error = float(np.hypot(error_of_units, error_of_runs))
    share = 0.0
    if error:
        share = (error_of_runs / error) ** 2
    return Crossed(mean_of_means(strata), JointError(error, share, df_units, df_runs))


def mean_of_means(strata: Sequence[np.ndarray]) -> float:
    """Return the mean of the strata's means, so that each stratum counts the same."""
    return float(np.mean(list(map(np.mean, strata))))


def unit_parts(strata: Sequence[np.ndarray]) -> Parts:
    """Return what units add to the variance of the mean of means, s² / T / C² each, as independent (variance, df)."""
    parts: Parts = []
    for units in strata:
        parts.append((float(np.var(units, ddof=1)) / len(units) / len(strata) ** 2, len(units) - 1))
    return parts


def run_parts(designs: Sequence[Trained]) -> Parts | None:
    """Return what training runs add to the variance of a difference of designs: weight² v / S each.

    Returns:
        None where the variance over the runs of a design is unknown, and where there are no runs: models as they are say
        nothing of another run.
    """
    parts: Parts = []
    for design in designs:
        if design.variance is None:
            return None
        if design.variance.df:
            parts.append((design.weight**2 * design.variance.value / design.runs, design.variance.df))
    return parts or None
