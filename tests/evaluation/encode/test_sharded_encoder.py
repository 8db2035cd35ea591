"""The store of vectors: whole shards or none, damage is noticed, a disk that is full costs no vector and no score."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from evaluation.encode import vector_store
from evaluation.encode.sharded_encoder import ShardedEncoder, encode_here
from evaluation.encode.unfinished import UnfinishedShards
from evaluation.encode.vector_store import Shard, ShardStore, key_of, space_of
from evaluation.evaluate import evaluate
from evaluation.results.score_table import table
from evaluation.tasks.find import find_tasks
from model_loaders.layouts.manifest import library_versions
from tests.evaluation.conftest import BagOfWords
from tests.tiny import WORDS, new_model

TEXTS = [" ".join(WORDS[(7 * n + 3 * k) % len(WORDS)] for k in range(2 + n % 5)) for n in range(23)]


def made(texts: int = 5, dim: int = 8, seed: int = 0) -> Shard:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 99, texts).astype(np.int32)
    return Shard(rng.standard_normal((texts, dim)).astype(np.float32), lengths, lengths > 50)


def same(a: Shard, b: Shard) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("vectors", "tokens", "cut"))


class Encoder(BagOfWords):
    """Counts the texts that it encodes, and is told to die after some."""

    def __init__(self, dim: int = 16, *, dies_after: int | None = None) -> None:
        super().__init__(dim)
        self.seen: list[str] = []
        self.dies_after = dies_after

    def encode(self, texts, role="document", **options):
        if self.dies_after is not None and len(self.seen) >= self.dies_after:
            raise KeyboardInterrupt
        self.seen += texts
        return super().encode(texts, role, **options)


def sharded(encoder, folder: Path | None = None, *, size: int = 5, unfinished: Path | None = None, **facts) -> ShardedEncoder:
    made = ShardedEncoder(encoder, facts, encode_here(encoder), shard_texts=size)
    made.store = ShardStore(folder) if folder else None
    made.unfinished = UnfinishedShards(unfinished) if unfinished else None
    return made


# --- the store ---


def test_a_shard_comes_back_as_it_was_saved(tmp_path):
    store = ShardStore(tmp_path)
    assert store.load("space", "key", 5) is None
    assert store.save("space", "key", made())
    back = store.load("space", "key", 5)
    assert same(back, made()) and back.vectors.dtype == np.float32 and back.tokens.dtype == np.int32
    bare = Shard(made().vectors)
    store.save("space", "bare", bare)
    assert store.load("space", "bare", 5).tokens is None
    assert [path.suffix for path in (tmp_path / "space").iterdir()] == [".npz", ".npz"]  # nothing half written


def test_every_damaged_byte_is_noticed_or_harmless(tmp_path, caplog):
    store = ShardStore(tmp_path)
    store.save("s", "k", made())
    path = store.path("s", "k")
    whole = path.read_bytes()
    refused = 0
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x21]) + whole[at + 1 :])
        found = store.load("s", "k", 5)
        refused += found is None
        assert found is None or same(found, made())
    assert refused > 0.3 * len(whole)
    assert "damaged and made again" in caplog.text


@pytest.mark.parametrize("content", [b"", b"PK", b"\x80\x04nonsense", b"\x93NUMPY\x01\x00v\x00"])
def test_a_file_that_is_no_shard_is_made_again(content, tmp_path, caplog):
    store = ShardStore(tmp_path)
    store.path("s", "k").parent.mkdir()
    store.path("s", "k").write_bytes(content)
    assert store.load("s", "k", 5) is None and "damaged" in caplog.text
    assert store.save("s", "k", made()) and same(store.load("s", "k", 5), made())


def test_a_file_of_other_texts_or_with_values_that_are_not_finite_is_not_trusted(tmp_path):
    store = ShardStore(tmp_path)
    store.save("s", "k", made())
    store.path("s", "k").rename(store.path("s", "other"))
    assert store.load("s", "other", 5) is None
    store.save("s", "k", made())
    assert store.load("s", "k", 4) is None
    store.save("s", "nan", Shard(np.full((5, 8), np.nan, dtype=np.float32)))
    assert store.load("s", "nan", 5) is None


def test_no_pickle_is_read(tmp_path):
    class Harm:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "harm",))

    store = ShardStore(tmp_path)
    store.path("s", "k").parent.mkdir()
    np.savez(store.path("s", "k"), key=np.array("k"), vectors=np.array([Harm()], dtype=object))
    assert store.load("s", "k", 1) is None and not (tmp_path / "harm").exists()


def test_a_full_disk_costs_one_warning(tmp_path, monkeypatch, caplog):
    store = ShardStore(tmp_path)
    store.save("s", "before", made())

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    assert not store.save("s", "k", made()) and not store.save("s", "l", made())
    assert caplog.text.count("cannot be kept") == 1 and "No space left" in caplog.text
    assert not list(tmp_path.rglob("*.part"))  # what was half written gives its room back
    assert same(store.load("s", "before", 5), made())


def test_the_last_of_a_disk_is_left_alone(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(vector_store, "FREE_BYTES", 1 << 62)
    monkeypatch.setattr(vector_store, "FREE_PART", 1.0)
    store = ShardStore(tmp_path)
    assert not store.save("s", "k", made()) and "of the disk are free" in caplog.text


def test_writers_and_readers_of_one_shard_do_not_disturb_each_other(tmp_path, caplog):
    def use(_: int) -> bool:
        store = ShardStore(tmp_path)
        found = [store.load("s", "k", 500) for _ in range(20) if store.save("s", "k", made(500))]
        return len(found) == 20 and all(shard is not None and same(shard, made(500)) for shard in found)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(use, range(8)))
    assert not caplog.text and [path.name for path in (tmp_path / "s").iterdir()] == ["k.npz"]


def test_what_killed_writers_left_is_removed_and_what_living_ones_write_is_not(tmp_path):
    old, new = tmp_path / "s/a.host-1.part", tmp_path / "s/b.host-2.part"
    old.parent.mkdir()
    old.touch(), new.touch()
    os.utime(old, (time.time() - 2 * vector_store.DAY,) * 2)
    ShardStore(tmp_path).save("s", "k", made())
    assert new.exists() and not old.exists()


def test_keys_tell_texts_and_their_order_apart():
    lists = [["ab", "c"], ["a", "bc"], ["abc"], ["abc", ""], ["", "abc"], ["c", "ab"], ["ab", "d"], ["\ud800"], []]
    assert len({key_of("s", texts) for texts in lists}) == len(lists)
    assert key_of("s", ["a"]) != key_of("t", ["a"]) and key_of("s", ["a"]) == key_of("s", iter(["a"]))
    assert space_of({"a": 1, "b": 2}) == space_of({"b": 2, "a": 1}) != space_of({"a": 1, "b": 3})


# --- sharded encoding ---


def test_vectors_are_those_of_one_call_and_each_text_is_encoded_once():
    texts = [*TEXTS, *TEXTS[:9], "", TEXTS[0]]
    encoder = Encoder()
    encoded, counts = sharded(encoder).encode(texts)
    assert np.array_equal(encoded.vectors, BagOfWords(16).encode(texts))
    assert encoder.seen == [*TEXTS, ""] and counts.encoded == 24
    assert max(call[2] for call in encoder.calls) <= 5
    assert sharded(encoder).encode([])[0].vectors.shape == (0, 16)


def test_tokens_and_cuts_are_those_of_the_texts(base):
    model = new_model("model1", base)
    texts = [*TEXTS, *TEXTS[::-1]]
    whole = model.encode_counted(texts, max_length=5)
    encoded, _ = sharded(model).encode(texts, max_length=5)
    assert np.array_equal(encoded.tokens, whole.tokens) and np.array_equal(encoded.cut, whole.cut)
    assert whole.cut.any() and not whole.cut.all() and np.abs(encoded.vectors - whole.vectors).max() < 1e-6


def test_what_is_stored_is_not_encoded(tmp_path):
    first, counts = sharded(Encoder(), tmp_path).encode(TEXTS)
    assert counts.encoded == 23 and counts.reused == 0
    encoder = Encoder()
    again, counts = sharded(encoder, tmp_path).encode(TEXTS)
    assert not encoder.seen and counts.reused == 23 and counts.encoded == 0
    assert np.array_equal(first.vectors, again.vectors)
    changed = [*TEXTS[:7], TEXTS[7] + "!", *TEXTS[8:]]  # one byte: one shard
    _, counts = sharded(encoder, tmp_path).encode(changed)
    assert encoder.seen == changed[5:10] and counts.reused == 18


def test_everything_that_decides_a_vector_decides_the_place(tmp_path, monkeypatch):
    def encoded(role="document", **options) -> int:
        facts = {"version": "1", "dtype": "float32"} | {k: options.pop(k) for k in ("version", "dtype") if k in options}
        encoder = Encoder()
        sharded(encoder, tmp_path, **facts).encode(TEXTS, role, **options)
        return len(encoder.seen)

    assert encoded() == 23 and encoded() == 0
    for change in (
        {"version": "2"},
        {"dtype": "bfloat16"},
        {"max_length": 9},
        {"prompt": "p "},
        {"prompt": ""},
        {"role": "query"},
    ):
        assert encoded(**change) == 23 and encoded(**change) == 0, change
    assert encoded() == 0
    for name in ("torch", "transformers", "peft", "tokenizers"):
        with monkeypatch.context() as patch:
            patch.setattr(
                "evaluation.encode.sharded_encoder.library_versions", lambda name=name: {**library_versions(), name: "99"}
            )
            assert encoded() == 23, name
    monkeypatch.setattr("evaluation.encode.vector_store.FORMAT", 99)
    assert encoded() == 23


def test_an_embedder_reads_rendered_texts_so_that_both_sides_share_them(base, tmp_path):
    model = new_model("model1", base)
    _, counts = sharded(model, tmp_path).encode(TEXTS, "document")
    assert counts.encoded == 23
    assert sharded(model, tmp_path).encode(TEXTS, "query")[1].reused == 23
    assert sharded(model, tmp_path).encode(TEXTS, "query", prompt="")[1].reused == 23  # the manifest's is empty
    assert sharded(model, tmp_path).encode(TEXTS, max_length=model.recipe.max_length)[1].reused == 23
    assert sharded(model, tmp_path).encode(TEXTS, max_length=9)[1].encoded == 23
    assert sharded(model, tmp_path).encode(TEXTS, prompt="word1 ")[1].encoded == 23


def test_vectors_that_are_not_finite_are_not_stored(tmp_path):
    class Broken(Encoder):
        def encode(self, texts, role="document", **options):
            vectors = super().encode(texts, role, **options)
            vectors[-1, 0] = np.inf
            return vectors

    with pytest.raises(ValueError, match="not finite"):
        sharded(Broken(), tmp_path).encode(TEXTS)
    assert not list(tmp_path.rglob("*.npz"))


def test_a_bar_hears_of_every_text_once(tmp_path, base):
    class Watch:
        def __init__(self):
            self.batches, self.fresh, self.reused, self.tokens = 0, [0, 0], [0, 0], 0

        def on_batch(self, texts, tokens):
            self.batches += texts

        def settle(self, texts, characters, tokens=None, *, reused=False):
            of = self.reused if reused else self.fresh
            of[0] += texts
            of[1] += characters
            self.tokens += tokens or 0

    texts = [*TEXTS, *TEXTS[:3]]
    characters = sum(map(len, TEXTS))
    for reused in (False, True):
        encoder = sharded(new_model("model1", base), tmp_path)
        watch = encoder.watch = Watch()
        encoded, _ = encoder.encode(texts)
        repeated = [3, sum(map(len, TEXTS[:3]))]
        if not reused:
            assert watch.batches == 23 and watch.fresh == [23, characters] and watch.reused == repeated
            assert watch.tokens == int(encoded.tokens[:23].sum())
        else:
            assert watch.batches == 0 and watch.fresh == [0, 0] and watch.reused == [26, characters + repeated[1]]


# --- what a kill leaves ---


def test_texts_that_are_encoded_a_second_time_are_counted(tmp_path):
    with contextlib.suppress(KeyboardInterrupt):
        sharded(Encoder(dies_after=10), tmp_path / "store", unfinished=tmp_path / "task").encode(TEXTS)
    encoder = Encoder()
    _, counts = sharded(encoder, tmp_path / "store", unfinished=tmp_path / "task").encode(TEXTS)
    assert encoder.seen == TEXTS[10:] and (counts.reused, counts.again, counts.encoded) == (10, 5, 13)
    unfinished = UnfinishedShards(tmp_path / "task")
    assert unfinished.again() == 5 and not list((tmp_path / "task/begun").iterdir())
    unfinished.remove()
    assert not (tmp_path / "task").exists() and unfinished.again() == 0


def test_a_run_that_cannot_save_does_not_take_itself_for_a_killed_one(tmp_path, monkeypatch):
    encoder = sharded(Encoder(), tmp_path / "store", unfinished=tmp_path / "task")
    encoder.store.off = True
    assert encoder.encode(TEXTS)[1].again == 0
    assert encoder.encode(TEXTS)[1].again == 0
    later = sharded(Encoder(), tmp_path / "store", unfinished=tmp_path / "task")
    assert later.encode(TEXTS)[1].again == 23


# --- in an evaluation ---


def run(folder: Path, data_dir: Path, encoder=None, tasks=("TinyRetrieval", "TinyPair"), **options):
    options = {"name": "bow", "version": "1", "shard_texts": 7} | options
    return evaluate(encoder or Encoder(64), find_tasks(tasks, data_dir), folder, **options)


def test_a_run_that_was_stopped_goes_on_and_leaves_nothing_behind(tmp_path, data_dir):
    whole = run(tmp_path / "whole", data_dir)
    assert not (tmp_path / "whole/embeddings").exists()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "out", data_dir, Encoder(64, dies_after=50))
    assert list((tmp_path / "out/embeddings").rglob("*.npz"))
    encoder = Encoder(64)
    again = run(tmp_path / "out", data_dir, encoder, tasks=["TinyRetrieval"])
    assert again.score("TinyRetrieval") == whole.score("TinyRetrieval")
    record = (again.folder / "recipes/TinyRetrieval.json").read_text()
    assert '"encoded_again": 7' in record and again.scores[0].again == 7
    assert "7 texts were encoded a second time" in table(again)
    assert not (tmp_path / "out/embeddings").exists()
    assert len(encoder.seen) < 90 - 40


def test_a_cache_is_kept_and_shared_between_tasks_and_runs(tmp_path, data_dir):
    cache = tmp_path / "cache"
    tasks = ["TinyRetrieval", "Twin"]
    (data_dir / "Twin").mkdir()
    for file in (data_dir / "TinyRetrieval").iterdir():
        (data_dir / "Twin" / file.name).write_bytes(file.read_bytes())
    encoder = Encoder(64)
    first = run(tmp_path / "a", data_dir, encoder, tasks, embedding_cache=cache)
    distinct = len(encoder.seen)
    assert distinct == len(set(encoder.seen)) == 90  # 60 documents, 30 queries, one task's
    again = Encoder(64)
    second = run(tmp_path / "b", data_dir, again, tasks, embedding_cache=cache)
    assert not again.seen and [s.score for s in second.scores] == [s.score for s in first.scores]
    other = Encoder(64)
    run(tmp_path / "c", data_dir, other, tasks, embedding_cache=cache, version="2")
    assert len(other.seen) == 90


@pytest.mark.parametrize("how", ["full", "a file", "read-only"])
def test_scores_come_whatever_the_disk_of_the_store_does(how, tmp_path, data_dir, monkeypatch, caplog):
    whole = run(tmp_path / "whole", data_dir)
    cache = tmp_path / "cache"
    if how == "a file":
        cache.touch()
    else:
        number = errno.ENOSPC if how == "full" else errno.EROFS
        monkeypatch.setattr(np, "savez", lambda *_, **__: (_ for _ in ()).throw(OSError(number, os.strerror(number))))
    with caplog.at_level(logging.WARNING):
        result = run(tmp_path / "out", data_dir, embedding_cache=cache)
    assert not result.failures and [s.score for s in result.scores] == [s.score for s in whole.scores]
    assert caplog.text.count("cannot be kept") == 2  # once a task


@pytest.mark.slow
def test_a_disk_that_is_really_full(tmp_path, data_dir, caplog):
    small = tmp_path / "small"
    small.mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", small], check=False).returncode:
        pytest.skip("needs root, to mount a small disk")
    try:
        whole = run(tmp_path / "whole", data_dir)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(vector_store, "FREE_PART", 0.0)
            patch.setattr(vector_store, "FREE_BYTES", -(1 << 40))
            result = run(tmp_path / "out", data_dir, Encoder(4096), ["TinyRetrieval"], embedding_cache=small)
        assert not result.failures and caplog.text.count("No space left") == 1
        assert not list(small.rglob("*.part"))
        result = run(tmp_path / "other", data_dir, embedding_cache=small)
        assert [s.score for s in result.scores] == [s.score for s in whole.scores]
    finally:
        subprocess.run(["umount", small], check=True)
