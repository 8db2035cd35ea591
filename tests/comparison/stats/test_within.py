"""Within a task: the statistics are the libraries', the errors are the formulas, connected pairs stay together."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score

from comparison.claims.three_claims import these_tasks
from comparison.reading.item_scores import Items
from comparison.simulation.items import make_items, pairs
from comparison.stats.resampling import average_precision, bootstrap, rank_swaps, spearman
from comparison.stats.within import Effort, flip_test, within_task

GENERATOR = np.random.default_rng(0)
QUICK = Effort(flips=499, resamples=300, swaps=199)


def codes(values: np.ndarray) -> np.ndarray:
    return np.unique(values, return_inverse=True)[1]


@pytest.mark.parametrize("trial", range(5))
def test_counted_statistics_are_those_of_repeated_pairs(trial: int) -> None:
    generator = np.random.default_rng(trial)
    values, gold = generator.integers(0, 12, 60) / 12, generator.integers(0, 5, 60)  # ties
    counts = generator.integers(0, 4, 60)
    repeated = np.repeat(np.arange(60), counts)
    expected = stats.spearmanr(values[repeated], gold[repeated]).statistic
    assert spearman(codes(values), codes(gold), counts.astype(float)) == pytest.approx(expected, abs=1e-12)
    labels = (gold > 2).astype(int)
    expected = average_precision_score(labels[repeated], values[repeated])
    assert average_precision(codes(values), labels, counts.astype(float)) == pytest.approx(expected, abs=1e-12)


def test_queries_are_students_t_and_sign_flips() -> None:
    ours, other = GENERATOR.random(200), GENERATOR.random(200)
    found = within_task([make_items("queries", ours)], [make_items("queries", other)])
    expected = stats.ttest_rel(ours, other)
    interval = expected.confidence_interval()
    assert found is not None and found.difference == pytest.approx((ours - other).mean())
    assert (found.interval.low, found.interval.high) == (pytest.approx(interval.low), pytest.approx(interval.high))
    assert found.p == pytest.approx(expected.pvalue, abs=0.02)


def test_more_runs_withstand_more_seed_noise() -> None:
    generator = np.random.default_rng(4)
    ours, other = generator.uniform(0.3, 0.6, 60), generator.uniform(0.2, 0.5, 60)
    found = within_task([make_items("queries", ours)], [make_items("queries", other)])
    assert found is not None
    limits = {}
    for runs in ((1, 1), (3, 3), (1, 2)):
        (claim,) = these_tasks([{"task": found}], [runs])
        assert claim is not None and claim.overturned_by == pytest.approx(claim.overturned_alone)
        limits[runs] = claim.overturned_by
    assert limits[3, 3] == pytest.approx(limits[1, 1] * np.sqrt(3)) and limits[1, 2] == pytest.approx(
        limits[1, 1] * np.sqrt(2 / 1.5)
    )
    many = these_tasks([{"task": found}] * 4, [(1, 1)] * 4)
    assert all(claim and claim.overturned_by < limits[1, 1] == claim.overturned_alone for claim in many[:3]), (
        "with Holm's correction"
    )


def test_flips_of_few_queries_are_all_visited() -> None:
    values = np.array([0.3, -0.1, 0.2, 0.0, 0.5])
    patterns = itertools.product((-1, 1), repeat=5)
    expected = np.mean([abs(np.dot(signs, values)) >= abs(values.sum()) - 1e-9 for signs in patterns])
    assert flip_test(values) == pytest.approx(expected)
    assert flip_test(np.zeros(30)) == 1.0


def test_subsets_count_the_same_whatever_their_size() -> None:
    values = np.concatenate([np.full(10, 0.5), np.full(30, 0.1)]) + 0.01 * GENERATOR.random(40)
    ours = replace(make_items("queries", values), subsets=np.repeat([0, 1], [10, 30]))
    other = replace(make_items("queries", np.zeros(40)), subsets=ours.subsets)
    found = within_task([ours], [other])
    assert found is not None and found.difference == pytest.approx((values[:10].mean() + values[10:].mean()) / 2)


def test_runs_are_averaged_item_by_item() -> None:
    first, second, other = (make_items("queries", GENERATOR.random(50)) for _ in range(3))
    found = within_task([first, second], [other])
    expected = (first.values + second.values).mean() / 2 - other.values.mean()
    assert found is not None and found.difference == pytest.approx(expected)


def test_pairs_that_share_texts_are_less_evidence() -> None:
    ours, other = pairs(np.random.default_rng(5), 600, connected=6)
    together = within_task([ours], [other], effort=QUICK)
    alone = within_task(
        [replace(ours, groups=np.arange(600), grouped=False)],
        [replace(other, groups=np.arange(600), grouped=False)],
        effort=QUICK,
    )
    assert together is not None and alone is not None
    assert together.units == 100 and alone.units == 600 and together.grouped and not alone.grouped
    assert together.difference == pytest.approx(alone.difference)
    assert together.error > 1.15 * alone.error


def test_the_error_of_pairs_is_the_bootstraps_widened_for_its_size() -> None:
    ours, other = pairs(np.random.default_rng(7), 24, connected=4)
    found = within_task([ours], [other], seed=2, effort=QUICK)
    spread = np.std(bootstrap(ours, 2, 300)[1] - bootstrap(other, 2, 300)[1], ddof=1)
    assert found is not None and found.units == 6 and found.error == pytest.approx(spread * np.sqrt(6 / 5))


def test_both_systems_are_drawn_with_the_same_resamples() -> None:
    ours, _ = pairs(np.random.default_rng(6), 80)
    shifted = replace(ours, values=3 * ours.values + 1)  # another scale, the same order
    assert np.array_equal(bootstrap(ours, 1, 50)[1], bootstrap(shifted, 1, 50)[1])
    found = within_task([ours], [shifted], effort=QUICK)
    assert found is not None and found.difference == 0 and found.error == 0 and found.p == 1.0


@pytest.mark.parametrize("kind", ["correlation", "precision"])
def test_rank_swaps_are_the_enumeration(kind: str) -> None:
    generator = np.random.default_rng(3)
    gold = np.array([0.0, 1, 0, 1, 1, 0, 1])
    ours, other = (replace(make_items(kind, gold + scale * generator.normal(size=7)), gold=gold) for scale in (0.4, 1.5))
    statistic = spearman if kind == "correlation" else average_precision
    ranks = [stats.rankdata(items.values[:, 0]) for items in (ours, other)]

    def difference(swap: np.ndarray) -> float:
        first, second = np.where(swap, ranks[1], ranks[0]), np.where(swap, ranks[0], ranks[1])
        return statistic(codes(first), gold.astype(int), np.ones(7)) - statistic(codes(second), gold.astype(int), np.ones(7))

    observed = abs(difference(np.zeros(7, dtype=bool)))
    every = [abs(difference(np.array(swap))) for swap in itertools.product((False, True), repeat=7)]
    expected = np.mean(np.array(every) >= observed - 1e-12)
    assert rank_swaps(ours, other, 0, 3000) == pytest.approx(expected, abs=0.04)


def test_classification_counts_texts_and_training_samples() -> None:
    ours, other = (make_items("accuracy", (GENERATOR.random((300, 10)) < 0.8).astype(float)) for _ in range(2))
    found = within_task([ours], [other])
    right = ours.values - other.values
    variance = right.mean(axis=1).var(ddof=1) / 300 + right.mean(axis=0).var(ddof=1) / 10
    assert found is not None and found.error == pytest.approx(np.sqrt(variance)) and found.units == 300


def test_draws_of_clustering_have_the_corrected_error() -> None:
    ours, other = (replace(make_items("draws", GENERATOR.normal(0.5, 0.01, 10)), ratio=0.5) for _ in range(2))
    found = within_task([ours], [other])
    spread = (ours.values - other.values)[:, 0].std(ddof=1)
    assert found is not None and found.error == pytest.approx(spread * np.sqrt(0.5 + 0.1)) and found.df == 9
    assert within_task([replace(ours, ratio=None)], [replace(other, ratio=None)]) is None, "no error without the sizes"


def test_other_items_are_not_compared() -> None:
    ours = make_items("queries", GENERATOR.random(20))
    renamed = replace(ours, ids=tuple(("default", f"q{number}") for number in range(20)))
    one: Items = replace(make_items("correlation", GENERATOR.random(20)), gold=GENERATOR.random(20))
    other = replace(one, gold=one.gold[::-1].copy())
    assert within_task([ours], [renamed]) is None
    assert within_task([ours], [make_items("accuracy", ours.values)]) is None
    assert within_task([one], [other]) is None
    assert within_task([make_items("queries", np.array([0.5]))], [make_items("queries", np.array([0.1]))]) is None
