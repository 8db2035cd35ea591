"""A model as probes see it: texts in, vectors out, and a count of what that cost."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from evaluation.encode.sharded_encoder import Encode
from evaluation.encode.vector_store import Shard
from model_loaders.text.prompts import Role
from study.probes.result import Cost


class Probed:
    """Encodes for a probe.

    Attributes:
        cost: of what was encoded since `take_cost`.
    """

    def __init__(self, encode: Encode, max_length: int | None = None) -> None:
        self._encode = encode
        self._max_length = max_length
        self.cost = Cost()

    def encode(self, texts: Sequence[str], role: Role = "document") -> Shard:
        """Return the vectors of texts, float32 ``(texts, dim)``, and which of them were cut."""
        started = time.monotonic()
        shard = self._encode(list(texts), role, None, self._max_length)
        self.cost.seconds += time.monotonic() - started
        self.cost.texts += len(texts)
        if shard.tokens is not None:
            self.cost.tokens += int(shard.tokens.sum(dtype=np.int64))
            self.cost.longest = max(self.cost.longest, int(shard.tokens.max(initial=0)))
        return shard

    def take_cost(self) -> Cost:
        """Return the cost since the last call, and count from zero."""
        cost, self.cost = self.cost, Cost()
        return cost


def cut_of(shard: Shard) -> np.ndarray:
    """Return which texts were cut, ``(texts,)`` bool; none for an encoder that does not say."""
    if shard.cut is None:
        return np.zeros(len(shard.vectors), dtype=bool)
    return np.asarray(shard.cut, dtype=bool)


def cut_note(cut: int, texts: int, what: str = "texts") -> list[str]:
    """Return the note on texts of which only the beginning was read; none where all were read whole.

    >>> cut_note(3, 40, "halves"), cut_note(0, 40)
    (['3 of 40 halves were cut: their beginnings are read'], [])
    """
    return [f"{cut} of {texts} {what} were cut: their beginnings are read"] if cut else []


def cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the cosine of each row of one array with the same row of another, ``(texts,)`` float64."""
    return np.asarray((unit(first) * unit(second)).sum(axis=1))


def unit(vectors: np.ndarray) -> np.ndarray:
    """Scale the rows of ``(texts, dim)`` to unit length, in float64; a row of zeros stays."""
    vectors = np.asarray(vectors, dtype=np.float64)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: np.ndarray = vectors / np.where(norms > 0, norms, 1.0)
    return scaled
