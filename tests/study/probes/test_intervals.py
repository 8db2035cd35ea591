"""Intervals over texts hold the truth as often as they say."""

from __future__ import annotations

import numpy as np
import pytest

from study.probes.intervals import bootstrap, jackknife, mean, of_best_column, share
from study.probes.matching import mean_similarity


@pytest.mark.slow
def test_a_bootstrap_holds_the_mean_nineteen_times_in_twenty() -> None:
    generator = np.random.default_rng(0)
    hits = 0
    for seed in range(100):
        interval = mean(generator.exponential(size=60), seed)
        hits += interval.low <= 1.0 <= interval.high
    assert 86 <= hits <= 99


@pytest.mark.slow
def test_a_jackknife_of_pairs_holds_the_truth() -> None:
    """Texts share a direction of known weight: the mean cosine of two is 0.2."""
    generator = np.random.default_rng(0)
    hits = 0
    for seed in range(100):
        vectors = 0.5 * np.eye(1, 400) + generator.standard_normal((60, 400)) / 20
        truth = 0.25 / 1.25
        interval = jackknife(lambda rows, vectors=vectors: mean_similarity(vectors[rows]), 60, seed)
        hits += interval.low - 0.002 <= truth <= interval.high + 0.002  # 0.2 up to the curvature of the norm
    assert 86 <= hits <= 100


@pytest.mark.slow
def test_the_best_of_many_columns_is_not_flattered() -> None:
    """Thirty columns are equally good: the largest mean is too large, that of a column chosen on other texts is not."""
    generator = np.random.default_rng(0)
    largest, best, hits = [], [], 0
    for seed in range(200):
        values = generator.uniform(size=(40, 30))
        largest.append(values.mean(axis=0).max())
        estimate, chosen = of_best_column(values, seed)
        assert 1 <= len(chosen) <= 2
        best.append(estimate.value)
        hits += estimate.low <= 0.5 <= estimate.high
    assert np.mean(largest) > 0.58
    assert np.mean(best) == pytest.approx(0.5, abs=0.01)
    assert hits >= 0.88 * 200


def test_the_same_seed_draws_the_same_texts() -> None:
    values = np.random.default_rng(0).standard_normal(30)
    assert mean(values, 3) == mean(values, 3) != mean(values, 4)


def test_a_share_of_all_or_nothing_has_a_width() -> None:
    assert share(np.ones(25)).low < 0.9 and share(np.ones(25)).high == 1.0
    assert share(np.zeros(25)).high > 0.1


def test_few_texts_have_no_interval() -> None:
    estimate = mean(np.ones(5), 0)
    assert not np.isfinite(estimate.value)


def test_an_infinite_figure_has_an_infinite_end() -> None:
    values = np.linspace(-1, 1, 40)[:, None]
    (estimate,) = bootstrap(values, lambda mean: np.where(mean > 0.1, np.inf, mean), 0)
    assert estimate.high == np.inf and np.isfinite(estimate.low)
