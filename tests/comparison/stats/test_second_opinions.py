"""Second opinions: the textbook's where families are single tasks, restricted likelihood where not, a posterior that covers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize, stats

from comparison.stats.second_opinions import second_opinion

ALONE = [[0.02], [0.01], [0.03], [-0.005], [0.015], [0.01], [0.0]]
RELATED = [[0.02, 0.025, 0.018], [0.01], [0.03, 0.026], [-0.005], [0.015], [0.01, 0.004]]


def test_single_tasks_are_the_textbooks() -> None:
    found = second_opinion(ALONE, 0.01)
    values = np.array([value for (value,) in ALONE])
    expected = stats.ttest_1samp(values, 0)
    assert found is not None
    assert found.mixed_mean == pytest.approx(values.mean()) == found.mean
    assert found.mixed_p == pytest.approx(expected.pvalue)
    low, high = expected.confidence_interval()
    assert (found.mixed_interval.low, found.mixed_interval.high) == (pytest.approx(low), pytest.approx(high))
    assert (found.interval.low, found.interval.high) == (pytest.approx(low, abs=1e-6), pytest.approx(high, abs=1e-6))
    t = stats.t(6, values.mean(), values.std(ddof=1) / np.sqrt(7))
    assert found.p_better == pytest.approx(t.sf(0.01)) and found.p_worse == pytest.approx(t.cdf(-0.01))
    assert found.p_better + found.p_equal + found.p_worse == pytest.approx(1)


def restricted(parameters: np.ndarray) -> float:
    """Minus the restricted log-likelihood, from the covariance matrix itself."""
    family, task = np.exp(parameters)
    values = np.concatenate(RELATED)
    labels = np.repeat(np.arange(len(RELATED)), list(map(len, RELATED)))
    covariance = family * (labels[:, None] == labels[None]) + task * np.eye(len(values))
    inverse, ones = np.linalg.inv(covariance), np.ones(len(values))
    information = ones @ inverse @ ones
    mean = ones @ inverse @ values / information
    left = values - mean
    return float((np.linalg.slogdet(covariance)[1] + np.log(information) + left @ inverse @ left) / 2)


def test_the_mixed_model_has_the_largest_restricted_likelihood() -> None:
    found = second_opinion(RELATED, 0.01)
    best = optimize.minimize(restricted, np.log([1e-4, 1e-5]), method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-12})
    family, task = np.exp(best.x)
    weights = 1 / (family + task / np.array(list(map(len, RELATED))))
    means = np.array(list(map(np.mean, RELATED)))
    assert found is not None
    assert found.mixed_mean == pytest.approx(weights @ means / weights.sum(), rel=0.01)
    half = stats.t.ppf(0.975, len(RELATED) - 1) / np.sqrt(weights.sum())
    assert found.mixed_interval.high - found.mixed_mean == pytest.approx(half, rel=0.02)


def test_runs_widen_both() -> None:
    quiet, noisy = second_opinion(RELATED, 0.01), second_opinion(RELATED, 0.01, [(1e-4, 2), (1e-4, 2)])
    assert quiet is not None and noisy is not None
    assert noisy.mixed_p > quiet.mixed_p and noisy.interval.low < quiet.interval.low and noisy.p_positive < quiet.p_positive


def test_nothing_to_say() -> None:
    assert second_opinion([[0.1, 0.2]], 0.01) is None and second_opinion([[0.0]] * 6, 0.01) is None


def test_the_posterior_covers() -> None:
    generator = np.random.default_rng(4)
    hits = []
    for _ in range(300):
        families = []
        for size in (3, 1, 1, 2, 1, 1, 2, 1):
            families.append(list(generator.normal(0, 0.02) + generator.normal(0, 0.01, size)))
        found = second_opinion(families, 0.01)
        assert found is not None
        hits.append(found.interval.low <= 0 <= found.interval.high)
    assert np.mean(hits) >= 0.95 - 3.1 * np.sqrt(0.05 * 0.95 / 300)
