"""Simultaneous intervals agree with the marks, and hold all truths together."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from comparison.stats.effects import Interval
from comparison.stats.multiple import step_down_max_t
from comparison.stats.simultaneous import cut_at_zero, hull, max_t_intervals


def brute_force(differences: np.ndarray, number: int, shift: float) -> float:
    """The single-step p of one comparison at a shift, from the definition."""
    moved = differences.copy()
    moved[number] -= shift
    sizes = np.sqrt((moved**2).sum(axis=1))
    observed = abs(moved[number].sum()) / sizes[number]
    hits = []
    for signs in itertools.product((-1, 1), repeat=moved.shape[1]):
        hits.append(max(abs(moved @ np.array(signs)) / sizes) >= observed - 1e-9)
    return float(np.mean(hits))


@pytest.mark.parametrize("effect", [0.0, 0.02, 0.05])
def test_an_interval_holds_the_shifts_that_are_not_rejected(effect: float) -> None:
    generator = np.random.default_rng(4)
    differences = generator.normal(effect, 0.03, size=(3, 8))
    found = max_t_intervals(differences, np.ones_like(differences), [1.0] * 3)
    for number, interval in enumerate(found):
        assert interval is not None
        assert brute_force(differences, number, interval.low) <= 0.05 < brute_force(differences, number, interval.low + 1e-4)
        assert brute_force(differences, number, interval.high) <= 0.05 < brute_force(differences, number, interval.high - 1e-4)


def test_it_reaches_zero_exactly_where_there_is_no_mark() -> None:
    generator = np.random.default_rng(7)
    seen = set()
    for _ in range(60):
        differences = generator.normal(generator.choice([0.0, 0.01, 0.03], size=(4, 1)), 0.02, size=(4, 9))
        p = step_down_max_t(differences)
        for value, interval in zip(p, max_t_intervals(differences, np.ones_like(differences), p), strict=True):
            assert interval is not None
            marked = value <= 0.05
            assert marked == (interval.low >= 0 or interval.high <= 0), (value, interval)
            seen.add(marked)
    assert seen == {True, False}


def test_a_weighted_mean_is_shifted_by_its_weights() -> None:
    generator = np.random.default_rng(2)
    values, weights = generator.normal(0.03, 0.01, 8), np.array([0.25] * 2 + [0.5 / 6] * 6)
    (found,) = max_t_intervals((values * weights)[None], weights[None], [1.0])
    assert found is not None and found.low < values @ weights < found.high
    (moved,) = max_t_intervals(((values + 0.1) * weights)[None], weights[None], [1.0])
    assert moved is not None and moved.low == pytest.approx(found.low + 0.1, abs=1e-5)


def test_all_truths_together() -> None:
    generator = np.random.default_rng(1)
    truth = np.array([0.0, 0.01, 0.03, 0.0])[:, None]
    hits = []
    for _ in range(200):
        differences = truth + generator.normal(0, 0.03, size=(4, 9)) + generator.normal(0, 0.02, size=(1, 9))
        intervals = max_t_intervals(differences, np.ones_like(differences), step_down_max_t(differences))
        inside = []
        for interval, true in zip(intervals, truth[:, 0], strict=True):
            assert interval is not None
            inside.append(interval.low <= true <= interval.high)
        hits.append(all(inside))
    assert np.mean(hits) >= 0.95 - 3.1 * np.sqrt(0.05 * 0.95 / 200)


def test_too_few_units_have_none_and_no_difference_is_a_point() -> None:
    assert max_t_intervals(np.array([[0.1, 0.2, 0.1]]), np.ones((1, 3)), [0.25]) == [None]
    assert max_t_intervals(np.zeros((1, 6)), np.ones((1, 6)), [1.0]) == [Interval(0.0, 0.0, 0.95)]


def test_a_shown_sign_cuts_at_zero() -> None:
    wide = Interval(-0.01, 0.05, 0.95)
    assert cut_at_zero(wide, 0.02, 0.04) == Interval(0.0, 0.05, 0.95)
    assert cut_at_zero(wide, 0.02, 0.06) == wide
    assert hull(wide, Interval(0.0, 0.07, 0.95)) == Interval(-0.01, 0.07, 0.95) and hull(wide, None) is None
