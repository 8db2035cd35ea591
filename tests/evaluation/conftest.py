"""A stub encoder and a tiny task folder of every type."""

from __future__ import annotations

import errno
import gzip
import json
import os
import re
import sys
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from tests.tiny import WORDS

# Words that the tokenizer of the tiny base LLMs knows: to its models, other texts would all be the same.
TOPICS = {topic: " ".join(WORDS[8 * number : 8 * number + 8]) for number, topic in enumerate(["bread", "stars", "chess"])}


class BagOfWords:
    """Hashed token counts, cosine; counts its calls and keeps the texts of the last one."""

    def __init__(self, dim: int = 512) -> None:
        self.dim = dim
        self.calls: list[tuple[str, str | None, int]] = []

    def encode(self, texts, role="document", *, prompt=None, max_length=None, batch_size=32, show_progress=False):
        self.calls.append((role, prompt, len(texts)))
        vectors = np.zeros((len(texts), self.dim), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in re.findall(r"\w+", ((prompt or "") + text).lower()):
                vectors[row, zlib.crc32(word.encode()) % self.dim] += 1
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


def write(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode(), mtime=0))
    else:
        path.write_text(text)


def sentences(seed: int, count: int) -> list[tuple[str, str]]:
    """Return (text, topic) pairs."""
    rng = np.random.default_rng(seed)
    topics = [list(TOPICS)[i % len(TOPICS)] for i in range(count)]
    return [(" ".join(rng.choice(TOPICS[topic].split(), 5)), topic) for topic in topics]


def make_tasks(root: Path) -> Path:
    """Make one folder of each type, plain and compressed, own and official names."""
    test, train = sentences(0, 30), sentences(1, 60)
    pairs = list(zip(test, sentences(2, 30)[1:], strict=False))
    same = [float(a[1] == b[1]) for a, b in pairs]
    write(
        root / "TinySTS/test.jsonl",
        [
            {"sentence1": a[0], "sentence2": b[0] if i % 2 else a[0], "score": 5 - 4 * (i % 2) + s}
            for i, ((a, b), s) in enumerate(zip(pairs, same, strict=True))
        ],
    )
    write(
        root / "TinyPair/test.jsonl.gz",
        [{"sentence1": a[0], "sentence2": a[0] if i % 2 else b[0], "label": i % 2} for i, (a, b) in enumerate(pairs)],
    )
    for name, rows in (("train", train), ("test", test)):
        write(root / f"TinyClassification/{name}.jsonl", [{"text": t, "label": y} for t, y in rows])
    write(root / "TinyClustering/test.jsonl", [{"sentence": t, "label": y} for t, y in train])
    texts = {topic: [t for t, y in train if y == topic] for topic in TOPICS}
    write(
        root / "TinyReranking/test.jsonl",
        [{"query": q, "positive": texts[y][:3], "negative": texts["bread" if y != "bread" else "stars"][:4]} for q, y in test],
    )
    corpus = [{"id": f"d{i}", "title": y, "text": t if i else ""} for i, (t, y) in enumerate(train)]
    write(root / "TinyRetrieval/corpus.jsonl.gz", corpus)
    write(root / "TinyRetrieval/queries.jsonl", [{"id": f"q{i}", "text": f"{y} {t}"} for i, (t, y) in enumerate(test)])
    qrels = [
        {"query-id": f"q{i}", "corpus-id": doc["id"], "score": 1}
        for i, (_, y) in enumerate(test)
        for doc in corpus
        if doc["title"] == y
    ]
    write(root / "TinyRetrieval/qrels.test.jsonl", qrels)
    write(
        root / "STS17/test.en-en.jsonl",
        [{"sentence1": a[0], "sentence2": b[0] if i % 2 else a[0], "score": 5 - i % 2} for i, (a, b) in enumerate(pairs)],
    )
    return root


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return make_tasks(tmp_path / "data")


READ_ONLY: list[Path] = []


def _refuse_writing(event: str, arguments: tuple) -> None:
    """Raise what a read-only file system raises: permissions alone do not stop root, who may run the tests."""
    if not READ_ONLY or event not in ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir"):
        return
    if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        return
    if event == "os.mkdir" and Path(arguments[0]).is_dir():  # "it exists" goes before
        return
    for path in arguments[: 2 if event == "os.rename" else 1]:
        if isinstance(path, str | os.PathLike) and any(Path(path).is_relative_to(folder) for folder in READ_ONLY):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))


@cache
def _watch() -> None:
    sys.addaudithook(_refuse_writing)  # for ever: it cannot be taken away


@pytest.fixture
def read_only() -> Iterator[Callable[[Path], None]]:
    """Call it with a folder that cannot be written from then on."""
    _watch()
    yield READ_ONLY.append
    READ_ONLY.clear()
