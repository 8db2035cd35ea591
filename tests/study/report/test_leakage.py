"""Test texts that stand in training data are found, whatever their capitals, punctuation and tokenisation."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from common.text_hash import letter_hashes, letters
from evaluation.tasks.local_folder import list_folder
from study.report.leakage import TaskTexts, evaluation_texts, leaks, shared_parts
from study.report.shared_sequences import SequenceIndex, same_source
from tests.study.tiny_study import write_lines
from tests.tiny import DATA
from triplets.check.text_index import TextIndex


def test_equal_texts() -> None:
    assert letters("  It's A “TEST”, No. 7!") == letters("it ' s a test no . 7")
    assert letters("test 7") != letters("test 8")
    assert letters("...") == ""


def test_texts_and_pairs() -> None:
    index = TextIndex.of_rows([["A b.", "c d"], ["E f", "g h", "i j"], ["same", "Same!"], ["..."]], letter_hashes)
    texts = ["a b", "E  F", "new", "!", "same"]
    pairs = [("c d", "a B"), ("a b", "e f"), ("i j", "g h"), ("a b", "a b"), ("same", "same"), ("!", "?")]
    by_unit = {leak["unit"]: leak for leak in leaks("train", index, TaskTexts("Task", texts, pairs))}
    assert (by_unit["texts"]["count"], by_unit["texts"]["total"]) == (3, 5)
    assert (by_unit["pairs"]["count"], by_unit["pairs"]["total"]) == (3, 6)  # the other order too; not over two rows
    assert by_unit["pairs"]["examples"] == ["c d / a B", "i j / g h", "same / same"]
    assert leaks("train", index, TaskTexts("Task", ["quite new"], [("new", "newer")])) == []


def test_a_text_in_large_part_is_told_and_a_short_one_is_not() -> None:
    words = [f"w{number}" for number in range(40)]
    texts = [
        " ".join(words),  # 14 of its 28 sequences stand in the first training text
        " ".join(words[:12]),  # too short to have one
        " ".join(words[::-1]),  # the same words, another order
        " ".join(words[20:39]).upper() + "!",
    ]
    rows = [["q", " ".join(words[:26])], [" ".join(words[18:])]]
    shares = SequenceIndex(texts).largest_shares(rows)
    assert shares.tolist() == [0.5, 0.0, 0.0, 1.0]
    index = TextIndex.of_rows(rows, letter_hashes)
    (entry,) = shared_parts("train", index, TaskTexts("Task", texts, []), shares)
    assert (entry["unit"], entry["count"], entry["total"]) == ("parts", 2, 4)
    whole = TextIndex.of_rows([[texts[3]]], letter_hashes)  # a copy is counted as a copy, not as a part
    assert shared_parts("train", whole, TaskTexts("Task", texts[3:], []), np.ones(1)) == []


def test_a_source_is_told_by_names() -> None:
    assert same_source("scifact_train", "SciFact") and same_source("data/MedQuAD.jsonl", "MedQuADRetrieval")
    assert not same_source("snli_devtest", "STSBenchmark") and not same_source("train", "TrainTask")
    index = TextIndex.of_rows([["a"]], letter_hashes)
    (entry,) = shared_parts("medquad", index, TaskTexts("MedQuADRetrieval", ["b"], []), np.zeros(1))
    assert (entry["unit"], entry["count"]) == ("source", 1)


def test_pairs_of_every_type(tmp_path: Path) -> None:
    task = tmp_path / "Retrieval"
    write_lines(task / "corpus.jsonl.gz", [{"id": "d1", "title": "t", "text": "one"}, {"id": "d2", "text": "two"}])
    write_lines(task / "queries.jsonl.gz", [{"id": "q1", "text": "which"}])
    gold = [{"query-id": "q1", "corpus-id": "d2", "score": 1}, {"query-id": "q1", "corpus-id": "d1", "score": 0}]
    write_lines(task / "qrels.test.jsonl.gz", gold)
    assert evaluation_texts(list_folder(task), "Retrieval") == TaskTexts(
        "Retrieval", ["which", "one", "two"], [("which", "two")]
    )
    write_lines(tmp_path / "R" / "test.jsonl", [{"query": "q", "positive": ["p", "o"], "negative": ["n"]}])
    assert evaluation_texts(list_folder(tmp_path / "R"), "R") == TaskTexts("R", ["q", "p", "o", "n"], [("q", "p"), ("q", "o")])
    write_lines(tmp_path / "C" / "train.jsonl", [{"text": "of training", "label": "a"}])
    write_lines(tmp_path / "C" / "test.jsonl", [{"text": "x", "label": "a"}, {"text": "x", "label": "b"}])
    assert evaluation_texts(list_folder(tmp_path / "C"), "C") == TaskTexts("C", ["x"], [])


def test_sts_b_holds_test_pairs_of_sts12_to_sts15() -> None:
    """4,713 are known with STS16, which is not among these data; its 150 are the difference."""
    if not DATA.is_dir():
        pytest.skip("the evaluation data are not here")
    with gzip.open(DATA / "eval" / "STSBenchmark" / "train.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    index = TextIndex.of_rows(([row["sentence1"], row["sentence2"]] for row in rows), letter_hashes)
    counts = {}
    for task in ("STS12", "STS13", "STS14", "STS15"):  # the files that are evaluated are tokenised, the training set is not
        entries = leaks("stsb", index, evaluation_texts(list_folder(DATA / "eval" / task), task))
        (pairs,) = (entry for entry in entries if entry["unit"] == "pairs")
        counts[task] = (pairs["count"], pairs["total"])
    assert counts == {"STS12": (1003, 3108), "STS13": (597, 1500), "STS14": (1861, 3750), "STS15": (1102, 3000)}
