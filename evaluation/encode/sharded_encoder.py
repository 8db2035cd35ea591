"""Encode any number of texts shard by shard: each text once, and none whose vectors are in the store.

`vector_store.py` says how the files of the sharded encoding belong together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from evaluation.encode.unfinished import UnfinishedShards
from evaluation.encode.vector_store import SHARD_TEXTS, Shard, ShardStore, check, key_of, space_of
from model_loaders.layouts.manifest import library_versions
from model_loaders.text.prompts import Role
from model_loaders.text.recipe import Recipe
from model_loaders.text.render import rendered

OnBatch = Callable[[int, int], None]


class TextEncoder(Protocol):
    """The protocol of what can be scored: `EmbedModel`, and anything else with such an `encode`."""

    def encode(
        self,
        texts: list[str],
        role: Role = "document",
        *,
        prompt: str | None = None,
        max_length: int | None = None,
        batch_size: int = 32,
    ) -> np.ndarray:
        """Return float32 vectors of unit length, `(len(texts), dim)`; `None` means the encoder's own prompt, length."""
        ...


class Encode(Protocol):
    """Encodes the texts of one shard, here or on several processes."""

    def __call__(
        self, texts: list[str], role: Role, prompt: str | None, max_length: int | None, on_batch: OnBatch | None = None
    ) -> Shard:
        """Return the shard; `on_batch` is called after each forward pass with its texts and its tokens without padding."""
        ...


def encode_here(encoder: TextEncoder, *, batch_tokens: int | None = None, batch_size: int | None = None) -> Encode:
    """Return a function that encodes shards in this process; an encoder that counts no tokens has shards without counts."""
    budget: dict[str, Any] = {}
    if batch_tokens is not None:
        budget["batch_tokens"] = batch_tokens
    if batch_size is not None:
        budget["batch_size"] = batch_size

    def encode(
        texts: list[str], role: Role, prompt: str | None, max_length: int | None, on_batch: OnBatch | None = None
    ) -> Shard:
        options: dict[str, Any] = {"prompt": prompt, "max_length": max_length}
        if hasattr(encoder, "encode_counted"):
            encoded = encoder.encode_counted(texts, role, **options, **budget, on_batch=on_batch)
            return Shard(encoded.vectors, encoded.tokens, encoded.cut)
        if batch_size is not None:
            options["batch_size"] = batch_size
        return Shard(np.asarray(encoder.encode(texts, role, **options), dtype=np.float32))

    return encode


@dataclass
class ShardCounts:
    """Counts of the texts of a call; a text that occurred before in the call is in none of them.

    Attributes:
        encoded: number of texts that were encoded now.
        reused: number of texts whose vectors were in the store.
        again: number of encoded texts that another run had begun to encode: a killed one, or one beside this one.
    """

    encoded: int = 0
    reused: int = 0
    again: int = 0


class Watch(Protocol):
    """Hears how far a call is."""

    def on_batch(self, texts: int, tokens: int) -> None:
        """Hear of a forward pass of this process."""

    def settle(self, texts: int, characters: float, tokens: int | None = None, *, reused: bool = False) -> None:
        """Hear of texts that have their vectors; the sum over a call is its number of texts."""


@dataclass(frozen=True)
class _Settings:
    """The settings of a call.

    Attributes:
        role: as the encoder takes it.
        prompt: as the encoder takes it.
        max_length: as the encoder takes it.
        rendered_prompt: with which the texts are rendered for their keys.
        space: of the vectors in the store.
        recipe: that renders them; None for another encoder's.
    """

    role: Role
    prompt: str | None
    max_length: int | None
    rendered_prompt: str
    space: str
    recipe: Recipe | None = None


