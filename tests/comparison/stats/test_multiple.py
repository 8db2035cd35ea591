"""Adjusted p-values agree with their definitions, and letters say exactly who is separated."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from comparison.stats import multiple
from comparison.stats.exact import TOLERANCE, sign_patterns
from comparison.stats.multiple import holm, letters, reachable, step_down_max_t


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_holm_is_the_closure_of_bonferroni() -> None:
    """A hypothesis is rejected where every set that holds it is rejected by Bonferroni."""
    p_values = list(np.random.default_rng(1).uniform(0, 0.2, 5))
    sets = [group for size in range(1, 6) for group in itertools.combinations(range(5), size)]
    closed = [max(min(1.0, len(group) * min(p_values[k] for k in group)) for group in sets if one in group) for one in range(5)]
    assert holm(p_values) == pytest.approx(closed)


def brute_force(differences: np.ndarray) -> np.ndarray:
    """Step-down max-T from its definition, all 2^F patterns, one comparison after the other."""
    sizes = np.sqrt((differences**2).sum(axis=1))
    scaled = differences / np.where(sizes > 0, sizes, 1)[:, None]
    patterns = np.array(list(itertools.product((1, -1), repeat=differences.shape[1])))
    flipped = np.abs(patterns @ scaled.T)
    observed = np.abs(scaled.sum(axis=1))
    order = sorted(range(len(observed)), key=lambda one: -observed[one])
    adjusted, highest = np.zeros(len(observed)), 0.0
    for place, one in enumerate(order):
        share = np.mean(flipped[:, order[place:]].max(axis=1) >= observed[one] - 1e-9)
        highest = max(highest, share)
        adjusted[one] = highest
    return adjusted


@pytest.mark.parametrize("trial", range(12))
def test_max_t_is_the_enumeration(trial: int) -> None:
    generator = np.random.default_rng(trial)
    differences = np.round(generator.normal(0.3, 1, (int(generator.integers(1, 6)), int(generator.integers(1, 9)))), 1)
    differences[generator.random(differences.shape) < 0.2] = 0.0  # missing tasks and equal scores
    if trial == 0:
        differences[0] = 0.0
    assert step_down_max_t(differences) == pytest.approx(brute_force(differences), abs=1e-12)


def test_max_t_of_one_comparison_is_its_own_test_and_of_two_equal_ones_too() -> None:
    row = np.array([[0.3, 0.1, -0.05, 0.2, 0.4, 0.15]])
    (alone,) = step_down_max_t(row)
    assert step_down_max_t(np.vstack([row, row])) == [alone, alone]  # Holm would double it


def test_nothing_differs() -> None:
    assert step_down_max_t(np.zeros((2, 4))) == [1.0, 1.0]


def test_reachable_counts_tests_that_could_reject() -> None:
    assert reachable([0.25, 0.00024, 0.0625, 0.03125], 0.05) == 2  # the paper's categories by family
    assert reachable([0.001, 0.001, 0.001, 0.001], 0.05) == 4
    assert reachable([0.5, 0.5], 0.05) == 1


@pytest.mark.parametrize("trial", range(20))
def test_letters_are_shared_by_those_who_are_not_separated(trial: int) -> None:
    generator = np.random.default_rng(trial)
    names = [f"n{number}" for number in range(int(generator.integers(2, 8)))]
    pairs = [frozenset(pair) for pair in itertools.combinations(names, 2)]
    separated = [pair for pair in pairs if generator.random() < 0.5]
    found = letters(names, separated)
    assert found is not None
    for pair in pairs:
        one, other = pair
        assert bool(set(found[one]) & set(found[other])) == (pair not in separated)
    groups = [{name for name in names if letter in found[name]} for letter in set("".join(found.values()))]
    assert not any(one < other for one in groups for other in groups), "a letter that says nothing new"
    assert found[names[0]].startswith("a")


@pytest.mark.parametrize("units", [5, 12, 20])
def test_blocks_of_patterns_change_nothing(units: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of comparisons took gigabytes: patterns go through in blocks."""
    differences = np.random.default_rng(units).normal(size=(40, units)).round(2)
    differences[3] = 0
    whole = step_down_max_t(differences)
    scaled = differences / np.maximum(np.sqrt((differences**2).sum(axis=1)), 1e-300)[:, None]
    flipped = np.abs(sign_patterns(units) @ scaled.T)
    order = np.argsort(-flipped[0], kind="stable")
    plain, largest = np.empty(40), 0.0
    for place, number in enumerate(order):
        beyond = flipped[:, order[place:]].max(axis=1) >= flipped[0, number] - TOLERANCE
        largest = max(largest, float(beyond.mean()))
        plain[number] = largest
    assert whole == list(plain)
    monkeypatch.setattr(multiple, "MOST_AT_ONCE", 130)
    assert step_down_max_t(differences) == whole


def test_there_are_no_letters_for_too_many_groups() -> None:
    names = [f"{side}{number}" for number in range(8) for side in "ab"]
    separated = [frozenset((f"a{number}", f"b{number}")) for number in range(8)]  # 2 to the power of 8 groups
    assert letters(names, separated) is None and letters(names, separated[:4]) is not None
