"""The plan of batches: exact shares, every row as often as declared, one data set a step, and resumable at any step."""

from __future__ import annotations

import json
import time
from collections import Counter
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch

from common.errors import UserError
from tests.tiny import SHARED
from triplets.arguments import mixing
from triplets.batch_plan import BatchPlan, EpochShare, apportion, repeated
from triplets.mixing import Within

KALM = SHARED / "neighbours" / "kalm"

SHARES = [EpochShare(40, 40), EpochShare(13, 13), EpochShare(90, 45)]  # the last one: half of it an epoch
STARTS = [0, 40, 53, 143]


def batches(epoch: int, shares: Any = SHARES, batch_size: int = 4, processes: int = 1, **options: Any) -> list[list[list[int]]]:
    """By step, then by rank."""
    plans = [
        BatchPlan(shares, batch_size, **{"seed": 7, **options}, rank=rank, processes=processes) for rank in range(processes)
    ]
    for plan in plans:
        plan.set_epoch(epoch)
    result = [list(step) for step in zip(*plans, strict=True)]
    assert len(result) == len(plans[0])
    return result


def data_set(row: int) -> int:
    return int(np.searchsorted(STARTS, row, side="right")) - 1


def whole(steps: list[list[list[int]]]) -> list[list[int]]:
    return [[row for share in step for row in share] for step in steps]


# One data set


def test_one_data_set_is_walked_through_as_it_always_was() -> None:
    """The order that earlier runs had: a resumed one goes on in it."""
    generator = torch.Generator().manual_seed(42 * 1_000_003 + 3)
    order = torch.randperm(11, generator=generator).tolist()
    for way in ("homogeneous", "blended", 0.4, Within(0.4)):
        steps = whole(batches(3, 11, seed=42, mixing=way))
        assert steps == [order[:4], order[4:8], order[8:]]
    assert whole(batches(3, 11, shuffle=False)) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10]]


def test_a_process_may_have_no_row_of_the_last_batch() -> None:
    assert batches(0, 9, processes=2, shuffle=False) == [[[0, 1, 2, 3], [4, 5, 6, 7]], [[], [8]]]


# Several


@pytest.mark.parametrize("processes", [1, 2, 4])
@pytest.mark.parametrize("mixing", ["homogeneous", "blended", 0.5])
def test_every_row_as_often_as_declared(mixing: Any, processes: int) -> None:
    seen: Counter[int] = Counter()
    for epoch in range(4):
        steps = batches(epoch, processes=processes, mixing=mixing)
        rows = Counter(row for step in whole(steps) for row in step)
        assert max(rows.values()) == 1
        assert Counter(data_set(row) for row in rows) == {0: 40, 1: 13, 2: 45}
        seen += rows
    assert [seen[row] for row in range(143)] == [4] * 53 + [2] * 90


def test_half_of_the_rows_now_and_the_others_next_time() -> None:
    first, second = ({row for step in whole(batches(epoch)) for row in step if row >= 53} for epoch in (0, 1))
    assert len(first) == len(second) == 45 and not first & second


