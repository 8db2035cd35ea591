"""Paired differences: the interval covers what it should, and bad input is refused."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from comparison.stats.paired import paired_difference, run_interval


def test_mean_and_interval_agree_with_theory_for_many_items() -> None:
    generator = np.random.default_rng(0)
    ours, other = generator.normal(0.6, 0.1, 4000), generator.normal(0.5, 0.1, 4000)
    found = paired_difference(ours, other)
    half = 1.96 * (ours - other).std(ddof=1) / np.sqrt(4000)
    assert found.mean == pytest.approx((ours - other).mean())
    assert found.low == pytest.approx(found.mean - half, abs=3e-4)
    assert found.high == pytest.approx(found.mean + half, abs=3e-4)
    assert found.excludes_zero


def test_coverage_under_the_null() -> None:
    generator = np.random.default_rng(1)
    covered = sum(
        not paired_difference(generator.normal(size=100), generator.normal(size=100), resamples=500, seed=trial).excludes_zero
        for trial in range(300)
    )
    assert 0.91 <= covered / 300 <= 0.985  # 95 % less the bootstrap's bias at 100 items, ± Monte-Carlo error


def test_runs_are_averaged_item_by_item() -> None:
    runs = np.array([[0.0, 1.0], [1.0, 1.0]])
    assert paired_difference(runs, np.zeros((1, 2))).mean == pytest.approx(0.75)


def test_run_interval_is_students() -> None:
    values = np.array([0.10, 0.14, 0.12])
    found = run_interval(values)
    low, high = stats.t.interval(0.95, 2, loc=values.mean(), scale=stats.sem(values))
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


@pytest.mark.parametrize(("ours", "other"), [([1.0], [1.0, 2.0]), ([], []), ([np.nan], [1.0])], ids=["lengths", "empty", "nan"])
def test_bad_scores_are_refused(ours: list[float], other: list[float]) -> None:
    with pytest.raises(ValueError):
        paired_difference(np.array(ours), np.array(other))


def test_one_run_has_no_interval() -> None:
    with pytest.raises(ValueError, match="at least two"):
        run_interval(np.array([0.1]))
