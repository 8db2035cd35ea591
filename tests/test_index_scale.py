"""The benchmark of a sharded index: its parts are exact where they say so, and the whole runs on some thousand vectors."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import index_scale
from benchmarks.index_scale import Plan, around_topics, blocks, exact, matches_of, merged, recall, scored_by_vectors
from tests.tiny import ROOT
from triplets.mining.search import Matches, best_matches

SMALL = Plan(vectors=700, dim=16, topics=20, queries=9, lists=16, codes=8, shards=3, candidates=60)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_scale, "BLOCK", 64)


def corpus_of(plan: Plan) -> np.ndarray:
    parts = []
    for shard in range(plan.shards):
        parts.extend(vectors for _, vectors in blocks(plan, plan.rows(shard)))
    return np.concatenate(parts)


def test_shards_are_the_corpus_whatever_their_number() -> None:
    corpus = corpus_of(SMALL)
    assert corpus.shape == (700, 16)
    np.testing.assert_allclose(np.linalg.norm(corpus, axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(corpus, corpus_of(Plan(**{**vars(SMALL), "shards": 1})))
    starts = [first for shard in range(3) for first, _ in blocks(SMALL, SMALL.rows(shard))]
    assert starts == list(range(0, 700, 64))
    assert not np.array_equal(corpus[:9], around_topics(SMALL, index_scale.QUERIES, 9))


def test_vectors_stand_around_their_topics() -> None:
    def nearest(spread: float) -> float:
        vectors = around_topics(Plan(**{**vars(SMALL), "spread": spread}), 0, 200)
        return float(np.median(np.sort(vectors @ vectors.T, axis=1)[:, -2]))

    assert nearest(0.1) > 0.97 > 0.9 > nearest(10.0)


def test_the_exact_search_of_all_shards_is_that_of_the_whole(tmp_path: Path) -> None:
    for shard in range(SMALL.shards):
        exact(SMALL, tmp_path, shard)
    found = matches_of(tmp_path, SMALL.shards, "exact")
    expected = best_matches(around_topics(SMALL, index_scale.QUERIES, 9), corpus_of(SMALL), 100)
    np.testing.assert_array_equal(found.places, expected.places)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-6)


def test_recall_counts_what_stands_among_the_first() -> None:
    wanted = np.array([[1, 2, 3], [4, 5, 6]])
    assert recall(np.array([[3, 2, 1], [4, 9, 5]]), wanted, 3) == pytest.approx(5 / 6)
    assert recall(np.array([[3, 2, 1], [4, 9, 5]]), wanted, 1) == 0.5
    assert recall(np.full((2, 3), -1), wanted, 3) == 0


def test_a_missing_match_stands_behind_all_others() -> None:
    vectors, queries = np.eye(4, dtype=np.float16), np.eye(4, dtype=np.float32)[:1]
    scores = scored_by_vectors(queries, vectors, np.array([[1, 0, -1]]))
    assert scores.tolist() == [[0.0, 1.0, -np.inf]]
    best = merged([Matches(scores, np.array([[1, 0, -1]])), Matches(np.float32([[0.5]]), np.array([[7]]))], 3)
    assert best.places.tolist() == [[0, 7, 1]]


def test_an_index_of_all_lists_finds_what_the_exact_search_finds(tmp_path: Path) -> None:
    pytest.importorskip("faiss")
    index_scale.train(SMALL, tmp_path, 0)
    for shard in range(SMALL.shards):
        figures = index_scale.add(SMALL, tmp_path, shard)
        assert figures["index_bytes"] > 0 and figures["vector_bytes"] > 2 * 16 * len(SMALL.rows(shard))
        index_scale.search(SMALL, tmp_path, shard, [1, 16])
        exact(SMALL, tmp_path, shard)
    wanted = matches_of(tmp_path, 3, "exact").places

    def recalled(name: str) -> float:
        return recall(matches_of(tmp_path, 3, name).places, wanted, 10)

    assert recalled("16-vectors") > 0.97  # half precision turns neighbours that are as near
    assert recalled("16-vectors") > recalled("16-codes") > 0.3
    assert recalled("1-vectors") < recalled("16-vectors")


@pytest.mark.slow
def test_the_command_measures_in_processes(tmp_path: Path) -> None:
    pytest.importorskip("faiss")
    words = ["--vectors", "3000", "--dim", "16", "--topics", "20", "--queries", "20", "--lists", "16", "--codes", "8"]
    words += ["--shards", "2", "--probes", "4", "16", "--at_once", "2", "--out", str(tmp_path / "out.json")]
    command = [sys.executable, str(ROOT / "benchmarks" / "index_scale.py"), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    kept = json.loads((tmp_path / "out.json").read_text())
    assert kept["recall"]["16"][3] > 0.9 and kept["phases"]["add"]["peak"] > 0
    assert [line.split(":")[0] for line in done.stdout.splitlines()[1:5]] == ["train", "add", "search", "exact"]