def test_no_row_twice_before_all_were_seen_once() -> None:
    """Sixteen rows, of which an epoch takes ten: the walk goes on over the border of the epochs."""
    shares = [EpochShare(16, 10), EpochShare(5, 5)]
    walked = [row for epoch in range(8) for step in sorted(whole(batches(epoch, shares)))
              for row in step if row < 16]  # fmt: skip
    assert Counter(walked) == dict.fromkeys(range(16), 5)
    orders = [np.concatenate([BatchPlan(shares, 4, seed=7).order(epoch).rows[:10] for epoch in range(8)])]
    assert all(sorted(orders[0][16 * walk : 16 * walk + 16]) == list(range(16)) for walk in range(5))


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_a_step_is_of_one_data_set_on_all_processes(processes: int) -> None:
    for epoch in range(3):
        steps = whole(batches(epoch, processes=processes))
        assert all(len({data_set(row) for row in step}) == 1 for step in steps)
        counts = Counter(data_set(step[0]) for step in steps)
        assert counts == {number: -(-share.taken // (4 * processes)) for number, share in enumerate(SHARES)}


def test_rows_are_spread_evenly_over_a_data_sets_batches() -> None:
    sizes = Counter((data_set(step[0]), len(step)) for step in whole(batches(0)))
    assert sizes == {(0, 4): 10, (1, 3): 3, (1, 4): 1, (2, 4): 9, (2, 3): 3}


def test_blended_batches_are_mixed() -> None:
    steps = whole(batches(0, mixing="blended"))
    assert len(steps) == -(-98 // 4)
    assert sum(len({data_set(row) for row in step}) > 1 for step in steps) > len(steps) / 2
    assert {len(step) for step in steps} == {3, 4}


@pytest.mark.parametrize(("ratio", "expected"), [(0.2, 5), (0.5, 12), (0.8, 20)])
def test_a_share_of_the_batches_is_of_one_data_set(ratio: float, expected: int) -> None:
    plan = BatchPlan(SHARES, 4, seed=7, mixing=ratio)
    assert len(plan) == 25 and sum(plan.batches[:-1]) == expected == round(ratio * 25)
    for number, (own, share) in enumerate(zip(plan.own, SHARES, strict=True)):  # in the ratio of their rows
        assert abs(plan.batches[number] - expected * share.taken / 98) < 1 and own == 4 * plan.batches[number]
    pure = sum(len({data_set(row) for row in step}) == 1 for step in whole(batches(0, mixing=ratio)))
    assert expected <= pure <= expected + 4  # a few of the mixed ones may happen to be of one data set


def test_after_any_number_of_steps_the_ratio_is_that_of_the_epoch() -> None:
    shares = [EpochShare(4000, 4000), EpochShare(800, 800), EpochShare(200, 200)]
    plan = BatchPlan(shares, 4, seed=1)
    order = plan.order(0)
    kinds = np.searchsorted([0, 4000, 4800], order.rows[order.starts], side="right") - 1
    for number, share in enumerate(shares):
        seen = np.cumsum(kinds == number)
        exact = np.arange(1, len(plan) + 1) * (share.taken / 5000)
        assert np.abs(seen - exact).max() < 3
    assert len({tuple(kinds[start : start + 25]) for start in range(0, 1250, 25)}) == 50  # but no fixed pattern


def test_sequential_takes_one_data_set_after_the_other() -> None:
    order = [row for step in whole(batches(0, shuffle=False)) for row in step]
    assert order == list(range(53 + 45))
    assert [row for step in whole(batches(1, shuffle=False)) for row in step][53:] == list(range(98, 143))


@pytest.mark.parametrize("mixing", ["homogeneous", "blended", 0.5])
def test_the_rest_of_an_epoch_is_the_same_from_any_step(mixing: Any) -> None:
    """As the trainer resumes: a new plan, its epoch set, the first batches skipped."""
    undisturbed = [batch for epoch in range(2) for batch in batches(epoch, processes=2, mixing=mixing)]
    length = len(BatchPlan(SHARES, 4, seed=7, mixing=mixing, processes=2))
    for step in range(2 * length):
        epoch, first = divmod(step, length)
        torch.manual_seed(step)  # whatever the global state is
        plan = BatchPlan(SHARES, 4, seed=7, mixing=mixing, rank=1, processes=2)
        plan.set_epoch(epoch)
        assert list(islice(plan, first, None)) == [batch[1] for batch in undisturbed[step : (epoch + 1) * length]]


def test_other_seeds_other_epochs_and_other_data_sets_have_other_orders() -> None:
    shares = [EpochShare(50, 50), EpochShare(50, 50), EpochShare(50, 50)]
    orders = [
        tuple(BatchPlan(shares, 4, seed=seed).order(epoch).rows[50 * number : 50 * number + 50] - 50 * number)
        for seed in (0, 1, 2**32)
        for epoch in (0, 1)
        for number in range(3)
    ]
    assert len(set(orders)) == len(orders) - 2  # the first data set's seed is cut to 32 bits by torch: 0 is 2**32
    turns = [tuple(BatchPlan(shares, 4, seed=seed).order(epoch).starts) for seed in (0, 1) for epoch in (0, 1)]
    assert len(set(turns)) == 4


def test_no_random_state_is_touched() -> None:
    before = torch.get_rng_state()
    batches(0, mixing=0.5)
    assert torch.equal(before, torch.get_rng_state())


# EpochShares


def test_largest_remainders() -> None:
    assert apportion(10, [1, 1, 1]) == [4, 3, 3]
    assert apportion(1000, [0.1, 0.2, 0.7]) == [100, 200, 700]
    assert apportion(7, [5, 1.5, 0.5]) == [5, 2, 0]
    assert apportion(9, [1, 1, 1], most=[1, 9, 9]) == [1, 4, 4]
    assert apportion(9, [1, 1], most=[2, 3]) == [2, 3]
    assert apportion(5, [1, 3], most=[9, 0]) == [5, 0]
    generator = np.random.default_rng(0)
    for _ in range(50):
        weights = generator.random(5).round(3) + 0.001
        total = int(generator.integers(1, 5000))
        parts = apportion(total, weights.tolist())
        assert sum(parts) == total
        assert max(abs(part - total * weight / weights.sum()) for part, weight in zip(parts, weights, strict=True)) < 1


def test_repeats() -> None:
    assert [repeated(5, times) for times in (1, 0.5, 0.1, 2, 1.5, 0.01)] == [5, 3, 1, 10, 8, 1]
    assert repeated(1_000_000, 0.1) == 100_000


def test_a_million_rows_take_no_lists() -> None:
    """A tenth of what docs/training.md states a figure for."""
    import tracemalloc

    shares = [EpochShare(600_000, 600_000), EpochShare(400_000, 400_000)]
    tracemalloc.start()
    started = time.perf_counter()
    plan = BatchPlan(shares, 64, seed=1)
    first = next(iter(plan))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(first) == 64
    assert time.perf_counter() - started < 5
    assert peak < 50e6  # a list of a million ints is 36 MB; numpy's arrays are counted, torch's are not


# A share of each batch


def largest_shares(steps: list[list[int]], starts: list[int]) -> list[float]:
    shares = []
    for batch in steps:
        sets = np.searchsorted(starts, batch, side="right")
        shares.append(max(Counter(sets.tolist()).values()) / len(batch))
    return shares


@pytest.mark.parametrize("processes", [1, 2])
def test_every_row_comes_once_with_a_share_of_each_batch(processes: int) -> None:
    for epoch in (0, 3):
        steps = batches(epoch, batch_size=8 // processes, processes=processes, mixing=Within(0.7))
        rows = Counter(row for batch in whole(steps) for row in batch)
        plain = Counter(row for batch in whole(batches(epoch, batch_size=8)) for row in batch)
        assert rows == plain
    one = whole(batches(2, batch_size=8, mixing=Within(0.7)))
    assert one == whole(batches(2, batch_size=4, processes=2, mixing=Within(0.7)))
    assert one != whole(batches(2, batch_size=8))


def test_the_share_holds_in_each_batch() -> None:
    shares = [EpochShare(1000, 1000), EpochShare(600, 600), EpochShare(400, 400)]
    steps = whole(batches(0, shares, batch_size=100, mixing=Within(0.7)))
    own = largest_shares(steps, [0, 1000, 1600])
    assert min(own) >= 0.7
    # Of the foreign 30 % some come from the same data set: 0.7 + 0.3 * its share of all rows.
    expected = 0.7 + 0.3 * (0.5 * 0.5 + 0.3 * 0.3 + 0.2 * 0.2)
    assert np.mean(own) == pytest.approx(expected, abs=0.01)


def test_foreign_rows_are_spread_over_the_processes() -> None:
    shares = [EpochShare(400, 400), EpochShare(400, 400)]
    steps = batches(0, shares, batch_size=10, processes=2, mixing=Within(0.5))
    plain = batches(0, shares, batch_size=10, processes=2)
    for step, before in zip(steps, plain, strict=True):
        for share, kept in zip(step, before, strict=True):
            assert sum(row == old for row, old in zip(share, kept, strict=True)) >= 5


@pytest.mark.skipif(not KALM.is_dir(), reason="the public sampler's batches are not here")
@pytest.mark.parametrize("case", range(5))
def test_the_share_is_that_of_the_public_sampler(case: int) -> None:
    golden = json.loads((KALM / "golden_batches.json").read_text())[case]
    size, ratio = golden["batch"], golden["ratio"]
    rounds_alike = golden["moved_rows_a_batch"] == round(size * (1 - ratio))
    if not rounds_alike or any(rows % size for rows in golden["rows"]) or ratio == 1.0:
        pytest.skip("rounded otherwise there, or with batches of rests, which we do not make")
    starts = np.cumsum([0, *golden["rows"][:-1]]).tolist()
    shares = [EpochShare(rows, rows) for rows in golden["rows"]]
    means = []
    for seed in range(60):
        steps = whole(batches(0, shares, batch_size=size, seed=seed, mixing=Within(ratio)))
        assert len(steps) == golden["batches"]
        means.append(np.mean(largest_shares(steps, starts)))
    assert np.mean(means) == pytest.approx(golden["mean_share_of_largest_task"], abs=0.02)


@pytest.mark.parametrize("text", ["within:", "within:1", "within:0", "without:0.5", "0.5:0.5"])
def test_mistakes_in_the_share(text: str) -> None:
    with pytest.raises(UserError, match="--batching takes"):
        mixing(text)
    assert mixing("within:0.7") == Within(0.7) and str(Within(0.7)) == "within:0.7"
