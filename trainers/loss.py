"""The contrastive loss (InfoNCE): one function, whoever computes the vectors and wherever their gradient goes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def contrastive_loss(
    queries: Tensor, documents: Tensor, excluded: Tensor | None = None, scale: float = 20.0
) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy of each query's positive among all documents, in fp32.

    With ``excluded=None`` this is the published formula: scores ``scale * cosine(query, document)`` over all positives and
    negatives of the batch, label ``i`` for query ``i``.

    Args:
        queries: ``(queries, dim)``; need not be normalised.
        documents: ``(documents, dim)``: first the positive of each query in the queries' order, then the negatives.
        excluded: bool ``(queries, documents)``: pairs that are no negatives; a query's own positive must not be excluded.
        scale: 1 / temperature.

    Returns:
        The loss, and the share of queries whose positive scores highest; both scalars.
    """
    queries, documents = F.normalize(queries.float(), dim=-1), F.normalize(documents.float(), dim=-1)
    scores = scale * queries @ documents.T  # (queries, documents)
    if excluded is not None:
        scores = scores.masked_fill(excluded, float("-inf"))
    target = torch.arange(len(queries), device=scores.device)
    accuracy = (scores.detach().argmax(dim=1) == target).float().mean()
    return F.cross_entropy(scores, target), accuracy


def false_negatives(query_hashes: Tensor, document_hashes: Tensor) -> Tensor:
    """Mark documents that are no negatives: texts equal to the query or to its positive, and other positives of the query.

    Args:
        query_hashes: int64 ``(queries,)`` of ``text_hashes``.
        document_hashes: int64 ``(documents,)``: each query's positive first, then the negatives.

    Returns:
        Bool ``(queries, documents)``; a query's own positive is never marked.
    """
    count = len(query_hashes)
    positives = document_hashes[:count]
    same = (document_hashes[None] == positives[:, None]) | (document_hashes[None] == query_hashes[:, None])
    same[:, :count] |= query_hashes[None] == query_hashes[:, None]  # the query stands in the batch twice
    same[torch.arange(count), torch.arange(count)] = False
    return same


def text_hashes(texts: Sequence[str]) -> Tensor:
    """Return int64 ``(texts,)`` hashes that agree for texts that differ only in case or white space."""
    values = [
        int.from_bytes(hashlib.blake2b(" ".join(text.casefold().split()).encode(), digest_size=8).digest(), "big", signed=True)
        for text in texts
    ]
    return torch.tensor(values, dtype=torch.int64)