class ShardedEncoder:
    """Encodes calls of any number of texts; holds their vectors, one shard and the texts.

    Attributes:
        store: where shards are kept, None for nowhere.
        unfinished: notes of the shard that is being encoded, None for no notes.
        watch: hears of every forward pass and every shard.
    """

    def __init__(
        self, encoder: TextEncoder, facts: Mapping[str, Any], encode: Encode, *, shard_texts: int = SHARD_TEXTS
    ) -> None:
        self.encoder = encoder
        self.facts = facts
        self.encode_shard = encode
        self.shard_texts = shard_texts
        self.store: ShardStore | None = None
        self.unfinished: UnfinishedShards | None = None
        self.watch: Watch | None = None

    @contextmanager
    def keeping(self, store: ShardStore, unfinished: UnfinishedShards) -> Iterator[None]:
        """Keep shards in `store`, and notes in `unfinished`, inside the block."""
        self.store, self.unfinished = store, unfinished
        try:
            yield
        finally:
            self.store = self.unfinished = None

    def encode(
        self, texts: Sequence[str], role: Role = "document", *, prompt: str | None = None, max_length: int | None = None
    ) -> tuple[Shard, ShardCounts]:
        """Encode texts; one that occurs several times is encoded once.

        A shard is cut from the texts as they stand, without those that stood before: a change within one shard leaves the
        others as they are in the store.

        Returns:
            Vectors, tokens and cuts of all texts in their order, and the counts.

        Raises:
            ValueError: the encoder's vectors do not fit, or are not finite. Errors of the encoder come through.
        """
        settings = self._settings(role, prompt, max_length)
        first_rows: dict[str, int] = {}  # of each text, the row where it stood first
        counts = ShardCounts()
        whole: Shard | None = None
        for start in range(0, len(texts), self.shard_texts):
            rows = np.arange(start, min(start + self.shard_texts, len(texts)))
            origins = np.array([first_rows.setdefault(texts[row], row) for row in rows.tolist()])
            is_new = origins == rows
            new_rows = rows[is_new]
            repeated_rows = rows[~is_new]
            if len(new_rows):
                shard = self._shard([texts[row] for row in new_rows], settings, counts)
                if whole is None:
                    whole = _empty_like(shard, len(texts))
                _copy(shard, slice(None), whole, new_rows)
            assert whole is not None
            _copy(whole, origins[~is_new], whole, repeated_rows)
            if self.watch is not None and len(repeated_rows):
                characters = sum(len(texts[row]) for row in repeated_rows)
                self.watch.settle(len(repeated_rows), characters, reused=True)
        if whole is None:
            whole = Shard(np.empty((0, getattr(self.encoder, "dim", None) or 0), dtype=np.float32))
        return whole, counts

    def _shard(self, texts: list[str], settings: _Settings, counts: ShardCounts) -> Shard:
        """Return the shard of `texts`, from the store or encoded now, and count its texts."""
        characters = sum(map(len, texts))
        key = ""
        if self.store or self.unfinished:
            key = key_of(settings.space, (rendered(text, settings.rendered_prompt, settings.recipe) for text in texts))
        stored = self.store.load(settings.space, key, len(texts)) if self.store else None
        if stored is not None:
            counts.reused += len(texts)
            if self.watch is not None:
                self.watch.settle(len(texts), characters, reused=True)
            return stored
        if self.unfinished:
            counts.again += self.unfinished.begin(key, len(texts))
        on_batch = self.watch.on_batch if self.watch is not None else None
        encoded = self.encode_shard(texts, settings.role, settings.prompt, settings.max_length, on_batch=on_batch)
        shard = check(encoded, len(texts))
        counts.encoded += len(texts)
        if self.store and self.store.save(settings.space, key, shard) and self.unfinished:
            self.unfinished.end(key)
        if self.watch is not None:
            tokens = None if shard.tokens is None else int(shard.tokens.sum(dtype=np.int64))
            self.watch.settle(len(texts), characters, tokens)
        return shard

    def _settings(self, role: Role, prompt: str | None, max_length: int | None) -> _Settings:
        """Return the settings of a call, with the space of its vectors.

        An `EmbedModel` reads the rendered text (and with some recipes where in it the prompt is), so that its vectors serve
        both sides. Another encoder may use the role, and a prompt of its own where it gets none: they are part of the space.
        """
        own = getattr(self.encoder, "recipe", None)
        own = own if isinstance(own, Recipe) else None
        if own is not None:
            length = own.length(role) if max_length is None else max_length
            facts: dict[str, Any] = {"max_length": length}
            rendered_prompt = own.prompt(role) if prompt is None else prompt
            if not own.is_plain:  # the same string with another prompt may be cut and pooled otherwise
                facts["prompt"] = rendered_prompt
        else:
            facts = {"max_length": max_length, "role": role, "no_prompt": prompt is None}
            rendered_prompt = prompt or ""
        space = space_of({**self.facts, **facts, "libraries": library_versions()})
        return _Settings(role, prompt, max_length, rendered_prompt, space, own)


def _empty_like(shard: Shard, texts: int) -> Shard:
    """Return a shard for `texts` texts with arrays of the same kind, not filled."""

    def empty(array: np.ndarray) -> np.ndarray:
        return np.empty((texts, *array.shape[1:]), dtype=array.dtype)

    tokens = None if shard.tokens is None else empty(shard.tokens)
    cut = None if shard.cut is None else empty(shard.cut)
    return Shard(empty(shard.vectors), tokens, cut)


def _copy(source: Shard, rows: slice | np.ndarray, target: Shard, target_rows: np.ndarray) -> None:
    """Copy rows of all arrays of a shard."""
    for name in ("vectors", "tokens", "cut"):
        array = getattr(target, name)
        if array is not None:
            array[target_rows] = getattr(source, name)[rows]
