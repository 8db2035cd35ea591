"""The search of a corpus: its memory does not grow with queries × documents, and its chunks change nothing."""

from __future__ import annotations

import pytest

from evaluation.encode import search
from evaluation.encode.mteb_encoder import MtebEncoder
from evaluation.encode.search import SCORES, chunk_size
from evaluation.encode.vector_store import SHARD_TEXTS
from evaluation.evaluate import evaluate
from evaluation.results.item_scores import read_items
from evaluation.tasks.find import find_tasks
from tests.evaluation.conftest import BagOfWords, write


def test_chunks_are_whole_shards_that_bound_the_scores():
    for queries in (0, 1, 323, 10_000, 50_000, SCORES // SHARD_TEXTS):
        assert chunk_size(queries) % SHARD_TEXTS == 0 and queries * chunk_size(queries) <= SCORES
    assert chunk_size(1000) == 12 * SHARD_TEXTS and chunk_size(10**9) == SHARD_TEXTS


@pytest.fixture
def with_ties(tmp_path):
    """A task with more documents of equal score than a search keeps in places that count."""
    words = ["rook", "bishop", "pawn", "castle"]
    write(
        tmp_path / "data/Ties/corpus.jsonl",
        [{"id": f"d{n:03}", "title": "", "text": f"{words[n % 4]} {words[n % 3]}"} for n in range(200)],
    )
    write(tmp_path / "data/Ties/queries.jsonl", [{"id": f"q{n}", "text": f"{words[n % 4]} {words[n % 2]}"} for n in range(20)])
    qrels = [{"query-id": f"q{n}", "corpus-id": f"d{7 * n + 3 * k:03}", "score": 1} for n in range(20) for k in range(5)]
    write(tmp_path / "data/Ties/qrels.test.jsonl", qrels)
    return tmp_path / "data"


def test_chunks_change_no_score(with_ties, tmp_path, monkeypatch):
    sizes: list[tuple[int, ...]] = []
    similarity = MtebEncoder.similarity

    def spy(self, queries, documents):
        scores = similarity(self, queries, documents)
        sizes.append(tuple(scores.shape))
        assert scores.dtype.is_floating_point and scores.element_size() == 4
        return scores

    monkeypatch.setattr(MtebEncoder, "similarity", spy)
    found = []
    for size in (200, 64, 7):
        sizes.clear()
        monkeypatch.setattr(search, "chunk_size", lambda queries, size=size: size)
        out = tmp_path / str(size)
        result = evaluate(BagOfWords(), find_tasks((), with_ties), out, name="bow", version="1", save_predictions=True)
        assert not result.failures
        assert max(documents for _, documents in sizes) <= size and sum(documents for _, documents in sizes) == 200
        found.append((result.score("Ties"), read_items(result.scores[0].items)))
    assert found[0] == found[1] == found[2] and 0 < found[0][0] < 1


def test_the_number_of_queries_decides(with_ties, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(search, "chunk_size", lambda queries: asked.append(queries) or 50)
    evaluate(BagOfWords(), find_tasks((), with_ties), tmp_path / "out", name="bow", version="1")
    assert asked == [20]
