"""Simulated studies: wrong marks are rare, intervals cover, and the simulation sees what breaks the rules."""

from __future__ import annotations

import numpy as np
import pytest

from comparison.simulate import main
from comparison.simulation.items import coverage_within
from comparison.simulation.shares import coverage, share_equivalent, share_with_marks
from comparison.simulation.worlds import BROKEN, CATEGORIES, WORLDS, World

MARKS = [*CATEGORIES, "** in the table", "overall"]
APART = {name: ([1] * sum(sizes), 0.0, sd) for name, (sizes, _, sd) in CATEGORIES.items()}


def most(repetitions: int, share: float = 0.05) -> float:
    """The share that chance exceeds in one of a thousand simulations."""
    return share + 3.1 * float(np.sqrt(share * (1 - share) / repetitions))


def test_wrong_stars_are_rare() -> None:
    for world in (WORLDS[0], WORLDS[4]):
        found = share_with_marks(world, "model1", 60, seed=3)
        assert all(found[name] <= most(60) for name in MARKS), found
        assert found["STS"] == found["Classification"] == 0, "too few families decide nothing"


def test_related_tasks_taken_as_independent_give_wrong_stars() -> None:
    found = share_with_marks(World("", assumed=APART), "model1", 60, seed=3)
    assert found["STS"] > 0.12, found


def test_seed_noise_unmeasured_gives_stars_that_say_nothing_of_designs() -> None:
    assert BROKEN[-1].runs == (1,) * 5
    assert share_with_marks(BROKEN[-1], "model1", 60, seed=3)["Retrieval"] > 0.12


def test_seed_noise_makes_nobody_equivalent() -> None:
    found = share_equivalent(60, seed=3, runs=3, run_sd=0.01)
    assert all(share <= most(60) for share in found.values()), found
    alone = share_equivalent(60, seed=3, runs=3, run_sd=0.01, over_runs=False)
    assert max(alone.values()) > most(60), "over families alone it would"


def test_intervals_cover() -> None:
    found = coverage(WORLDS[0], 60, seed=1)
    assert all(share >= 1 - most(60) for (kind, _), share in found.items() if "INDEPENDENT" not in kind), found
    assert ("Hodges-Lehmann over families", "STS") not in found
    assert found["AS IF INDEPENDENT: mean over tasks, t", "STS"] < 0.9


def test_within_tasks_intervals_cover() -> None:
    found = coverage_within(25, seed=1)
    assert all(share >= 1 - most(25) for share in found.values()), found


def test_the_command_prints_tables(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--repetitions", "1"]) == 0
    assert capsys.readouterr().out.count("|---|") >= 6


@pytest.mark.slow
@pytest.mark.parametrize("baseline", ["model1", None], ids=["baseline", "all pairs"])
@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
def test_family_wise_error(world: World, baseline: str | None) -> None:
    found = share_with_marks(world, baseline, 1000, seed=11)
    assert all(found[name] <= most(1000) for name in MARKS), found


@pytest.mark.slow
def test_coverage_and_wrong_equivalence() -> None:
    found = coverage(WORLDS[0], 1000, seed=11) | coverage(WORLDS[4], 1000, seed=11) | coverage(WORLDS[5], 1000, seed=11)
    assert all(share >= 1 - most(1000) for (kind, _), share in found.items() if "INDEPENDENT" not in kind), found
    for runs, run_sd in ((1, 0.0), (3, 0.003), (3, 0.01)):
        assert all(share <= most(1000) for share in share_equivalent(1000, 11, runs, run_sd).values())
    assert all(share >= 1 - most(600) for share in coverage_within(600, seed=11).values())
