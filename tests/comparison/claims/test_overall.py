"""All categories together: each counts the same, and inside it each family; seeds where they are known."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from comparison.claims.overall import CategoryPart, Overall, compare_overall
from comparison.claims.runs import PairRuns
from comparison.stats.crossed import JointError
from comparison.stats.effects import combine

SHORT, LONG = {"a": 0.3, "b": 0.2}, {"a": 0.01, "c": -0.02, "d": 0.03, "e": 0.015, "f": -0.01}
ALONE = PairRuns((1, 1), None)


def test_every_category_counts_the_same_whatever_its_length() -> None:
    (found,) = compare_overall({("x", "y"): {"S": CategoryPart(SHORT, 0), "L": CategoryPart(LONG, 0)}}, {("x", "y"): ALONE})
    assert found.mean == pytest.approx((0.25 + 0.005) / 2) and found.families == 7 and found.p_run is None
    weighted = np.array([*(value / 2 for value in SHORT.values()), *(value / 5 for value in LONG.values())])
    patterns = itertools.product((-1, 1), repeat=7)
    expected = np.mean([abs(np.dot(signs, weighted)) >= abs(weighted.sum()) - 1e-12 for signs in patterns])
    assert found.p == pytest.approx(expected)


def test_a_comparison_in_one_category_only_is_left_out_and_opposite_stars_contradict() -> None:
    parts = {
        ("x", "y"): {"S": CategoryPart(SHORT, 1.0), "L": CategoryPart(LONG, -1.0)},
        ("z", "y"): {"S": CategoryPart(SHORT, 1.0)},
        ("w", "y"): {"S": CategoryPart(SHORT, 1.0), "L": CategoryPart(LONG, 0.0)},
    }
    found = compare_overall(parts, dict.fromkeys(parts, ALONE))
    assert {one.a: one.opposed for one in found} == {"x": True, "w": False}


def test_what_stands_with_failures_counted() -> None:
    one = Overall("x", "y", {}, 0.02, 12, 0.001, None, False, mean_failures=0.01, p_failures=0.03, shares=(0.3, 0.9))
    assert one.carried and replace(one, p_failures=None, mean_failures=None).carried
    assert not replace(one, p_failures=0.06).carried and not replace(one, mean_failures=-0.01).carried
    assert not replace(one, shares=(0.5, 0.0)).carried, "half of the better one's runs failed"


def test_the_interval_is_over_families_within_categories() -> None:
    (found,) = compare_overall({("x", "y"): {"S": CategoryPart(SHORT, 0), "L": CategoryPart(LONG, 0)}}, {("x", "y"): ALONE})
    pieces = [(np.var(list(of.values()), ddof=1) / len(of) / 4, len(of) - 1) for of in (SHORT, LONG)]
    total = sum(piece for piece, _ in pieces)
    df = total**2 / sum(piece**2 / freedom for piece, freedom in pieces)
    half = stats.t.ppf(0.975, df) * np.sqrt(total)
    assert found.interval is not None and found.interval.low == pytest.approx(found.mean - half)
    together = found.simultaneous
    assert together is not None and (together.low <= 0 <= together.high) == (found.p > 0.05)


def test_a_category_with_one_family_cannot_carry_the_claim() -> None:
    single = {("x", "y"): {"S": CategoryPart({"a": 0.3}, 0), "L": CategoryPart(LONG, 0)}}
    assert compare_overall(single, {("x", "y"): ALONE}) == [], "one category is left, which is not all of them"
    three = {("x", "y"): {**single["x", "y"], "M": CategoryPart(SHORT, 0)}}
    (found,) = compare_overall(three, {("x", "y"): ALONE})
    assert found.left_out == ("S",) and set(found.categories) == {"L", "M"} and found.interval is not None
    assert found.mean == pytest.approx((0.005 + 0.25) / 2)


def test_repeated_runs_are_crossed_with_families() -> None:
    names = [("x", "y"), ("z", "y")]
    parts = {pair: {"S": CategoryPart(SHORT, 0), "L": CategoryPart(LONG, 0)} for pair in names}
    found = compare_overall(parts, {names[0]: PairRuns((3, 3), [(0.03, 4), (0.03, 4)]), names[1]: ALONE})
    pieces = [(np.var(list(of.values()), ddof=1) / len(of) / 4, len(of) - 1) for of in (SHORT, LONG)]
    (of_units, df_units), (of_runs, df_runs) = combine(pieces), combine([(0.03, 4)] * 2)
    error = np.hypot(of_units, of_runs)
    expected = JointError(error, (of_runs / error) ** 2, df_units, df_runs).p(found[0].mean)
    assert expected > found[0].p and found[0].p_run == pytest.approx(expected)
    assert found[1].p_run is None
