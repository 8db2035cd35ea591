"""Training runs behind a difference: paired by what they are, and counted in what a study can show."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from comparison.claims.outcome import Category, Comparison
from comparison.claims.pairs import Sides
from comparison.claims.prospects import spread_of, with_outlooks
from comparison.claims.results import noisy_runs
from comparison.claims.runs import runs_of
from comparison.claims.without_one import with_families_left_out
from comparison.compare import Options, compare
from comparison.reading.families import Families
from comparison.reading.table import Table
from comparison.report.words.wording import verdict
from comparison.stats.crossed import crossed
from comparison.stats.multiple import holm, step_down_max_t
from comparison.stats.planning import Spread, prospect

KINDS = {"One": ["a", "b"], "Two": ["c", "d"]}
FAMILIES = {kind: [[task] for task in tasks] for kind, tasks in KINDS.items()}


def table_of_seeds(seeds: np.ndarray) -> Table:
    """Two designs whose seeds move all tasks alike."""
    table = Table(("x", "y"), dict.fromkeys("xy", len(seeds)), [], categories=dict(KINDS))
    for system in "xy":
        for task in table.tasks:
            table.scores[system, task] = 0.5 + seeds
    return table


def test_runs_are_not_paired_by_their_place_among_those_that_are_left() -> None:
    """Run 0 lacks a task of one kind, and run 3 one of the other: runs 1 and 2 have both kinds."""
    seeds = np.array([0.01, -0.02, 0.03, -0.04])
    table = table_of_seeds(seeds)
    table.scores["x", "a"] = np.array([np.nan, *(0.5 + seeds[1:])])
    table.scores["x", "d"] = np.array([*(0.5 + seeds[:3]), np.nan])
    found = runs_of(table, Sides(("x",), ("y",)), FAMILIES)
    assert found.counts == (2, 4) and found.parts is not None
    assert found.parts[0] == (pytest.approx(seeds[1:3].var(ddof=1) / 2), 1)
    assert found.parts[1] == (pytest.approx(seeds.var(ddof=1) / 4), 3)
    table.scores["x", "d"] = np.array([*(0.5 + seeds[:2]), np.nan, np.nan])
    alone = runs_of(table, Sides(("x",), ("y",)), FAMILIES)
    assert alone.counts == (1, 4) and alone.parts is None, "one run has both kinds, and its noise is unknown"


def made(runs: dict[str, int], extra: bool = False, as_they_are: frozenset[str] = frozenset()) -> tuple[Table, Comparison]:
    """Designs on eight tasks with seeds of .004, and with `extra` a public model that has one task more."""
    generator = np.random.default_rng(4)
    tasks = [f"T{number}" for number in range(8)]
    table = Table(tuple(runs), dict(runs), [], categories={"Kind": tasks}, as_they_are=as_they_are)
    for system, count in runs.items():
        seeds = generator.normal(0, 0.004, count)
        for task in tasks:
            table.scores[system, task] = 0.5 + 0.01 * generator.normal() + seeds
            table.files[system, task] = [None] * count
    if extra:
        table.systems = (*table.systems, "public")
        table.runs["public"] = 1
        table.categories["Kind"] = [*tasks, "more"]
        for task in table.tasks:
            table.scores["public", task] = np.array([0.5])
            table.files["public", task] = [None]
    return table, compare(table, Families(unrelated=True), Options("base"))


def test_a_star_of_designs_is_tested_again_over_runs() -> None:
    table, _ = made({"base": 3, "x": 3, "y": 3})
    for task in table.tasks:
        table.scores["x", task] = table.scores["x", task] + 0.04 + np.array([-0.012, 0.0, 0.012])
    found = with_families_left_out(table, compare(table, Families(unrelated=True), Options("base")))
    contrast = next(one for one in only(found).contrasts if one.a == "x")
    assert contrast.starred and contrast.another_run.p is not None and contrast.without_one is not None
    values = np.array([list(one.differences.values()) for one in only(found).contrasts])
    largest = 0.0
    for left_out in range(8):
        families = [[task] for number, task in enumerate(table.tasks) if number != left_out]
        rest = np.delete(values, left_out, axis=1)
        crossed_p = []
        for system, of_system in zip("xy", rest, strict=True):
            runs = runs_of(table, Sides((system,), ("base",)), {"Kind": families})
            test = crossed(of_system, runs.parts)
            assert test is not None
            crossed_p.append(test.p)
        largest = max(largest, step_down_max_t(rest)[0], holm(crossed_p)[0])
    assert contrast.without_one.p == pytest.approx(largest)
    assert largest > max(step_down_max_t(np.delete(values, number, axis=1))[0] for number in range(8)), "runs decide here"


def test_a_star_of_checkpoints_is_tested_again_without_runs() -> None:
    """One of two runs failed on T0 alone: without T0 the noise between runs is known, which the star never rested on."""
    table, _ = made({"base": 2, "x": 2})
    for task in table.tasks:
        table.scores["x", task] = table.scores["x", task] + 0.03 + np.array([-0.02, 0.02])
    table.scores["x", "T0"][1] = np.nan
    table.failed["x", "T0"] = 1
    (contrast,) = only(with_families_left_out(table, compare(table, Families(unrelated=True), Options("base")))).contrasts
    assert contrast.starred and contrast.another_run.p is None and contrast.without_one is not None
    values = np.array([list(contrast.differences.values())])
    flips = [step_down_max_t(np.delete(values, number, axis=1))[0] for number in range(8)]
    assert contrast.without_one.p == pytest.approx(max(flips))


def test_runs_that_were_never_scored_on_a_task_are_absent() -> None:
    table, _ = made({"base": 3, "x": 3})
    for task in table.tasks:
        table.scores["x", task] = table.scores["x", task] + 0.03
    for task in ("T0", "T1"):
        table.scores["x", task][1:] = np.nan
    (contrast,) = only(compare(table, Families(unrelated=True), Options("base"))).contrasts
    assert contrast.sensitivity is not None, "two of three runs lack two tasks"


def only(found: Comparison) -> Category:
    (category,) = found.categories
    return category


def test_the_noise_between_runs_is_known_whatever_other_tasks_another_model_has() -> None:
    table, found = made({"base": 3, "x": 3})
    more, with_public = made({"base": 3, "x": 3}, extra=True)
    spread, again = spread_of(table, only(found)), spread_of(more, only(with_public))
    assert spread is not None and again is not None and again.runs == pytest.approx(spread.runs) and spread.runs > 0
    outlook = only(with_outlooks(more, with_public)).outlook
    assert outlook is not None and outlook.runs == 3 and outlook.run_sd > 0


def test_designs_against_a_model_as_it_is_have_their_own_runs() -> None:
    table, found = made({"base": 1, "x": 3}, as_they_are=frozenset(["base"]))
    outlook, spread = only(with_outlooks(table, found)).outlook, spread_of(table, only(found))
    assert outlook is not None and outlook.runs == 3 and spread is not None and not spread.baseline_varies
    quiet = prospect(Spread(0.01, 0.01, 1, baseline_varies=False), 0.03, 10, 3, 300)
    assert quiet.power > prospect(Spread(0.01, 0.01, 1), 0.03, 10, 3, 300).power
    pilot, once = made({"base": 1, "x": 1}, as_they_are=frozenset(["base"]))
    spread = spread_of(pilot, only(once), run_sd=0.006)
    assert spread is not None and not spread.baseline_varies, "of a pilot with one run, too"
    checkpoints, single = made({"base": 3, "x": 1})
    seen = only(with_outlooks(checkpoints, single)).outlook
    assert seen is not None and seen.runs == 1


def test_the_tipping_point_gives_no_noise_to_a_model_that_nobody_trains_again() -> None:
    _, plain = made({"base": 1, "x": 3})
    _, fixed = made({"base": 1, "x": 3}, as_they_are=frozenset(["base"]))
    (one,), (other,) = only(plain).contrasts, only(fixed).contrasts
    ratio = np.sqrt((1 / 3 + 1) / (1 / 3))
    assert other.another_run.overturned_alone == pytest.approx(ratio * (one.another_run.overturned_alone or 0.0))
    assert noisy_runs((1, 1), (True, True)) == (1, 1) and noisy_runs((3, 1), (False, True)) == (3, np.inf)


def test_no_number_of_tasks_is_named_for_designs() -> None:
    _, found = made({"base": 3, "x": 3})
    (contrast,) = only(found).contrasts
    wide = replace(contrast, by_family=replace(contrast.by_family, sd=0.2))
    unknown = replace(wide, another_run=replace(wide.another_run, p=None))
    assert "families would show" in verdict(unknown, 0.01, 1) and "would show" not in verdict(wide, 0.01, 1)
