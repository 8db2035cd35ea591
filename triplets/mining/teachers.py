"""Teachers: what scores a query against a corpus. An embedding model's vectors, or BM25 over words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from common.errors import UserError
from triplets.mining.search import Matches, best_matches


class Teacher(Protocol):
    """Scores queries against the corpus.

    Attributes:
        apart: score of a text that has nothing in common with a query; minus infinity where every score says something.
    """

    apart: float

    def matches(self, numbers: Sequence[int], count: int) -> Matches:
        """Return the best matches of some queries."""

    def scores(self, number: int, places: Sequence[int]) -> np.ndarray:
        """Return the scores of a query with some texts, ``(places,)``."""


class VectorTeacher:
    """The inner products of unit vectors.

    Args:
        queries: ``(queries, dim)`` float32, may be mapped from a file.
        corpus: ``(texts, dim)`` float32, may be mapped from a file.
    """

    apart = -math.inf

    def __init__(self, queries: np.ndarray, corpus: np.ndarray) -> None:
        self.queries, self.corpus = queries, corpus

    def matches(self, numbers: Sequence[int], count: int) -> Matches:
        """Return the best matches of some queries."""
        return best_matches(self.queries[list(numbers)], self.corpus, count)

    def scores(self, number: int, places: Sequence[int]) -> np.ndarray:
        """Return the scores of a query with some texts, ``(places,)``."""
        result: np.ndarray = self.corpus[list(places)] @ self.queries[number]
        return result


class WordTeacher:
    """BM25 by bm25s: Lucene's idf, k1 1.5, b 0.75, words of two or more letters in lower case, no stop words.

    Args:
        queries: texts.
        corpus: texts.

    Raises:
        UserError: bm25s is not installed.
    """

    apart = 0.0  # no word in common

    def __init__(self, queries: Sequence[str], corpus: Sequence[str]) -> None:
        try:
            import bm25s  # type: ignore[import-not-found,import-untyped]  # an extra that few need
        except ImportError as error:
            raise UserError("--teacher bm25 needs bm25s: pip install bm25s") from error
        self.texts = len(corpus)
        self.index = bm25s.BM25()
        words = bm25s.tokenize(list(corpus), stopwords=None, show_progress=False)
        if not any(words.ids):
            raise UserError("bm25 finds no word of two or more letters in the corpus: take a model as the teacher")
        self.index.index(words, show_progress=False)
        self.words = bm25s.tokenize(list(queries), stopwords=None, return_ids=False, show_progress=False)

    def matches(self, numbers: Sequence[int], count: int) -> Matches:
        """Return the best matches of some queries; equal scores by place, those without a common word at the end."""
        scores, places = [], []
        for number in numbers:
            every_score = self._all_scores(number)
            best = np.argsort(-every_score, kind="stable")[:count]
            scores.append(every_score[best])
            places.append(best)
        return Matches(np.stack(scores), np.stack(places))

    def scores(self, number: int, places: Sequence[int]) -> np.ndarray:
        """Return the scores of a query with some texts, ``(places,)``."""
        return self._all_scores(number)[list(places)]

    def _all_scores(self, number: int) -> np.ndarray:
        if not self.words[number]:
            return np.zeros(self.texts, np.float32)
        result: np.ndarray = self.index.get_scores(self.words[number])
        return result
