"""Families crossed with training runs: each design has the noise of its own runs, and few runs are known to say little."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize, stats

from comparison.stats.crossed import AS_IT_IS, JointError, Parts, RunVariance, Trained, crossed, run_parts, run_variance

UNITS = np.array([0.02, 0.01, 0.03, 0.015, 0.0, 0.025])
FIRST, SECOND = np.array([0.5, 0.51, 0.49]), np.array([0.48, 0.5, 0.46])


def two(first: RunVariance | None, second: RunVariance | None, runs: tuple[int, int]) -> Parts | None:
    return run_parts([Trained(1.0, first, runs[0]), Trained(-1.0, second, runs[1])])


def by_hand(parts: list[float], share: float, df_runs: float, mean: float) -> tuple[float, float]:
    """p and half-width from the definition, solved by another route: scipy's quantiles and root finder."""
    ratio = mean / np.sqrt(sum(parts))

    def log_quantile(tail: float) -> float:
        of_units, of_runs = stats.t.isf(tail, 5), stats.t.isf(tail, df_runs)
        return float((1 - share) * np.log(of_units) + share * np.log(of_runs))

    tail = optimize.brentq(lambda tail: log_quantile(tail) - np.log(ratio), 1e-12, 0.499999, xtol=1e-16, rtol=1e-13)
    return 2 * float(tail), float(np.exp(log_quantile(0.025)) * np.sqrt(sum(parts)))


def test_crossed_is_the_formula() -> None:
    found = crossed(UNITS, two(run_variance(FIRST), run_variance(SECOND), (3, 3)))
    parts = [UNITS.var(ddof=1) / 6, FIRST.var(ddof=1) / 3, SECOND.var(ddof=1) / 3]
    runs = parts[1] + parts[2]
    df_runs = runs**2 / (parts[1] ** 2 / 2 + parts[2] ** 2 / 2)
    p, half = by_hand(parts, runs / sum(parts), df_runs, UNITS.mean())
    assert found is not None
    assert found.p == pytest.approx(p, abs=1e-9)
    assert found.interval.high - found.mean == pytest.approx(half, abs=1e-9)
    assert stats.t.ppf(0.975, found.joint.df) * np.sqrt(sum(parts)) == pytest.approx(half)


def test_p_and_interval_agree() -> None:
    joint = JointError(error=0.01, share=0.4, df_units=7, df_runs=1.7)
    for mean in (0.005, 0.02, 0.05, 0.3):
        p = joint.p(mean)
        assert joint.interval(mean, 1 - p).low == pytest.approx(0, abs=1e-9)
        assert joint.within_p(0.0, mean) == pytest.approx(p / 2)
    assert joint.p(0.0) == 1.0 and joint.within_p(0.02, 0.01) == 1.0


def test_units_alone_and_runs_alone_are_students() -> None:
    assert JointError(1.0, 0.0, 9, 2).p(2.1) == pytest.approx(2 * stats.t.sf(2.1, 9))
    assert JointError(1.0, 1.0, 9, 2).p(2.1) == pytest.approx(2 * stats.t.sf(2.1, 2))


def test_a_single_run_borrows_nothing() -> None:
    assert run_variance(np.array([0.6])) is None and run_variance(np.empty(0)) is None
    assert crossed(UNITS, two(run_variance(FIRST), None, (3, 1))) is None


def test_each_design_has_its_own_noise() -> None:
    of_two = run_variance(np.array([0.5, 0.52]))
    assert of_two == RunVariance(pytest.approx(0.0002), 1)
    assert two(of_two, RunVariance(0.09, 4), (2, 5)) == [(pytest.approx(0.0001), 1), (pytest.approx(0.018), 4)]


def test_a_model_as_it_is_has_no_noise() -> None:
    assert two(RunVariance(0.09, 2), AS_IT_IS, (3, 1)) == [(pytest.approx(0.03), 2)]
    found = crossed(UNITS, two(run_variance(FIRST), AS_IT_IS, (3, 1)))
    both = crossed(UNITS, two(run_variance(FIRST), run_variance(SECOND), (3, 3)))
    assert found is not None and both is not None and found.joint.error < both.joint.error
    assert crossed(UNITS, two(AS_IT_IS, AS_IT_IS, (1, 1))) is None, "two of them say nothing of another run"


@pytest.mark.parametrize(("noise", "runs"), [((0.006, 0.006), 2), ((0.02, 0.002), 2), ((0.02, 0.002), 3), ((0.01, 0.01), 3)])
def test_two_runs_and_unequal_ones_cover(noise: tuple[float, float], runs: int) -> None:
    generator = np.random.default_rng(8)
    hits = []
    for _ in range(1500):
        means = [sd * generator.normal(size=runs) for sd in noise]
        units = 0.03 * generator.normal(size=13) + means[0].mean() - means[1].mean()
        found = crossed(units, two(run_variance(means[0]), run_variance(means[1]), (runs, runs)))
        assert found is not None
        hits.append(found.interval.low <= 0 <= found.interval.high)
    assert 0.92 <= np.mean(hits) <= 0.985
