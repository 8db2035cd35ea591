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
        queries: ``(queries, dim)`` float32, finite.
        corpus: ``(texts, dim)`` float32, finite.
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
    room = torch.empty(len(queries) * min(block_rows, len(corpus)))  # kept: fresh memory for each block costs more than its use
    scores = torch.empty(len(queries), 0)
    places = torch.empty(len(queries), 0, dtype=torch.int64)
    first = 0
    for block in _blocks(corpus, block_rows):
        products = room[: len(queries) * len(block)].view(len(queries), len(block))
        torch.mm(queries, torch.from_numpy(block).T, out=products)
        values, columns = _best(products, count, scores)
        joined = torch.cat([scores, values], dim=1)
        joined_places = torch.cat([places, columns + first], dim=1)
        scores, chosen = joined.topk(min(count, joined.shape[1]), dim=1)
        places = joined_places.gather(1, chosen)
        first += len(block)
    return in_order(scores.numpy(), places.numpy())


def _best(products: Tensor, count: int, scores: Tensor) -> tuple[Tensor, Tensor]:
    """Return the scores of a block that may be among the best of each query, and their columns.

    After the first blocks few scores are above the worst match so far. To find these takes a tenth of the time of ``topk``.

    Args:
        products: ``(queries, rows)``.
        count: of matches a query.
        scores: ``(queries, at most count)``, the best so far, in order.

    Returns:
        ``(queries, most)`` twice; where a query has fewer scores, minus infinity and column 0.
    """
    everything = min(count, products.shape[1])
    if scores.shape[1] < count:
        return products.topk(everything, dim=1)
    found = np.flatnonzero(products.numpy() > scores[:, -1:].numpy())
    rows, columns = np.divmod(found, products.shape[1])
    numbers = np.bincount(rows, minlength=len(products))
    most = int(numbers.max(initial=0))
    if most > 4 * count:
        return products.topk(everything, dim=1)
    slots = np.arange(len(found)) - np.repeat(np.cumsum(numbers) - numbers, numbers)
    values = np.full((len(products), most), -np.inf, np.float32)
    values[rows, slots] = products.view(-1).numpy()[found]
    kept = np.zeros((len(products), most), np.int64)
    kept[rows, slots] = columns
    return torch.from_numpy(values), torch.from_numpy(kept)


def in_order(scores: np.ndarray, places: np.ndarray) -> Matches:
    """Sort each row by score, downwards, and equal scores by place."""
    order = np.lexsort((places, -scores), axis=1)
    return Matches(np.take_along_axis(scores, order, 1), np.take_along_axis(places, order, 1))
