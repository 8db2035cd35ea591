"""Corpora of any size and order: sorted by id on disk, gone afterwards, and no order of a file shows in a score."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import mteb
import numpy as np
import pytest
from datasets import Dataset

from common.errors import UserError
from evaluation.evaluate import evaluate
from evaluation.tasks import corpus as corpora
from evaluation.tasks.corpus import make_corpus
from evaluation.tasks.find import find_tasks
from evaluation.tasks.id_order import is_sorted, order_by_id, sorted_by_id
from evaluation.tasks.local_files import iter_rows
from evaluation.tasks.mteb_tasks import official_task
from tests.evaluation.conftest import BagOfWords, write

WHERE = Path("corpus.jsonl")


def documents(count: int, seed: int = 0) -> list[dict]:
    order = np.random.default_rng(seed).permutation(count)
    return [{"_id": 0, "id": int(n), "title": f"t{n}" if n % 3 else None, "text": f"text {n}" * (n % 5)} for n in order]


def test_many_pieces_are_whole_and_sorted(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(corpora, "PIECE_ROWS", 7)
    rows = documents(100)
    corpus, missing = make_corpus(iter(rows), WHERE, {"3", "99"})
    assert not missing
    assert not list(tmp_path.iterdir())  # deleted, and still mapped
    assert corpus.data.column("id").num_chunks > 10
    expected = sorted(rows, key=lambda row: str(row["id"]))
    assert corpus["id"][:] == [str(row["id"]) for row in expected]
    assert corpus["title"][:] == [row["title"] or "" for row in expected]
    assert corpus["text"][:] == [row["text"] for row in expected]  # some are empty
    assert corpus.cache_files == []  # or mteb's map of it would write a second copy
    again, _ = make_corpus(iter(expected), WHERE)
    assert again[:] == corpus[:]


def test_long_documents_make_small_pieces(monkeypatch):
    monkeypatch.setattr(corpora, "PIECE_CHARACTERS", 1000)
    corpus, _ = make_corpus(({"id": str(100 - n), "text": "x" * 400} for n in range(20)), WHERE)
    assert {len(chunk) for chunk in corpus.data.column("id").chunks} <= {1, 2, 3}
    assert len(corpus) == 20 and is_sorted(corpus.data.column("id"))


@pytest.mark.parametrize("pieces", [2, 50])
@pytest.mark.parametrize("twice", [0, 9, 19])
def test_repeated_ids(monkeypatch, twice, pieces):
    monkeypatch.setattr(corpora, "PIECE_ROWS", pieces)
    rows = [{"id": f"{n:02}", "text": "a"} for n in (*range(20), twice)]
    with pytest.raises(UserError, match=f"id '{twice:02}' is not unique"):
        make_corpus(iter(rows), WHERE)


def test_missing_documents():
    with pytest.raises(UserError, match="has no document"):
        make_corpus(iter([]), WHERE)
    _, missing = make_corpus(iter(documents(5)), WHERE, {"1", "8", "7"})
    assert missing == {"7", "8"}


def test_mtebs_rows_in_the_order_of_ids():
    rows = Dataset.from_dict({"id": ["b", "a", "c"], "text": ["B", "A", "C"]})
    task = official_task("AskUbuntuDupQuestions")
    split = {"corpus": rows, "queries": rows.select([2, 0]), "relevant_docs": {}, "top_ranked": {"b": ["c", "a"]}}
    task.dataset, task.data_loaded = {"default": {"test": split}}, True
    order_by_id(task)
    split = task.dataset["default"]["test"]
    assert split["corpus"]["text"][:] == ["A", "B", "C"] and split["queries"]["text"][:] == ["B", "C"]
    assert split["top_ranked"] == {"b": ["a", "c"]}
    assert sorted_by_id(split["corpus"])["id"][:] == ["a", "b", "c"]
    in_order = Dataset.from_dict({"id": ["a", "b"]})
    assert sorted_by_id(in_order) is in_order


class Constant:
    """Every pair has the same score: the order of documents alone decides what is found."""

    def encode(self, texts, role="document", **_):
        return np.full((len(texts), 4), 0.5, dtype=np.float32)


class Coarse(BagOfWords):
    """Many ties."""

    def __init__(self) -> None:
        super().__init__(dim=3)


@pytest.mark.parametrize("encoder", [Constant, Coarse])
def test_order_of_files_changes_no_metric(tmp_path, data_dir, encoder):
    folder = data_dir / "TinyRetrieval"
    rows = list(iter_rows(folder / "corpus.jsonl.gz"))
    more = [{"id": f"x{n}", "text": "flour galaxy"} for n in range(1500)]  # beyond the 1000 that are kept
    write(folder / "corpus.jsonl.gz", rows + more)

    def scores(name: str) -> list[dict]:
        specs = find_tasks(["TinyRetrieval", "TinyReranking"], data_dir)
        result = evaluate(encoder(), specs, tmp_path / name, name="stub", version="1")
        assert not result.failures
        read = mteb.ResultCache(tmp_path / name)
        return [read.load_task_result(spec.name, "ours/stub", result.revision).scores for spec in specs]

    before = scores("before")
    rng = np.random.default_rng(1)
    for path in (folder / "corpus.jsonl.gz", folder / "queries.jsonl", folder / "qrels.test.jsonl"):
        rows = list(iter_rows(path))
        write(path, [rows[n] for n in rng.permutation(len(rows))])
    path = data_dir / "TinyReranking/test.jsonl"
    rows = [{**row, "id": f"q{n}"} for n, row in enumerate(iter_rows(path))]
    write(path, rows)
    reranked = scores("with ids")[1]
    write(path, [{**rows[n], "negative": rows[n]["negative"][::-1]} for n in rng.permutation(len(rows))])
    after = scores("after")
    assert json.dumps(after[0]) == json.dumps(before[0])  # as text: some of mteb's scores are nan here
    assert json.dumps(after[1]) == json.dumps(reranked)
