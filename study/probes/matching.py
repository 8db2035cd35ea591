"""A score without labels: whether the first half of a text finds the second one among those of all texts.

The task is the inverse cloze task's (Lee et al. 2019, arXiv 1906.00300), with halves instead of a sentence and its context.
"""

from __future__ import annotations

import numpy as np

from study.probes.encoder import unit

TIE = 1e-9  # cosines nearer than this are the same


def reciprocal_ranks(queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
    """Return 1 / rank of each query's own document among all by cosine; documents at the same place share their mean rank.

    >>> reciprocal_ranks(np.eye(3), np.eye(3)).tolist()
    [1.0, 1.0, 1.0]

    Args:
        queries: ``(texts, dim)``.
        documents: ``(texts, dim)``, in the same order.
    """
    similarities = unit(queries) @ unit(documents).T
    own = np.diag(similarities)[:, None]
    better = (similarities > own + TIE).sum(axis=1)
    level = (np.abs(similarities - own) <= TIE).sum(axis=1) - 1  # without itself
    ranks: np.ndarray = 1.0 / (1.0 + better + level / 2)
    return ranks


def mean_similarity(vectors: np.ndarray) -> float:
    """Return the mean cosine of all pairs of different rows of ``(texts, dim)``."""
    texts = len(vectors)
    scaled = unit(vectors)
    total = scaled.sum(axis=0)
    return float((total @ total - (scaled * scaled).sum()) / (texts * (texts - 1)))
