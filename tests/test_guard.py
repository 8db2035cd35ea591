"""The guard of speed names a ratio that fell, and takes no noise for a fall."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import clock, guard, guard_cases
from benchmarks.clock import Measured, measure, of_rounds
from benchmarks.guard import Expected, fallen, judge
from common.errors import UserError
from model_loaders.embed_model import EmbedModel


def test_the_ratio_is_that_of_the_medians_and_outliers_do_not_count() -> None:
    quiet = of_rounds([2.0, 2.1, 1.9, 2.0, 2.0], [1.0, 1.0, 1.0, 1.0, 1.0])
    assert quiet.ratio == 2.0
    loud = of_rounds([2.0, 2.1, 1.9, 2.0, 90.0], [1.0, 1.0, 1.0, 1.0, 1.0])
    assert loud.ratio == 2.0 and loud.error < 0.1
    assert of_rounds([1.0, 3.0, 5.0], [1.0, 1.0, 1.0]).error > 0.5
    # A machine that becomes slower while it measures slows both sides of a round.
    assert of_rounds([2.0, 4.0, 8.0], [1.0, 2.0, 4.0]) == Measured(2.0, 0.0)


@pytest.mark.parametrize(
    ("ratio", "error", "fell"),
    [
        (2.0, 0.0, False),
        (1.85, 0.0, False),  # within the noise between runs, 8 %
        (1.8, 0.0, True),
        (1.8, 0.03, False),  # its own rounds scatter too much to say
        (1.2, 0.03, True),
        (3.0, 0.0, False),  # faster than expected
    ],
)
def test_a_fall_is_beyond_both_kinds_of_noise(ratio: float, error: float, fell: bool) -> None:
    names = fallen({"step": Measured(ratio, error), "new": Measured(0.1, 0.0)}, {"step": Expected(2.0, 0.08)})
    assert names == (["step"] if fell else [])


def test_sides_run_in_turn_and_the_first_run_of_each_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    order, now = [], [0.0]
    monkeypatch.setattr(clock, "clock", lambda: now[0])

    def side(name: str, seconds: float) -> None:
        now[0] += seconds if name in order else 100.0
        order.append(name)

    result = measure((lambda: side("other", 3.0), lambda: side("ours", 1.5)), 3)
    assert order == ["other", "ours"] * 4
    assert result == Measured(2.0, 0.0)


def test_a_fall_is_named_with_the_commits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = {"rev-parse": "bbbb\n", "rev-list": "bbbb\ncccc\n"}
    monkeypatch.setattr(guard, "git", lambda *words: answers[words[0]])
    path = tmp_path / "expected.json"
    guard.write({"step": Measured(2.0, 0.01), "dropout": Measured(0.9, 0.01)}, path)
    kept = json.loads(path.read_text())
    assert kept["ratios"]["step"] == {"ratio": 2.0, "noise": guard.NOISE, "commit": "bbbb"}
    kept["ratios"]["step"]["commit"] = "aaaa"
    path.write_text(json.dumps(kept))
    capsys.readouterr()
    assert judge({"step": Measured(1.0, 0.01), "dropout": Measured(0.9, 0.01)}, path) == 1
    assert capsys.readouterr().out == "step FELL by 50%, from 2.00 to 1.00, in aaaa..bbbb (2 commits)\n"
    assert judge({"step": Measured(2.0, 0.01)}, path) == 0
    assert capsys.readouterr().out == "no ratio fell, of 1 that were judged; 0 were not\n"
    guard.write({"dropout": Measured(0.8, 0.01)}, path)  # one alone: the other stays, with its commit
    kept = json.loads(path.read_text())["ratios"]
    assert kept["step"]["commit"] == "aaaa" and kept["dropout"] == {"ratio": 0.8, "noise": guard.NOISE, "commit": "bbbb"}
    monkeypatch.setattr(guard, "processor", lambda: "another")
    guard.write({"step": Measured(1.0, 0.01)}, path)
    assert set(json.loads(path.read_text())["ratios"]) == {"step"}


def test_another_processor_and_a_missing_repository_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(guard, "git", lambda *words: "")
    path = tmp_path / "expected.json"
    guard.write({"step": Measured(2.0, 0.01)}, path)
    monkeypatch.setattr(guard, "processor", lambda: "another")
    assert judge({"step": Measured(1.0, 0.01), "new": Measured(1.0, 0.0)}, path) == 1
    told = capsys.readouterr().out
    assert "this is another" in told and "new: not judged, nothing is expected yet" in told
    assert "in a range of commits that is not known" in told
    with pytest.raises(UserError):
        judge({}, tmp_path / "missing.json")


def test_texts_are_the_same_each_time() -> None:
    rows = guard_cases.texts(40)
    assert rows == guard_cases.texts(40) and len({row["query"] for row in rows}) == 40
    assert all(3 <= len(row["query"].split()) < len(" ".join(row["negatives"])) for row in rows)


@pytest.mark.parametrize("name", list(guard.CASES))
def test_both_sides_of_every_ratio_run(name: str, base: Path) -> None:
    other, ours = guard.CASES[name](guard.Settings(base, triplets=2))
    for side in (other, ours):
        side()


def test_the_expected_file_is_of_known_ratios() -> None:
    kept = json.loads(guard.EXPECTED.read_text(encoding="utf-8"))
    assert set(kept["ratios"]) <= set(guard.CASES)
    expected = [Expected(**values) for values in kept["ratios"].values()]
    assert all(value.ratio > 0 and value.commit for value in expected)


def test_a_planted_slow_down_is_named(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, settings = tmp_path / "expected.json", guard_cases.Settings(base, triplets=2)
    names = ("encoding", "pooling")
    guard.write(guard.measure_all(names, settings, 3), path)
    encode = EmbedModel.encode

    def slow(model: EmbedModel, *words: Any, **options: Any) -> np.ndarray:
        for _ in range(9):
            encode(model, *words, **options)
        return encode(model, *words, **options)

    monkeypatch.setattr(EmbedModel, "encode", slow)
    capsys.readouterr()
    assert judge(guard.measure_all(names, settings, 3), path) == 1
    lines = capsys.readouterr().out.splitlines()[len(names) :]
    assert len(lines) == 1 and lines[0].startswith("encoding FELL by ") and ("commit" in lines[0])
