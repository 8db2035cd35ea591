"""Hashes that are equal where two texts count as the same text, by two rules."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np


def text_hashes(texts: Iterable[str]) -> np.ndarray:
    """Return int64 ``(texts,)`` hashes that agree for texts that differ only in case or white space."""
    values = [int.from_bytes(_digest(" ".join(text.casefold().split())), "big", signed=True) for text in texts]
    return np.array(values, dtype=np.int64)


def letter_hashes(texts: Iterable[str]) -> np.ndarray:
    """Return uint64 ``(texts,)`` hashes that agree where the letters and digits do; 0 for texts without any."""
    values = []
    for text in texts:
        characters = letters(text)
        values.append(int.from_bytes(_digest(characters), "big") if characters else 0)
    return np.array(values, dtype=np.uint64)


def letters(text: str) -> str:
    """Return the letters and digits of a text, without case."""
    return "".join(character for character in text.casefold() if character.isalnum())


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=8).digest()
