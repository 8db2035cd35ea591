"""Hashes that are equal where two texts are the same text."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np


def text_hashes(texts: Sequence[str]) -> np.ndarray:
    """Return int64 ``(texts,)`` hashes that agree for texts that differ only in case or white space."""
    values = [
        int.from_bytes(hashlib.blake2b(" ".join(text.casefold().split()).encode(), digest_size=8).digest(), "big", signed=True)
        for text in texts
    ]
    return np.array(values, dtype=np.int64)
