"""Approximate search with FAISS: only some lists of an inverted file are searched, and their matches are scored exactly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common.errors import UserError
from common.files import replacing
from triplets.mining.search import Matches, best_matches, in_order
from triplets.mining.teachers import VectorTeacher

if TYPE_CHECKING:
    from collections.abc import Iterator

POINTS_A_LIST = 39  # FAISS's own least number of training vectors for each list
TRAINED_ON = 64  # vectors a list that the lists' centres are computed of
PROBED = 1 / 8  # of the lists are searched for each query
ADDED = 2**16  # vectors that are added at once
EXACT_FROM = 1 / 4  # of the corpus is wanted: the exact search costs hardly more


def load_faiss() -> Any:
    """Return the library.

    Raises:
        UserError: it is not installed.
    """
    try:
        import faiss  # type: ignore[import-not-found,import-untyped]  # an extra that few need
    except ImportError as error:
        raise UserError("--search faiss needs faiss-cpu: pip install faiss-cpu; without it the search is exact") from error
    return faiss


class IndexTeacher(VectorTeacher):
    """The inner products of unit vectors, searched by an index: a match may be missed, and none has a wrong score.

    The index keeps each vector in half precision, ``2 x dim`` bytes a text. What it finds is scored and ordered by the vectors
    themselves. A query for which it finds too few, or that asks for a large part of the corpus, is searched exactly.

    Args:
        queries: ``(queries, dim)`` float32, may be mapped from a file.
        corpus: ``(texts, dim)`` float32, may be mapped from a file.
        path: the index is read from this file, or made and written to it whole; None to keep it in memory alone.

    Raises:
        UserError: FAISS is not installed.
    """

    def __init__(self, queries: np.ndarray, corpus: np.ndarray, path: Path | None = None) -> None:
        super().__init__(queries, corpus)
        self.faiss = load_faiss()
        if path is not None and path.is_file():
            self.index = self.faiss.read_index(str(path))
        else:
            self.index = self.built()
            if path is not None:
                with replacing(path) as temporary:
                    self.faiss.write_index(self.index, str(temporary))
        self.index.nprobe = max(1, math.ceil(PROBED * self.index.nlist))

    def built(self) -> Any:
        """Return an inverted file of all vectors of the corpus; FAISS draws with a seed of its own, so that it is the same."""
        faiss, (texts, dim) = self.faiss, self.corpus.shape
        lists = max(1, min(int(4 * math.sqrt(texts)), texts // POINTS_A_LIST))
        centres = faiss.IndexFlatIP(dim)
        kind = faiss.ScalarQuantizer.QT_fp16
        index = faiss.IndexIVFScalarQuantizer(centres, dim, lists, kind, faiss.METRIC_INNER_PRODUCT, False)
        step = max(1, texts // (TRAINED_ON * lists))
        index.train(np.ascontiguousarray(self.corpus[::step]))
        for block in self.blocks():
            index.add(block)
        return index

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield the corpus in blocks."""
        for first in range(0, len(self.corpus), ADDED):
            yield np.ascontiguousarray(self.corpus[first : first + ADDED])

    def matches(self, numbers: Sequence[int], count: int) -> Matches:
        """Return matches of some queries, most of the best ones among them."""
        if count >= EXACT_FROM * len(self.corpus):
            return super().matches(numbers, count)
        queries = np.ascontiguousarray(self.queries[list(numbers)])
        _, places = self.index.search(queries, count)
        scores = np.empty(places.shape, np.float32)
        for row, (query, own) in enumerate(zip(queries, places, strict=True)):
            if own.min() < 0:  # the lists that were searched hold fewer
                exact = best_matches(query[None], self.corpus, count)
                places[row], scores[row] = exact.places[0], exact.scores[0]
            else:
                scores[row] = self.corpus[own] @ query
        return in_order(scores, places)
