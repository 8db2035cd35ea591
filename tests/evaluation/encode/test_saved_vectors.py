from __future__ import annotations

import gzip
import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from common.errors import UserError
from evaluation.encode.saved_vectors import EmbeddingFiles


def vectors_of(rows: int, dim: int = 4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)


def test_pieces_become_one_array_beside_ids_and_texts(tmp_path):
    files = EmbeddingFiles(tmp_path / "T", {"revision": "r"})
    first, second, queries = vectors_of(3), vectors_of(2, seed=1), vectors_of(1, seed=2)
    files.add("default", "test", "document", ["a", "b", "c"], ["A", "B", ""], first)
    files.add("default", "test", "query", ["q"], ["Q\nß"], queries)
    files.add("default", "test", "document", ["d", "e"], ["D", "E"], second)
    assert not files.whole() and not list((tmp_path / "T").glob("*.npy"))  # nothing counts before it is whole
    files.finish()
    assert files.whole()
    np.testing.assert_array_equal(np.load(tmp_path / "T/default.test.document.npy"), np.concatenate([first, second]))
    mapped = np.load(tmp_path / "T/default.test.document.npy", mmap_mode="r")
    assert mapped.dtype == np.float32 and mapped.shape == (5, 4)
    with gzip.open(tmp_path / "T/default.test.document.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    assert rows == [{"id": i, "text": t} for i, t in zip("abcde", ["A", "B", "", "D", "E"], strict=True)]
    with gzip.open(tmp_path / "T/default.test.query.jsonl.gz", "rt", encoding="utf-8") as lines:
        assert json.loads(next(lines)) == {"id": "q", "text": "Q\nß"}


def test_two_lists_of_texts_are_two_files_and_rows_are_the_ids(tmp_path):
    files = EmbeddingFiles(tmp_path, {})
    for seed in range(2):
        files.add("en", "test", "text", None, ["x", "y"], vectors_of(2, seed=seed))
    files.finish()
    assert sorted(path.name for path in tmp_path.glob("*.npy")) == ["en.test.text.npy", "en.test.text2.npy"]
    np.testing.assert_array_equal(np.load(tmp_path / "en.test.text2.npy"), vectors_of(2, seed=1))
    with gzip.open(tmp_path / "en.test.text2.jsonl.gz", "rt") as lines:
        assert [json.loads(line)["id"] for line in lines] == ["0", "1"]


def test_what_is_of_another_model_or_cut_short_does_not_count(tmp_path):
    files = EmbeddingFiles(tmp_path, {"revision": "r"})
    files.add("default", "test", "query", None, ["x"], vectors_of(1))
    files.add("default", "test", "document", None, ["x"], vectors_of(1))
    files.finish()
    assert EmbeddingFiles(tmp_path, {"revision": "r"}).whole()
    other = EmbeddingFiles(tmp_path, {"revision": "s"})
    assert not other.whole()
    other.add("default", "test", "query", None, ["x"], vectors_of(1))
    assert not list(tmp_path.glob("*.npy"))  # the others' vectors are gone
    other.abandon()
    assert not list(tmp_path.iterdir())
    files = EmbeddingFiles(tmp_path, {"revision": "r"})
    files.add("default", "test", "query", None, ["x"], vectors_of(1))
    files.finish()
    (tmp_path / "default.test.query.jsonl.gz").unlink()
    assert not files.whole()


def test_no_file_of_somebody_else_is_removed(tmp_path):
    others = ["test.jsonl.gz", "mine.npy", "notes.part"]
    for name in others:
        (tmp_path / name).write_bytes(b"x")
    for revision in "rs":
        files = EmbeddingFiles(tmp_path, {"revision": revision})
        files.add("default", "test", "query", None, ["x"], vectors_of(1))
        files.finish()
    files = EmbeddingFiles(tmp_path, {"revision": "t"})
    files.add("default", "test", "query", None, ["x"], vectors_of(1))
    files.abandon()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(others)


@pytest.mark.parametrize("content", ["[]", "{}", "no JSON", '{"sides": []}'])
def test_an_index_of_something_else_is_kept(content, tmp_path):
    (tmp_path / "index.json").write_text(content)
    with pytest.raises(UserError, match="something else than saved vectors"):
        EmbeddingFiles(tmp_path, {}).add("default", "test", "query", None, ["x"], vectors_of(1))
    assert (tmp_path / "index.json").read_text() == content


def test_a_file_that_was_cut_is_not_whole(tmp_path):
    files = EmbeddingFiles(tmp_path, {})
    files.add("default", "test", "query", None, ["x", "y"], vectors_of(2))
    files.finish()
    assert files.whole()
    with (tmp_path / "default.test.query.npy").open("r+b") as file:
        file.truncate(140)
    assert not files.whole()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_nothing_is_left_on_a_full_disk(tmp_path):
    files = EmbeddingFiles(tmp_path, {})
    files.add("default", "test", "query", None, ["x"], vectors_of(1))
    (part,) = files._parts.values()
    part._vectors = Path("/dev/full").open("wb")  # noqa: SIM115
    with pytest.raises(OSError, match="No space left"):
        files.add("default", "test", "query", None, ["x"] * 9000, vectors_of(9000))
    part._vectors.write(b"a byte that is still to be written when the file is closed")
    files.abandon()
    assert not list(tmp_path.iterdir())


def test_memory_of_many_rows(tmp_path):
    files = EmbeddingFiles(tmp_path, {})
    block = vectors_of(1000, 32)
    tracemalloc.start()
    for _ in range(60):
        files.add("default", "test", "document", None, [""] * 1000, block)
    files.finish()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    loaded = np.load(tmp_path / "default.test.document.npy", mmap_mode="r")
    assert loaded.shape == (60_000, 32) and (loaded[-1000:] == block).all()
    assert peak < 1_500_000  # bytes; the whole is 7.7 MB
