"""Smaller copies of task folders: which rows they keep, and that they stay tasks."""

from __future__ import annotations

from pathlib import Path

import pytest

from evaluation.tasks.find import find_tasks
from evaluation.tasks.local_files import iter_rows
from evaluation.tasks.smaller import drawn, main
from tests.study.tiny_study import write_lines


def retrieval_folder(folder: Path) -> None:
    """Write forty documents and ten queries; the query n is answered by the document n, and not by the next one."""
    write_lines(folder / "corpus.jsonl.gz", [{"id": f"d{n}", "text": f"document {n}"} for n in range(40)])
    write_lines(folder / "queries.jsonl.gz", [{"id": f"q{n}", "text": f"query {n}"} for n in range(12)])
    judgements = []
    for n in range(10):
        judgements.append({"query-id": f"q{n}", "corpus-id": f"d{n}", "score": 1})
        judgements.append({"query-id": f"q{n}", "corpus-id": f"d{n + 1}", "score": 0})
    write_lines(folder / "qrels.test.jsonl.gz", judgements)


def test_a_smaller_retrieval_task_keeps_the_answers(tmp_path: Path) -> None:
    tasks, out = tmp_path / "tasks", tmp_path / "out"
    retrieval_folder(tasks / "Asked")
    assert main([str(tasks), str(out), "--rows", "9", "--queries", "4"]) == 0
    queries = {row["id"] for row in iter_rows(out / "Asked" / "queries.jsonl.gz")}
    documents = {row["id"] for row in iter_rows(out / "Asked" / "corpus.jsonl.gz")}
    judgements = list(iter_rows(out / "Asked" / "qrels.test.jsonl.gz"))
    assert len(queries) == 4 and len(documents) == 9 and queries <= {f"q{n}" for n in range(10)}
    assert {row["query-id"] for row in judgements} == queries
    answers = {row["corpus-id"] for row in judgements if row["score"]}
    assert len(answers) == 4 and answers <= documents
    assert {row["corpus-id"] for row in judgements} <= documents
    assert [spec.type for spec in find_tasks([], out)] == ["Retrieval"]


def test_all_answers_are_kept_where_they_are_more_than_the_rows(tmp_path: Path) -> None:
    retrieval_folder(tmp_path / "tasks" / "Asked")
    assert main([str(tmp_path / "tasks"), str(tmp_path / "out"), "--rows", "3", "--queries", "8"]) == 0
    assert len(list(iter_rows(tmp_path / "out" / "Asked" / "corpus.jsonl.gz"))) == 8


def test_training_rows_and_settings_are_kept(tmp_path: Path) -> None:
    folder = tmp_path / "tasks" / "Labelled"
    rows = [{"text": f"text {n}", "label": "ab"[n % 2]} for n in range(20)]
    write_lines(folder / "train.jsonl.gz", rows)
    write_lines(folder / "test.jsonl.gz", rows)
    (folder / "task.json").write_text('{"type": "classification"}')
    assert main([str(tmp_path / "tasks"), str(tmp_path / "out"), "--rows", "5"]) == 0
    copy = tmp_path / "out" / "Labelled"
    assert list(iter_rows(copy / "train.jsonl.gz")) == rows
    assert len(list(iter_rows(copy / "test.jsonl.gz"))) == 5
    assert (copy / "task.json").read_text() == '{"type": "classification"}'


def test_examples_of_each_label(tmp_path: Path) -> None:
    folder = tmp_path / "tasks" / "Labelled"
    rows = [{"text": f"text {n}", "label": "aab"[n % 3]} for n in range(30)]
    write_lines(folder / "train.jsonl.gz", rows)
    write_lines(folder / "test.jsonl.gz", rows)
    assert main([str(tmp_path / "tasks"), str(tmp_path / "out"), "--examples", "4"]) == 0
    kept = list(iter_rows(tmp_path / "out" / "Labelled" / "train.jsonl.gz"))
    assert sorted(row["label"] for row in kept) == list("aaaabbbb")
    assert kept == [row for row in rows if row in kept] != rows[:8]
    assert len(list(iter_rows(tmp_path / "out" / "Labelled" / "test.jsonl.gz"))) == 30


def test_rows_are_drawn_by_their_content() -> None:
    rows = [{"text": f"text {n}"} for n in range(50)]
    chosen = drawn(rows, 10)
    assert chosen == [row for row in rows if row in chosen]
    backwards = drawn(reversed(rows), 10)
    assert sorted(backwards, key=str) == sorted(chosen, key=str)
    assert chosen != rows[:10]


@pytest.mark.parametrize(
    ("words", "message"),
    [(["--rows", "0"], "must be at least 1"), (["--examples", "0"], "must be at least 1"), ([], "has no task folders")],
)
def test_what_cannot_be_copied(tmp_path: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tasks").mkdir()
    assert main([str(tmp_path / "tasks"), str(tmp_path / "out"), *words]) == 1
    assert message in capsys.readouterr().err


def test_nothing_is_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    retrieval_folder(tmp_path / "tasks" / "Asked")
    words = [str(tmp_path / "tasks"), str(tmp_path / "out")]
    assert (main(words), main(words)) == (0, 1)
    assert "is not empty" in capsys.readouterr().err
