"""Published retrieval data: judged documents and queries that are not there, ids as numbers, odd tables of judgements."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from common.errors import UserError
from evaluation.tasks.local_folder import list_folder, name_fault
from evaluation.tasks.local_retrieval import RetrievalSplit, retrieval

DOCUMENTS = [{"_id": "d1", "text": "one"}, {"_id": "d2", "text": "two"}]
QUERIES = [{"_id": "q1", "text": "first"}, {"_id": "q2", "text": "second"}]
HEAD = "query-id\tcorpus-id\tscore\n"


def read(
    folder: Path,
    judgements: str,
    documents: Sequence[Mapping[str, object]] = DOCUMENTS,
    queries: Sequence[Mapping[str, object]] = QUERIES,
) -> RetrievalSplit:
    """Write a task folder in BEIR's layout and read it."""
    (folder / "qrels").mkdir(exist_ok=True)
    for name, rows in (("corpus", documents), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "qrels" / "test.tsv").write_text(judgements)
    return retrieval(list_folder(folder), "test")


def test_a_judged_document_may_be_missing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        split = read(tmp_path, HEAD + "q1\td1\t1\nq1\tgone\t1\nq2\tgone\t1\n")
    assert split["relevant_docs"]["q1"] == {"d1": 1, "gone": 1}  # never found, and counted
    assert split["corpus"]["id"][:] == ["d1", "d2"]
    assert "2 judgements name 1 documents" in caplog.text and "gone" in caplog.text


def test_a_judged_query_may_be_missing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        split = read(tmp_path, HEAD + "q1\td1\t1\ngone\td1\t1\n")
    assert list(split["relevant_docs"]) == ["q1"] == split["queries"]["id"][:]
    assert "1 of 2 judged queries" in caplog.text


def test_judgements_of_other_data_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="none of its 1 queries"):
        read(tmp_path, HEAD + "x\td1\t1\n")
    with pytest.raises(UserError, match="none of the 1 documents"):
        read(tmp_path, HEAD + "q1\tx\t1\n")
    with pytest.raises(UserError, match="no query of"):
        read(tmp_path, HEAD + "q1\td1\t0\ngone\td1\t1\n")


@pytest.mark.parametrize("kind", [int, float, str])
def test_seven_point_zero_is_seven(tmp_path: Path, kind: type) -> None:
    documents = [{"_id": kind(7), "text": "one"}, {"_id": kind(8), "text": "two"}]
    queries = [{"_id": kind(1), "text": "first"}]
    for cells in ("1\t7\t1", "1.0\t7.0\t1.0"):
        split = read(tmp_path, f"{HEAD}{cells}\n", documents, queries)
        assert split["relevant_docs"] == {"1": {"7": 1}}
        assert split["corpus"]["id"][:] == ["7", "8"] and split["queries"]["id"][:] == ["1"]


def test_texts_as_ids_stay(tmp_path: Path) -> None:
    documents = [{"_id": "7.0", "text": "one"}, {"_id": "7", "text": "two"}, {"_id": "v1.0", "text": "three"}]
    split = read(tmp_path, HEAD + "q1\t7.0\t1\nq1\t7\t2\nq1\tv1.0\t1\n", documents)
    assert split["relevant_docs"] == {"q1": {"7.0": 1, "7": 2, "v1.0": 1}}


FAULTS = {
    "a score that is none": (HEAD + "q1\td1\t1\n\nq1\td2\thigh\n", 4),
    "a score beyond floats": (HEAD + "q1\td1\t1\nq1\td2\t1e400\n", 3),
    "half a grade": (HEAD + "q1\td1\t1\nq1\td2\t0.5\n", 3),
    "a line that ends early": (HEAD + "   \nq1\td1\t1\nq1\td2\n", 4),
    "an empty id": (HEAD + "\td1\t1\n", 2),
    "too many cells": (HEAD + "q1\td1\t1\t9\n", 2),
    "judged twice": (HEAD + "q1\td1\t1\nq1\td1\t2\n", 3),
    "no head": ("\nq1\td1\t1\n", 2),
    "Windows ends of lines": (HEAD.replace("\n", "\r\n") + "q1\td1\t1\r\nq1\td2\tx\r\n", 3),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_faults_of_judgements_name_the_line(tmp_path: Path, kind: str) -> None:
    judgements, line = FAULTS[kind]
    with pytest.raises(UserError, match=rf"test\.tsv:{line}: "):
        read(tmp_path, judgements)


def test_lines_of_spaces_are_passed_over(tmp_path: Path) -> None:
    split = read(tmp_path, "\n" + HEAD + "  \n\t\t\nq1\td1\t1\n \n")
    assert split["relevant_docs"] == {"q1": {"d1": 1}}


def test_copies_of_ids_name_the_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"queries\.jsonl:3: .*'q1' is not unique"):
        read(tmp_path, HEAD + "q1\td1\t1\n", queries=[*QUERIES, QUERIES[0]])


def test_keys_with_escapes_are_escaped(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no text") as error:
        read(tmp_path, HEAD + "q1\td1\t1\n", queries=[{"_id": "q1", "te\x1b[2Jxt": "first"}])
    assert "\x1b" not in str(error.value)
    assert name_fault("task\x9b31m")
