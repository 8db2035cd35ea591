"""``python -m comparison.plan``: what a kind of tasks needs, from a pilot's spread."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from comparison.plan import main

Write = Callable[..., Path]
TASKS = ["NQ", "HotpotQA", "ArguAna", "FiQA2018", "SciFact", "NFCorpus", "SCIDOCS"]


@pytest.fixture
def pilot(write: Write) -> Path:
    generator = np.random.default_rng(2)
    systems = {}
    for name in "abc":
        for seed in (1, 2, 3):
            scores = 0.5 + 0.01 * generator.normal(size=len(TASKS))
            systems[f"o/{name}-seed{seed}"] = dict(zip(TASKS, map(float, scores), strict=True))
    return write(systems)


def test_it_prints_what_is_needed(pilot: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(pilot), "--difference", "0.03", "--studies", "60"]) == 0
    printed = capsys.readouterr().out
    assert "# Plan: a difference of 3.00 points, power 80%" in printed and "## Retrieval" in printed
    assert "The pilot has 7 families" in printed and "gets a star in" in printed
    assert [line.split(" | ")[0] for line in printed.splitlines() if line.startswith("| ")][1:] == ["| 1", "| 3", "| 5", "| 10"]


def test_tasks_of_unknown_relation_are_no_families(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    generator = np.random.default_rng(2)
    tasks = [f"OwnTask{number}" for number in range(12)]
    systems = {f"o/{name}": dict(zip(tasks, map(float, generator.normal(0.5, 0.01, 12)), strict=True)) for name in "ab"}
    pilot = str(write(systems))
    assert main([pilot, "--studies", "60"]) == 0
    printed = capsys.readouterr().out
    assert "Nothing can be planned:" in printed and "--unrelated" in printed and "gets a star" not in printed
    assert main([pilot, "--studies", "60", "--unrelated"]) == 0
    assert "The pilot has 12 families" in capsys.readouterr().out


def test_without_repeated_runs_only_checkpoints_are_planned(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    generator = np.random.default_rng(2)
    scores = [dict(zip(TASKS, map(float, generator.normal(0.5, 0.01, len(TASKS))), strict=True)) for _ in range(2)]
    root = write({"o/a": scores[0], "o/b": scores[1]})
    assert main([str(root), "--studies", "60", "--comparisons", "3"]) == 0
    printed = capsys.readouterr().out
    assert "--run_sd gives it" in printed and "| 3 |" not in printed and "3 comparisons are corrected" in printed


@pytest.mark.parametrize(
    ("flags", "said"), [(["--difference", "2"], "0.02 for two points"), (["--power", "80"], "such as 0.8")]
)
def test_mistakes_are_told(pilot: Path, flags: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as status:
        main([str(pilot), *flags])
    assert status.value.code == 2 and said in capsys.readouterr().err


def test_nothing_is_not_planned_in_silence(pilot: Path, write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(pilot), "--categories", "Retreival"]) == 1
    assert "--categories Retreival: the results have Retrieval (did you mean 'Retrieval'?)" in capsys.readouterr().err
    root = write({"o/a": {"NQ": 0.5}, "o/b": {"NFCorpus": 0.5}}, root="apart")
    assert main([str(root)]) == 1
    assert "no two systems have scores on a common task" in capsys.readouterr().err
