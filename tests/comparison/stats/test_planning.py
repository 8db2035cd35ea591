"""The planner: its power is that of the comparison itself, and the size that it names has the power that was asked for."""

from __future__ import annotations

import numpy as np
import pytest

from comparison.simulation.counts import count_claims
from comparison.simulation.worlds import World
from comparison.stats.planning import MOST, Prospect, Spread, about_needed, families_needed, prospect

SPREADS = {  # name -> sd over families, sd over runs, runs of each, true difference
    "checkpoints": (0.02, 0.0, 1, 0.02),
    "three runs": (0.02, 0.003, 3, 0.02),
    "five noisy runs": (0.015, 0.004, 5, 0.02),
}


def world(families: int, sd: float, run_sd: float, runs: int, difference: float) -> World:
    """One kind of unrelated tasks, and a second one that is never decided."""
    structure = {"Retrieval": ([1] * families, 0.0, sd), "STS": ([1, 1], 0.0, sd)}
    effects = dict.fromkeys(structure, (0.0, 0.0, 0.0, 0.0, difference))
    return World("", effects=effects, runs=(runs,) * 5, run_sd=run_sd, families=structure, assumed=structure)


def check(name: str, asked: float, studies: int, tolerance: float) -> None:
    sd, run_sd, runs, difference = SPREADS[name]
    tasks = run_sd * np.sqrt(2 / runs)  # of each task, beside what moves all of them
    needed = families_needed(Spread(float(np.hypot(sd, tasks)), run_sd, 4), difference, asked, runs, studies=800)
    assert needed is not None
    found = count_claims(world(needed, sd, run_sd, runs, difference), studies, seed=5)["found Retrieval"]
    assert abs(found - asked) <= tolerance, (needed, found)


def test_the_size_that_is_named_has_the_power_that_was_asked_for() -> None:
    check("checkpoints", 0.6, 40, 0.25)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(SPREADS))
def test_it_has_within_five_points(name: str) -> None:
    check(name, 0.8, 600, 0.05)


def test_more_tasks_help_and_few_families_never_do() -> None:
    spread = Spread(0.03, 0.0, 4)
    few, many = prospect(spread, 0.02, 14), prospect(spread, 0.02, 40)
    assert few.power < many.power and few.exaggeration is not None and many.exaggeration is not None
    assert few.exaggeration > many.exaggeration >= 0.99, "the smaller the study, the larger what a star says"
    assert prospect(spread, 0.02, 5) == Prospect(0.0, None)


def test_no_number_of_tasks_makes_up_for_noisy_runs() -> None:
    noisy = Spread(0.01, 0.02, 4)
    assert families_needed(noisy, 0.01, 0.8, runs=3, studies=100) is None
    assert families_needed(Spread(0.01, 0.001, 4), 0.01, 0.8, runs=3, studies=100) is not None


def test_the_rough_number_is_near_the_simulated_one() -> None:
    for sd in (0.02, 0.04):
        spread = Spread(sd, 0.0, 4)
        exact = families_needed(spread, 0.02, 0.8)
        assert exact is not None and about_needed(spread, 0.02, 0.8) == pytest.approx(exact, rel=0.25)
    assert about_needed(Spread(0.0001, 0.0, 1), 0.02, 0.8) == 6 and MOST > 100
