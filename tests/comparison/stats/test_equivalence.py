"""Equivalence: t where differences are symmetric, their own shape where they are not, and no verdict on the side of a tail."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from comparison.stats.equivalence import bootstrap_t, equivalence

NEAR = np.array([0.001, -0.002, 0.003, 0.0, -0.001, 0.002, -0.003, 0.001])


def test_it_is_never_below_two_one_sided_t_tests() -> None:
    for margin in (0.002, 0.004, 0.01):
        alone = max(
            stats.ttest_1samp(NEAR, -margin, alternative="greater").pvalue,
            stats.ttest_1samp(NEAR, margin, alternative="less").pvalue,
        )
        assert equivalence({0: NEAR}, margin)[0].p >= alone - 1e-12
    assert equivalence({0: NEAR}, 0.01)[0].p < 0.01


def test_the_sign_of_a_difference_changes_nothing() -> None:
    assert equivalence({0: -NEAR}, 0.004)[0].p == pytest.approx(equivalence({0: NEAR}, 0.004)[0].p, abs=0.01)


def test_the_shape_is_pooled_over_comparisons() -> None:
    alone = equivalence({0: NEAR}, 0.004)[0].p
    tail = np.array([0.0, 0.0, 0.0, 0.001, 0.0, 0.0, 0.02, 0.0])
    assert equivalence({0: NEAR, 1: tail}, 0.004)[0].p > alone


def studies(where: int, generator: np.random.Generator) -> tuple[dict[int, np.ndarray], dict[int, tuple[str, str]]]:
    """All pairs of five systems, of which one has a tail and is better than the others by the margin in truth."""
    scores = [0.0015 * generator.normal(size=8) - 0.01 for _ in range(4)]
    scores.insert(where, 0.008 * (generator.exponential(size=8) - 1))
    pairs = dict(enumerate(combinations(range(5), 2)))
    return {k: scores[a] - scores[b] for k, (a, b) in pairs.items()}, {k: (f"s{a}", f"s{b}") for k, (a, b) in pairs.items()}


def test_the_order_of_the_systems_changes_nothing() -> None:
    """A system with a tail had it cancelled where it stood between the others, first of some pairs and second of some."""
    for seed in range(3):
        found = []
        for where in (0, 2, 4):
            differences, names = studies(where, np.random.default_rng(seed))
            results = equivalence(differences, 0.01, names=names)
            found.append(sorted((results[k].skewed, round(results[k].p, 2)) for k in names if f"s{where}" in names[k]))
        assert [skewed for skewed, _ in found[0]] == [skewed for skewed, _ in found[1]] == [skewed for skewed, _ in found[2]]
        values = np.array([[p for _, p in of_place] for of_place in found])
        assert np.ptp(values, axis=0).max() <= 0.02, "but for the draws of the bootstrap"


def test_with_one_baseline_all_comparisons_are_pooled() -> None:
    differences = {number: NEAR + 0.001 * number * np.arange(8) for number in range(3)}
    names = {number: (f"x{number}", "base") for number in differences}
    assert equivalence(differences, 0.02, names=names) == equivalence(differences, 0.02)
    turned = equivalence(
        {k: -value for k, value in differences.items()}, 0.02, names={k: (b, a) for k, (a, b) in names.items()}
    )
    assert [one.p for one in turned.values()] == [one.p for one in equivalence(differences, 0.02).values()]


def test_no_verdict_where_differences_lean_to_the_margin() -> None:
    tail = np.array([0.001, 0.001, 0.001, 0.002, 0.001, 0.001, 0.008, 0.001])
    assert equivalence({0: tail}, 0.01)[0].skewed, "the tail lies beyond the mean, on the margin's side"
    inward = tail - 0.009  # mean below zero, tail towards zero
    assert not equivalence({0: inward}, 0.01)[0].skewed


def test_equal_and_constant_differences() -> None:
    found = equivalence({0: np.zeros(6), 1: np.full(6, 0.02), 2: np.full(6, 0.005)}, 0.01)
    assert (found[0].p, found[1].p, found[2].p) == (0.0, 1.0, 0.0)


def test_the_bootstrap_of_normal_values_is_nearly_students() -> None:
    shape = stats.norm.ppf((np.arange(400) + 0.5) / 400)
    statistics = bootstrap_t(shape, 8)
    assert np.quantile(statistics, 0.05) == pytest.approx(stats.t.ppf(0.05, 7), abs=0.1)


def test_a_tail_beyond_the_margin_is_rarely_called_equivalent() -> None:
    generator = np.random.default_rng(3)
    wrong, by_t = [], []
    for _ in range(200):
        differences = {}
        for number in range(4):
            differences[number] = 0.01 + 0.008 * (generator.exponential(size=8) - 1)
        found = equivalence(differences, 0.01)
        wrong.append(any(test.p <= 0.05 / 4 and not test.skewed for test in found.values()))
        t = [stats.ttest_1samp(values, 0.01, alternative="less").pvalue for values in differences.values()]
        by_t.append(min(t) <= 0.05 / 4)
    assert np.mean(wrong) <= 0.06 < np.mean(by_t), (np.mean(wrong), np.mean(by_t))
