"""Texts of any number to vectors, shard by shard: each text once, what is in the store not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from evaluation.encode.unfinished import Journal
from evaluation.encode.vector_store import SHARD_TEXTS, Shard, ShardStore, check, key_of, space_of
from model_loaders.layouts.manifest import Recipe, library_versions
from model_loaders.text.prompts import Role, render

OnBatch = Callable[[int, int], None]


class Encode(Protocol):
    """Encodes the texts of one shard, here or on several processes."""

    def __call__(
        self, texts: list[str], role: Role, prompt: str | None, max_length: int | None, on_batch: OnBatch | None = None
    ) -> Shard:
        """Return the shard; `on_batch` is called after each forward pass with its texts and its tokens without padding."""
        ...


def encode_here(encoder: Any, *, batch_tokens: int | None = None, batch_size: int | None = None) -> Encode:
    """Return what encodes shards in this process; an encoder that counts no tokens has shards without counts."""
    budget = {"batch_tokens": batch_tokens, "batch_size": batch_size}
    given = {name: value for name, value in budget.items() if value is not None}

    def encode(
        texts: list[str], role: Role, prompt: str | None, max_length: int | None, on_batch: OnBatch | None = None
    ) -> Shard:
        options: dict[str, Any] = {"prompt": prompt, "max_length": max_length}
        if hasattr(encoder, "encode_counted"):
            encoded = encoder.encode_counted(texts, role, **options, **given, on_batch=on_batch)
            return Shard(encoded.vectors, encoded.tokens, encoded.cut)
        if batch_size is not None:
            options["batch_size"] = batch_size
        return Shard(np.asarray(encoder.encode(texts, role, **options), dtype=np.float32))

    return encode


@dataclass
class Counts:
    """What became of the texts of a call; those that occurred before in the call are in neither number.

    Attributes:
        encoded: texts that were encoded now.
        reused: texts whose vectors were in the store.
        again: of those encoded, texts that a run that was killed had begun to encode, or a run beside this one.
    """

    encoded: int = 0
    reused: int = 0
    again: int = 0

    def add(self, other: Counts) -> None:
        """Add another call's."""
        self.encoded += other.encoded
        self.reused += other.reused
        self.again += other.again


class Watch(Protocol):
    """Is told how far a call is; `evaluation.progress.Progress` is one."""

    def on_batch(self, texts: int, tokens: int) -> None:
        """Hear of a forward pass of this process."""

    def settle(self, texts: int, characters: float, tokens: int | None = None, *, reused: bool = False) -> None:
        """Hear of texts that have their vectors; in all of as many as the call has."""


class ShardedEncoder:
    """Encodes calls of any number of texts; holds their vectors, one shard and the texts.

    Attributes:
        store: where shards are kept, None for nowhere.
        journal: where it is noted which shard is being encoded, None for nowhere.
        watch: is told of every forward pass and every shard.
    """

    def __init__(self, encoder: Any, facts: Mapping[str, Any], encode: Encode, *, shard_texts: int = SHARD_TEXTS) -> None:
        self.encoder = encoder
        self.facts = facts
        self.encode_shard = encode
        self.shard_texts = shard_texts
        self.store: ShardStore | None = None
        self.journal: Journal | None = None
        self.watch: Watch | None = None

    @contextmanager
    def keeping(self, store: ShardStore, journal: Journal) -> Iterator[None]:
        """Keep shards in `store`, and notes in `journal`, inside the block."""
        self.store, self.journal = store, journal
        try:
            yield
        finally:
            self.store = self.journal = None

    def encode(
        self, texts: Sequence[str], role: Role = "document", *, prompt: str | None = None, max_length: int | None = None
    ) -> tuple[Shard, Counts]:
        """Encode texts; one that occurs several times is encoded once.

        A shard is cut from the texts as they stand, without those that stood before: a change within one shard leaves the
        others as they are in the store.

        Returns:
            Vectors, tokens and cuts of all texts in their order, and the counts.

        Raises:
            ValueError: the encoder's vectors do not fit, or are not finite. What it raises itself comes through.
        """
        space, chosen = self._space(role, prompt, max_length)
        first: dict[str, int] = {}  # where a text stood first
        counts = Counts()
        whole: Shard | None = None
        for start in range(0, len(texts), self.shard_texts):
            rows = range(start, min(start + self.shard_texts, len(texts)))
            block, stands = np.array(rows), np.array([first.setdefault(texts[row], row) for row in rows])
            fresh, repeated = block[stands == block], stands != block
            if len(fresh):
                ask = [texts[row] for row in fresh]
                shard = self._shard(ask, space, chosen, (role, prompt, max_length), counts)
                whole = _empty_like(shard, len(texts)) if whole is None else whole
                _copy(shard, slice(None), whole, fresh)
            assert whole is not None
            _copy(whole, stands[repeated], whole, block[repeated])
            if self.watch is not None and repeated.any():
                self.watch.settle(int(repeated.sum()), sum(len(texts[row]) for row in block[repeated]), reused=True)
        if whole is None:
            whole = Shard(np.empty((0, getattr(self.encoder, "dim", None) or 0), dtype=np.float32))
        return whole, counts

    def _shard(
        self, texts: list[str], space: str, prompt: str, how: tuple[Role, str | None, int | None], counts: Counts
    ) -> Shard:
        characters = sum(map(len, texts))
        key = key_of(space, (render(text, prompt) for text in texts)) if self.store or self.journal else ""
        found = self.store.load(space, key, len(texts)) if self.store else None
        if found is not None:
            counts.reused += len(texts)
            if self.watch is not None:
                self.watch.settle(len(texts), characters, reused=True)
            return found
        if self.journal:
            counts.again += self.journal.begin(key, len(texts))
        on_batch = self.watch.on_batch if self.watch is not None else None
        shard = check(self.encode_shard(texts, *how, on_batch=on_batch), len(texts))
        counts.encoded += len(texts)
        if self.store and self.store.save(space, key, shard) and self.journal:
            self.journal.end(key)
        if self.watch is not None:
            tokens = None if shard.tokens is None else int(shard.tokens.sum(dtype=np.int64))
            self.watch.settle(len(texts), characters, tokens)
        return shard

    def _space(self, role: Role, prompt: str | None, max_length: int | None) -> tuple[str, str]:
        """Return the space of a call's vectors, and the prompt with which its texts are rendered.

        An `EmbedModel` reads the rendered text and nothing else, so that its vectors serve both sides. What another encoder
        makes of the role and of no prompt is not known: they are part of the space.
        """
        own = getattr(self.encoder, "recipe", None)
        if isinstance(own, Recipe):
            how: Mapping[str, Any] = {"max_length": own.length(role) if max_length is None else max_length}
            chosen = own.prompt(role) if prompt is None else prompt
        else:
            how = {"max_length": max_length, "role": role, "no_prompt": prompt is None}
            chosen = prompt or ""
        return space_of({**self.facts, **how, "libraries": library_versions()}), chosen


def _empty_like(shard: Shard, texts: int) -> Shard:
    def empty(array: np.ndarray) -> np.ndarray:
        return np.empty((texts, *array.shape[1:]), dtype=array.dtype)

    tokens, cut = (None if array is None else empty(array) for array in (shard.tokens, shard.cut))
    return Shard(empty(shard.vectors), tokens, cut)


def _copy(source: Shard, rows: Any, target: Shard, places: np.ndarray) -> None:
    for name in ("vectors", "tokens", "cut"):
        of_target = getattr(target, name)
        if of_target is not None:
            of_target[places] = getattr(source, name)[rows]
