"""Filtering of triplets: what goes, why, and what stays as it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from triplets.conversion import filtering
from triplets.conversion import store as stores
from triplets.filter import main

ROWS: list[dict[str, Any]] = [
    {"query": "first query", "positive": "first answer",
     "negative": ["wrong", "FIRST  answer", "wrong ", "first query", "held out"]},
    {"query": "First query", "positive": "first answer", "negative": []},
    {"query": "first query", "positive": "second answer", "negative": ["a", "b", "c"]},
    {"query": "same", "positive": "SAME", "negative": ["x"]},
    {"query": "q", "positive": "an answer", "negative": ["x"]},
    {"query": "a query", "positive": "l" * 60, "negative": ["x"]},
    {"query": "test query", "positive": "held out", "negative": ["x"]},
]  # fmt: skip


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (tmp_path / "test.jsonl").write_text(json.dumps({"id": 3, "text": "Held out"}) + "\n")
    return tmp_path / "rows.jsonl"


def run(source: Path, *words: str) -> list[dict[str, Any]]:
    output = source.with_name("out.jsonl")
    argv = [str(source), str(output), "--cache_dir", str(source.parent / "cache"), *words]
    assert main(argv) == 0
    return [json.loads(line) for line in output.read_text().splitlines()]


def test_what_goes_in_any_case(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = run(source)
    assert [row["query"] for row in rows] == ["first query", "first query", "q", "a query", "test query"]
    assert rows[0]["negative"] == ["wrong", "held out"] and rows[1] == ROWS[2]
    said = capsys.readouterr().out
    assert "7 rows read, 5 written" in said and "1 rows whose positive is the query" in said
    assert "3 negatives dropped: the query, the positive or another negative" in said


def test_a_teachers_scores_stay_with_their_texts(source: Path) -> None:
    row = {"query": "a question", "positive": "an answer", "negative": ["An Answer", "b", "c"], "scores": [0.9, 0.8, 0.2, 0.1]}
    without = [
        {**row, "query": "another", "scores": None},
        {**row, "query": "third", "negative": ["third"], "scores": [0.9, 0.1]},
    ]
    source.write_text("".join(json.dumps(entry) + "\n" for entry in [row, *without]))
    first, second, third = run(source, "--max_negatives", "1")
    assert first == {"query": "a question", "positive": "an answer", "negative": ["b"], "scores": [0.9, 0.2]}
    assert second == {"query": "another", "positive": "an answer", "negative": ["b"]}
    assert third == {"query": "third", "positive": "an answer", "negative": []}


def test_the_input_is_not_overwritten(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = source.read_bytes()
    assert main([str(source), str(source)]) == 1
    assert "would be overwritten" in capsys.readouterr().err and source.read_bytes() == before


def test_rules(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    test = str(source.with_name("test.jsonl"))
    rows = run(source, "--leave_out", test, "--min_characters", "3", "--max_characters", "50", "--max_negatives", "2")
    assert [(row["query"], row["negative"]) for row in rows] == [("first query", ["wrong"]), ("first query", ["a", "b"])]
    said = capsys.readouterr().out
    for words in ("too short", "too long", "1 rows with a text of an evaluation set", "beyond --max_negatives"):
        assert words in said
    report = json.loads(source.with_name("out.jsonl.report.json").read_text())
    assert report["read"] == 7 and sum(report["left_out"].values()) == 5


@pytest.mark.parametrize(("unique", "count"), [("none", 6), ("pair", 5), ("query", 4)])
def test_unique(source: Path, unique: str, count: int) -> None:
    assert len(run(source, "--unique", unique)) == count


def test_nothing_left_and_wrong_rules(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = [str(source), str(source.with_name("no.jsonl")), "--cache_dir", str(source.parent / "cache")]
    assert main([*argv, "--min_negatives", "9"]) == 1
    assert "no row is left to write" in capsys.readouterr().err and not source.with_name("no.jsonl").exists()
    assert main([*argv, "--min_characters", "5", "--max_characters", "2"]) == 1
    assert "--max_characters 2 is below" in capsys.readouterr().err


@pytest.mark.parametrize("unique", ["pair", "query"])
def test_a_killed_command_goes_on_to_the_same_bytes(source: Path, monkeypatch: pytest.MonkeyPatch, unique: str) -> None:
    monkeypatch.setattr(stores, "SAVED_EVERY", 2)
    rows = [{"query": f"q{k % 7}", "positive": f"p{k % 5}", "negative": [f"n{k}"]} for k in range(60)]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = [str(source), "--cache_dir", str(source.parent / "cache"), "--unique", unique]
    whole, killed = source.with_name("whole"), source.with_name("killed")
    assert main([*words, str(whole)]) == 0
    original = filtering.kept_negatives
    for stop in (5, 3, 4, None):
        left = [stop]

        def counted(*arguments: Any, left: list[int | None] = left) -> Any:
            if left[0] is not None:
                left[0] -= 1
                if left[0] < 0:
                    raise KeyboardInterrupt
            return original(*arguments)

        monkeypatch.setattr(filtering, "kept_negatives", counted)
        status = main([*words, str(killed)])
        assert status in (0, 130)
    assert killed.read_bytes() == whole.read_bytes() and not killed.with_name("killed.making").exists()
    reports = [json.loads(path.with_name(f"{path.name}.report.json").read_text()) for path in (whole, killed)]
    assert {**reports[0], "output": ""} == {**reports[1], "output": ""}
