"""Texts are grouped for the forward passes with as little padding as their overhead allows."""

from __future__ import annotations

import random
import time
from itertools import combinations

import pytest

from trainers.step.chunks import plan_chunks


def cost(lengths: list[int], groups: list[list[int]], overhead: int) -> int:
    return sum(overhead + max(lengths[index] for index in group) * len(group) for group in groups)


def cheapest(lengths: list[int], budget: int, overhead: int) -> int:
    """The least cost of all ways to cut the sorted texts."""
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    found = []
    for count in range(len(order)):
        for cuts in combinations(range(1, len(order)), count):
            groups = [order[a:b] for a, b in zip((0, *cuts), (*cuts, len(order)), strict=True)]
            if all(len(group) == 1 or lengths[group[0]] * len(group) <= budget for group in groups):
                found.append(cost(lengths, groups, overhead))
    return min(found)


@pytest.mark.parametrize("overhead", [0, 3, 20, 1000])
@pytest.mark.parametrize("budget", [1, 12, 40, 1000])
def test_no_grouping_is_cheaper(budget: int, overhead: int) -> None:
    numbers = random.Random(0)
    for _ in range(20):
        lengths = [numbers.randint(1, 15) for _ in range(numbers.randint(1, 9))]
        groups = plan_chunks(lengths, budget, overhead)
        assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
        assert [lengths[index] for group in groups for index in group] == sorted(lengths, reverse=True)
        assert all(len(group) == 1 or lengths[group[0]] * len(group) <= budget for group in groups)
        assert cost(lengths, groups, overhead) == cheapest(lengths, budget, overhead)


def test_nothing_and_texts_beyond_the_budget() -> None:
    assert plan_chunks([], 10, 5) == []
    assert plan_chunks([30, 2, 40, 2], 10, 5) == [[2], [0], [1, 3]]
    assert plan_chunks([4] * 5, 8) == [[0, 1], [2, 3], [4]]  # full ones first


def test_a_large_batch_is_planned_in_a_fraction_of_a_second() -> None:
    numbers = random.Random(0)
    lengths = [int(numbers.lognormvariate(4, 0.8)) + 2 for _ in range(3 * 4096)]
    begin = time.process_time()
    groups = plan_chunks(lengths, 16384, 512)
    assert time.process_time() - begin < 2
    padded = sum(lengths[group[0]] * len(group) for group in groups)
    assert padded < 1.05 * sum(lengths)
