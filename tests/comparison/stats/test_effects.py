"""Effects over a handful of units: the textbook's intervals, the new task, equivalence, seeds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from comparison.stats.effects import describe, new_task_interval
from comparison.stats.multiple import holm
from comparison.stats.seeds import (
    Measured,
    corrected_seed_sds,
    overturning_seed_sd,
    variance_parts,
)

VALUES = np.array([0.021, -0.004, 0.013, 0.0, 0.031, 0.008, 0.017])


def test_description_is_the_textbooks() -> None:
    found = describe(VALUES)
    expected = stats.ttest_1samp(VALUES, 0)
    interval = expected.confidence_interval()
    assert (found.wins, found.losses, found.ties, found.units) == (5, 1, 1, 7)
    assert found.p_t == pytest.approx(expected.pvalue)
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == (pytest.approx(interval.low), pytest.approx(interval.high))
    assert found.rank_biserial == pytest.approx((found.w_plus - found.w_minus) / (found.w_plus + found.w_minus))


def test_one_unit_has_no_interval() -> None:
    found = describe([0.1])
    assert found.interval is None and found.sd is None and found.p_wilcoxon == 1.0 and found.hodges_lehmann_interval is None


def test_equal_systems() -> None:
    found = describe(np.zeros(6))
    assert (found.p_wilcoxon, found.p_sign_flip, found.p_t, found.rank_biserial) == (1.0, 1.0, 1.0, 0.0)


def test_a_new_task_without_related_ones_is_the_textbooks() -> None:
    found, expected = new_task_interval([[value] for value in VALUES]), describe(VALUES).new_unit
    assert found is not None and expected is not None
    assert (found.low, found.high) == (pytest.approx(expected.low), pytest.approx(expected.high))
    half = stats.t.ppf(0.975, 6) * VALUES.std(ddof=1) * np.sqrt(1 + 1 / 7)
    assert found.high - found.low == pytest.approx(2 * half)


def test_a_large_family_does_not_narrow_the_new_task() -> None:
    family = [0.08, -0.06, 0.05, -0.07]  # its mean is 0, its tasks are not
    found = new_task_interval([family, [0.0], [0.001]])
    assert found is not None and found.high - found.low > 0.2


def test_a_result_stands_up_to_its_tipping_point() -> None:
    mean, error = VALUES.mean(), VALUES.std(ddof=1) / np.sqrt(7)
    for runs in ((1, 1), (3, 1)):
        limit = overturning_seed_sd(mean, error, 6, runs)
        assert mean == pytest.approx(stats.t.ppf(0.975, 6) * np.sqrt(error**2 + limit**2 * (1 / runs[0] + 1 / runs[1])))
    assert overturning_seed_sd(error, error, 6) == 0.0


def test_a_corrected_tipping_point_is_where_holm_stops() -> None:
    generator = np.random.default_rng(5)
    tests = [
        Measured(float(mean), float(error), float(df), runs)
        for mean, error, df, runs in zip(
            generator.normal(0.03, 0.02, 7), generator.uniform(0.002, 0.009, 7), [5, 6, 9, 12, 12, 7, 30],
            [(1, 1), (3, 1), (3, 3), (1, 1), (2, 2), (1, 2), (1, 1)], strict=True,
        )
    ]  # fmt: skip

    def rejected(noise: float) -> list[bool]:
        errors = [np.sqrt(one.error**2 + noise**2 * (1 / one.runs[0] + 1 / one.runs[1])) for one in tests]
        alone = [2 * stats.t.sf(abs(one.mean) / error, one.df) for one, error in zip(tests, errors, strict=True)]
        return [p <= 0.05 for p in holm(alone)]

    limits = corrected_seed_sds(tests, 0.05)
    assert any(limits) and not all(limits) and rejected(0.0) == [limit > 0 for limit in limits]
    for number, limit in enumerate(limits):
        if limit:
            assert rejected(0.9999 * limit)[number] and not rejected(1.0001 * limit)[number]
    alone = [overturning_seed_sd(one.mean, one.error, one.df, one.runs) for one in tests]
    assert all(limit <= raw + 1e-12 for limit, raw in zip(limits, alone, strict=True))
    assert corrected_seed_sds(tests[:1], 0.05) == pytest.approx(alone[:1])


def test_variances_are_found_again() -> None:
    generator = np.random.default_rng(0)
    scores = (
        0.2 * generator.normal(size=(1, 1, 400))
        + 0.05 * generator.normal(size=(40, 1, 400))
        + 0.03 * generator.normal(size=(40, 6, 1))
        + 0.01 * generator.normal(size=(40, 6, 400))
    )
    found = variance_parts(scores)
    assert found is not None
    assert found.task == pytest.approx(0.2, rel=0.1)
    assert found.design_by_task == pytest.approx(0.05, rel=0.05)
    assert found.run == pytest.approx(0.03, rel=0.15)
    assert found.run_by_task == pytest.approx(0.01, rel=0.05)
    assert variance_parts(scores[:, :1]) is None
