"""Measures of ranked documents, a query each, as trec_eval computes them."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from comparison.errors import ComparisonError

NAME = re.compile(r"^(ndcg|map|recall|precision|mrr)_at_([1-9][0-9]*)$")


def check_measure(name: str) -> str:
    """Return a measure's name.

    Raises:
        ComparisonError: there is no such measure.
    """
    if not NAME.match(name):
        raise ComparisonError(f"--metric {name!r}: expected ndcg, map, recall, precision or mrr with a cut, such as ndcg_at_10")
    return name


def score_query(name: str, documents: Mapping[str, float], grades: Mapping[str, int]) -> float:
    """Return a measure of one query.

    Documents are ranked by score, those with equal scores by their ids from the last to the first, as trec_eval does. Grades
    above 0 are relevant; the gain of nDCG is the grade itself, discounted by log2(rank + 1).

    Args:
        name: such as ``ndcg_at_10``.
        documents: scores of a system.
        grades: judgements.

    >>> score_query("ndcg_at_10", {"d1": 0.9, "d2": 0.8}, {"d2": 1})
    0.6309297535714575
    """
    match = NAME.match(name)
    assert match is not None, name
    kind, cut = match[1], int(match[2])
    ranked = sorted(documents, key=lambda document: (documents[document], document), reverse=True)[:cut]
    gains = np.array([max(0, grades.get(document, 0)) for document in ranked], dtype=np.float64)
    ideal = np.sort([grade for grade in grades.values() if grade > 0])[::-1].astype(np.float64)
    hits = gains > 0
    if not ideal.size:
        return 0.0
    if kind == "ndcg":
        return float(_discounted(gains) / _discounted(ideal[:cut]))
    if kind == "recall":
        return float(hits.sum() / ideal.size)
    if kind == "precision":
        return float(hits.sum() / cut)
    if kind == "mrr":
        return float(1 / (1 + hits.argmax())) if hits.any() else 0.0
    precisions = np.cumsum(hits) / np.arange(1, hits.size + 1)
    return float(precisions[hits].sum() / ideal.size)


def _discounted(gains: np.ndarray) -> float:
    return float((gains / np.log2(np.arange(2, gains.size + 2))).sum())
