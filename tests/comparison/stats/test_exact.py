"""Exact tests agree with the enumeration of all signs, zeros and ties included."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from comparison.stats.exact import (
    DRAWN,
    floor,
    hodges_lehmann,
    hodges_lehmann_interval,
    pratt_ranks,
    rank_sum_distribution,
    sign_flip,
    sign_patterns,
    signed_ranks,
)

GENERATOR = np.random.default_rng(0)
SMALL = [GENERATOR.integers(-3, 4, size=size).astype(float) for size in (1, 2, 3, 5, 7, 9) for _ in range(6)]  # zeros and ties


def brute_force(weights: np.ndarray) -> float:
    """Share of all sign patterns whose |sum| is at least the observed one."""
    patterns = itertools.product((-1, 1), repeat=len(weights))
    return float(np.mean([abs(np.dot(signs, weights)) >= abs(weights.sum()) - 1e-9 for signs in patterns]))


@pytest.mark.parametrize("values", SMALL, ids=str)
def test_signed_ranks_are_the_enumeration(values: np.ndarray) -> None:
    ranks = np.sign(values) * stats.rankdata(np.abs(values))
    found = signed_ranks(values)
    assert found.p == pytest.approx(brute_force(ranks), abs=1e-12)
    assert found.plus == ranks[ranks > 0].sum() and found.minus == -ranks[ranks < 0].sum()


@pytest.mark.parametrize("values", SMALL, ids=str)
def test_sign_flip_is_the_enumeration(values: np.ndarray) -> None:
    assert sign_flip(values) == pytest.approx(brute_force(values), abs=1e-12)


def test_zeros_where_scipy_is_wrong() -> None:
    values = np.array([0.0, 0.0, 3.0, 4.0, 5.0, 6.0, 7.0, -1.0])  # scipy 1.17 with method="exact": another p
    ranks = pratt_ranks(values)
    assert list(np.abs(ranks)) == [0, 0, 4, 5, 6, 7, 8, 3]
    assert signed_ranks(values).p == brute_force(ranks) == 0.0625


@pytest.mark.parametrize("size", [6, 11, 25, 40])
def test_without_zeros_and_ties_scipy_agrees(size: int) -> None:
    values = GENERATOR.normal(0.4, 1.0, size)
    expected = stats.wilcoxon(values, method="exact")
    assert signed_ranks(values).p == pytest.approx(expected.pvalue, rel=1e-9)


def test_one_sided_data_reach_the_floor() -> None:
    for units in range(1, 15):
        values = np.arange(1.0, units + 1)
        assert signed_ranks(values).p == sign_flip(values) == floor(units) == min(1.0, 2.0 ** (1 - units))


def test_patterns_beyond_the_enumeration_hold_the_identity() -> None:
    patterns = sign_patterns(17, seed=3)
    assert patterns.shape == (DRAWN + 1, 17) and (patterns[0] == 1).all()
    assert abs(patterns[1:].mean()) < 0.01
    assert sign_flip(np.ones(17)) >= 1 / (DRAWN + 1)  # a p-value of 0 is never right
    values = GENERATOR.normal(0.3, 1.0, 17)
    exact = np.mean(np.abs(np.array(list(itertools.product((-1, 1), repeat=17))) @ values) >= abs(values.sum()) - 1e-9)
    assert sign_flip(values) == pytest.approx(exact, abs=4 * np.sqrt(exact / DRAWN))


def test_all_patterns_are_visited_once() -> None:
    patterns = sign_patterns(5)
    assert len({tuple(row) for row in patterns} | {tuple(-row) for row in patterns}) == 32


@pytest.mark.parametrize("size", range(6, 13))
def test_hodges_lehmann_inverts_the_signed_rank_test(size: int) -> None:
    values = GENERATOR.normal(0.2, 1.0, size)
    found = hodges_lehmann_interval(values, 0.95)
    assert found is not None
    low, high, confidence = found
    assert confidence >= 0.95
    for shift in (low + 1e-9, high - 1e-9):  # inside, the shifted values are not rejected …
        assert signed_ranks(values - shift).p > 1 - confidence - 1e-12
    for shift in (low - 1e-9, high + 1e-9):  # … outside they are
        assert signed_ranks(values - shift).p <= 1 - confidence + 1e-12
    assert low <= hodges_lehmann(values) <= high


def test_hodges_lehmann_confidences_are_the_known_ones() -> None:
    values = np.arange(1.0, 15.0)
    known = {6: 0.96875, 8: 0.9609375}
    assert {size: hodges_lehmann_interval(values[:size], 0.95)[2] for size in known} == known  # type: ignore[index]
    assert hodges_lehmann_interval(values[:6], 0.95)[:2] == (1.0, 6.0)  # type: ignore[index]


@pytest.mark.parametrize("size", range(1, 6))
def test_five_units_have_no_exact_interval(size: int) -> None:
    assert hodges_lehmann_interval(np.arange(float(size)), 0.95) is None


def test_rank_sums_are_a_distribution() -> None:
    chances = rank_sum_distribution(np.arange(1, 61))
    assert chances.sum() == pytest.approx(1) and chances[0] == pytest.approx(2.0**-60)
