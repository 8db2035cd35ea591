"""Hashes that are equal where two texts are the same text."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor


def text_hashes(texts: Sequence[str]) -> Tensor:
    """Return int64 ``(texts,)`` hashes that agree for texts that differ only in case or white space."""
    values = [
        int.from_bytes(hashlib.blake2b(" ".join(text.casefold().split()).encode(), digest_size=8).digest(), "big", signed=True)
        for text in texts
    ]
    return torch.tensor(values, dtype=torch.int64)
