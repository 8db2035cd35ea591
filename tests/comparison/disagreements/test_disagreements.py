"""The items on which two systems differ most: chosen by hand-made scores, with texts only where these are surely theirs."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from comparison.__main__ import main
from comparison.disagreements.items import ItemApart, furthest, item_scores
from comparison.disagreements.texts import read_texts
from comparison.reading.item_scores import Items
from tests.comparison.conftest import Write, write_items


def items_of(kind: str, values: list[list[float]], gold: list[float] | None = None) -> Items:
    count = len(values)
    return Items(
        kind=kind,
        ids=tuple(("default", str(number)) for number in range(count)),
        subsets=np.zeros(count, dtype=int),
        values=np.array(values),
        gold=np.array(gold or []),
        groups=np.arange(count),
        grouped=True,
        ratio=None,
        metric="",
    )


def test_an_items_score_is_between_0_and_1() -> None:
    queries = [items_of("queries", [[0.2], [1.0]]), items_of("queries", [[0.4], [0.0]])]
    np.testing.assert_allclose(item_scores(queries), [0.3, 0.5])
    np.testing.assert_allclose(item_scores([items_of("accuracy", [[1, 0], [1, 1]])]), [0.5, 1.0])
    graded = items_of("correlation", [[0.1], [0.9], [0.5], [0.4]], [0.0, 1.0, 2.0, 3.0])
    np.testing.assert_allclose(item_scores([graded]), [1.0, 0.5, 1.0, 0.5])  # places 1 4 3 2 of 1 2 3 4
    labels = items_of("precision", [[0.9], [0.3], [0.5], [0.3]], [1.0, 1.0, 0.0, 0.0])
    np.testing.assert_allclose(item_scores([labels]), [1.0, 0.25, 0.5, 0.75])  # a tie counts half
    assert item_scores([items_of("draws", [[0.5]])]) is None


def test_the_furthest_of_each_task_come_first() -> None:
    def apart(task: str, item: str, size: float) -> ItemApart:
        return ItemApart(task, "test", "default", item, 9, "queries", max(size, 0.0), max(-size, 0.0))

    made = [apart("A", "1", 1.0), apart("A", "2", 0.9), apart("A", "3", 0.8), apart("B", "4", 0.2), apart("B", "5", -0.1)]
    assert [item.item for item in furthest(made)] == ["1", "4", "2", "5"]


@pytest.fixture
def results(write: Write, tmp_path: Path) -> Path:
    """Two models with items of queries, pairs and texts, and a folder of tasks with their texts."""
    root = write({"o/a": {"NFCorpus": 0.5}, "o/b": {"NFCorpus": 0.375}})
    for model, values in (("a", [1.0, 0.0, 0.5, 0.5]), ("b", [0.0, 0.5, 0.5, 0.5])):
        rows = [{"id": f"q{number}", "ndcg_at_10": value} for number, value in enumerate(values)]
        write_items(root / f"o__{model}" / "rev", "NFCorpus", rows)
    folder = tmp_path / "tasks" / "NFCorpus"
    folder.mkdir(parents=True)
    lines = {
        "queries.jsonl": [{"_id": "q0", "text": "<b>why</b>"}, {"_id": "q1", "text": "how"}],
        "corpus.jsonl": [{"_id": "d1", "title": "Because", "text": "of that"}, {"_id": "d2", "text": "thus"}],
        "qrels.test.jsonl": [
            {"query-id": "q0", "corpus-id": "d2", "score": 1},
            {"query-id": "q0", "corpus-id": "d1", "score": 2},
            {"query-id": "q1", "corpus-id": "d9", "score": 1},
        ],
    }
    for name, rows in lines.items():
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


def test_the_report_has_the_texts_of_queries_and_of_relevant_documents(results: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main([str(results), "--output_dir", str(out), "--texts", str(tmp_path / "tasks")]) == 0
    with (out / "items.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["a"], row["item"], row["score_a"], row["score_b"], row["texts"]) for row in rows] == [
        ("b", "q1", "0.5", "0.0", "how"),
        ("b", "q0", "0.0", "1.0", "<b>why</b> | Because of that"),
    ]
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;why&lt;/b&gt; | Because of that" in page and "<b>why</b>" not in page
    assert f"--texts {tmp_path / 'tasks'}" in page


def test_without_texts_items_stand_with_their_ids(results: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main([str(results), "--output_dir", str(out)]) == 0
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Of 2 of 2 items no text is at hand" in page and "(text not at hand)" in page


def test_a_folder_that_is_not_there_is_named(results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(results), "--output_dir", str(tmp_path / "out"), "--texts", str(tmp_path / "no")]) == 1
    assert "--texts: there is no directory" in capsys.readouterr().err


PAIRS = [{"sentence1": f"a{number}", "sentence2": f"b{number}", "score": number / 2} for number in range(3)]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (PAIRS, {("STS12", "default", "1"): ["a1", "b1"]}),
        (PAIRS[:2], {}),  # another number of rows
        ([PAIRS[1], PAIRS[0], PAIRS[2]], {}),  # another gold: not the same row
        ([{"text": "of another kind"}] * 3, {}),
    ],
)
def test_a_row_is_an_items_only_if_number_and_gold_agree(rows: list[object], expected: object, tmp_path: Path) -> None:
    folder = tmp_path / "STS12"
    folder.mkdir()
    (folder / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    item = ItemApart("STS12", "test", "default", "1", 3, "correlation", 1.0, 0.0, 0.5)
    notes: list[str] = []
    assert read_texts([item], [tmp_path], notes) == expected
    assert bool(expected) is not any("other texts of these tasks" in note and "STS12" in note for note in notes)


def test_a_damaged_file_is_noted(tmp_path: Path) -> None:
    (tmp_path / "STS12").mkdir()
    (tmp_path / "STS12" / "test.jsonl").write_text("{no json\n")
    notes: list[str] = []
    item = ItemApart("STS12", "test", "default", "1", 3, "correlation", 1.0, 0.0, 0.5)
    assert read_texts([item], [tmp_path], notes) == {}
    assert "STS12" in notes[0]
    assert read_texts([ItemApart("../STS12", "test", "default", "1", 3, "queries", 1.0, 0.0)], [tmp_path], notes) == {}


def test_a_task_without_a_folder_is_noted(tmp_path: Path) -> None:
    notes: list[str] = []
    item = ItemApart("STS12", "test", "default", "1", 3, "correlation", 1.0, 0.0, 0.5)
    assert read_texts([item], [], notes) == {} and not notes, "nobody gave a folder"
    assert read_texts([item], [tmp_path], notes) == {} and "no folder of these tasks" in notes[0]
