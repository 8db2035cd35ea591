"""Exact search by blocks: the best matches of each query in a corpus of any size, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

QUERIES_AT_ONCE = 512
SCORE_BYTES = 2**25  # of a block of scores, which is all that grows with the corpus beside the vectors


@dataclass(frozen=True)
class Matches:
    """The best matches of some queries, best first; equal scores by place.

    Attributes:
        scores: ``(queries, count)`` float32 inner products.
        places: ``(queries, count)`` int64 rows of the corpus.
    """

    scores: np.ndarray
    places: np.ndarray


def best_matches(queries: np.ndarray, corpus: np.ndarray, count: int) -> Matches:
    """Return the ``count`` corpus rows with the largest inner product of each query, or all rows of a smaller corpus.

    Costs ``2 x queries x corpus x dim`` operations and `SCORE_BYTES` of memory beside the inputs and the result. ``corpus`` may
    be mapped from a file: each block is read once for `QUERIES_AT_ONCE` queries.

    Args:
        queries: ``(queries, dim)`` float32.
        corpus: ``(texts, dim)`` float32.
        count: of matches a query.
    """
    count = min(count, len(corpus))
    parts = [_search(torch.from_numpy(rows), corpus, count) for rows in _blocks(queries, QUERIES_AT_ONCE)]
    if not parts:
        return Matches(np.zeros((0, count), np.float32), np.zeros((0, count), np.int64))
    return Matches(np.concatenate([part.scores for part in parts]), np.concatenate([part.places for part in parts]))


def _blocks(rows: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for first in range(0, len(rows), size):
        yield np.array(rows[first : first + size], order="C")  # a copy: torch takes no read-only mapped file


def _search(queries: Tensor, corpus: np.ndarray, count: int) -> Matches:
    """Search all blocks of the corpus; what is best so far is merged with the best of each block."""
    block_rows = max(count, SCORE_BYTES // (4 * len(queries)))
    scores = torch.empty(len(queries), 0)
    places = torch.empty(len(queries), 0, dtype=torch.int64)
    first = 0
    for block in _blocks(corpus, block_rows):
        products = queries @ torch.from_numpy(block).T
        best = products.topk(min(count, len(block)), dim=1)
        joined = torch.cat([scores, best.values], dim=1)
        joined_places = torch.cat([places, best.indices + first], dim=1)
        scores, chosen = joined.topk(min(count, joined.shape[1]), dim=1)
        places = joined_places.gather(1, chosen)
        first += len(block)
    return in_order(scores.numpy(), places.numpy())


def in_order(scores: np.ndarray, places: np.ndarray) -> Matches:
    """Sort each row by score, downwards, and equal scores by place."""
    order = np.lexsort((places, -scores), axis=1)
    return Matches(np.take_along_axis(scores, order, 1), np.take_along_axis(places, order, 1))
