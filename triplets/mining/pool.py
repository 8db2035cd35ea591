"""The queries and the corpus of a mining, and which texts are known to answer which query."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from common.text_hash import text_hashes
from triplets.mining.rules import OWN_TEXT, POSITIVE
from triplets.triplet import Triplet


@dataclass(frozen=True)
class Pool:
    """Distinct queries and distinct corpus texts.

    Attributes:
        queries: distinct texts, by first appearance.
        corpus: distinct texts: those of positives and negatives by first appearance, then those of other files.
        number_of: place of each query in ``queries``.
        positives: by query, the places of its known positives: those of all rows with the same query.
        excluded: by query, the places that cannot be its negatives, with the reason: known positives and its own text.
        left_out: bool ``(texts,)``: those that are nobody's negatives, kept once for all queries.
    """

    queries: list[str]
    corpus: list[str]
    number_of: dict[str, int]
    positives: list[list[int]]
    excluded: list[dict[int, str]]
    left_out: np.ndarray

    def barred(self, number: int) -> int:
        """Return how many texts cannot be a query's negatives."""
        own = self.excluded[number]
        return len(own) + int(self.left_out.sum()) - int(self.left_out[list(own)].sum())


def make_pool(rows: Iterable[Triplet], more: Iterable[str] = (), *, variants: bool = True, own_text: bool = True) -> Pool:
    """Make the pool of some triplets and of further texts.

    Args:
        rows: triplets; their positives and negatives join the corpus.
        more: texts of the corpus beside them.
        variants: texts that differ only in case or white space count as the same, for queries, positives and the query's own
            text; else only equal texts.
        own_text: a query's own text cannot be its negative.
    """
    number_of: dict[str, int] = {}
    place_of: dict[str, int] = {}
    pairs: list[tuple[int, int]] = []
    for row in rows:
        number = number_of.setdefault(row.query, len(number_of))
        pairs.append((number, place_of.setdefault(row.positive, len(place_of))))
        for negative in row.negatives:
            place_of.setdefault(negative, len(place_of))
    for text in more:
        place_of.setdefault(text, len(place_of))
    queries, corpus = list(number_of), list(place_of)
    query_keys, corpus_keys = _keys(queries, variants), _keys(corpus, variants)
    answers: dict[object, dict[int, None]] = {}  # by key of the query: places of its positives, in order
    for number, place in pairs:
        answers.setdefault(query_keys[number], {})[place] = None
    positives = [list(answers[key]) for key in query_keys]
    places_of: dict[object, list[int]] = {}
    for place, key in enumerate(corpus_keys):
        places_of.setdefault(key, []).append(place)
    excluded = []
    for key, known in zip(query_keys, positives, strict=True):
        reasons = dict.fromkeys(places_of.get(key, ()), OWN_TEXT) if own_text else {}
        for place in known:
            reasons.update(dict.fromkeys(places_of[corpus_keys[place]], POSITIVE))
        excluded.append(reasons)
    return Pool(queries, corpus, number_of, positives, excluded, np.zeros(len(corpus), dtype=bool))


def _keys(texts: list[str], variants: bool) -> list[object]:
    """Return what is equal where two texts count as the same."""
    if variants:
        return list(text_hashes(texts).tolist())
    return list(texts)
