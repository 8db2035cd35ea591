"""The contrastive loss (InfoNCE): one function, whoever computes the vectors and wherever their gradient goes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint


@dataclass(frozen=True)
class LossBatch:
    """The vectors that share a loss, and what is known of their texts.

    Attributes:
        queries: ``(queries, dim)``; need not be normalised.
        documents: ``(documents, dim)``: first the positive of each query in the queries' order, then the negatives.
        query_hashes: int64 ``(queries,)`` of `text_hashes`, where duplicates shall be found.
        document_hashes: int64 ``(documents,)``.
        owners: int64 ``(documents,)``: with which query each document came.
        in_batch: bool ``(queries,)``: whether documents that came with other queries are negatives of this one too; None: of
            every one. ``owners`` is needed with it.
    """

    queries: Tensor
    documents: Tensor
    query_hashes: Tensor | None = None
    document_hashes: Tensor | None = None
    owners: Tensor | None = None
    in_batch: Tensor | None = None

    def reversed(self) -> LossBatch:
        """Return the batch in which every positive looks for its query among all queries."""
        count = len(self.queries)
        positive_hashes = None if self.document_hashes is None else self.document_hashes[:count]
        owners = torch.arange(count, device=self.queries.device)
        return LossBatch(self.documents[:count], self.queries, positive_hashes, self.query_hashes, owners, self.in_batch)


@dataclass(frozen=True)
class LossResult:
    """Scalars, without a gradient but for the loss.

    Attributes:
        loss: mean over the queries.
        accuracy: share of queries whose positive scores highest among its candidates.
        excluded: share of the pairs of a query and a candidate, its positive apart, that were left out as false negatives.
    """

    loss: Tensor
    accuracy: Tensor
    excluded: Tensor


@dataclass(frozen=True)
class ContrastiveLoss:
    """Mean cross-entropy of each query's positive among its candidates, in fp32.

    The scores are ``scale * cosine(query, document)``; a query's candidates are its positive, its negatives, and (unless
    ``in_batch`` says no) the documents of all other queries. With ``mask_duplicates=False`` and nothing else set this is the
    formula of the published code (arXiv 2409.02727), duplicates included.

    Attributes:
        scale: 1 / temperature.
        mask_duplicates: leave out texts equal to the query or to its positive, and other positives of the query.
        similarity_margin: leave out documents whose cosine with the query is above the positive's by more than this; they
            are probably unlabelled positives (Qwen3-Embedding, arXiv 2506.05176, uses 0.1). A negative margin leaves out
            those that come close from below, too. None: keep them.
        both_directions: average with the loss of each positive looking for its query among all queries (arXiv 2310.19923);
            a query without in-batch negatives has no such term.
        block_scores: largest number of scores that are in memory at once; more are computed in blocks of rows, and once
            more for the gradient.
    """

    scale: float = 20.0
    mask_duplicates: bool = True
    similarity_margin: float | None = None
    both_directions: bool = False
    block_scores: int = 2**22

    def __call__(self, batch: LossBatch) -> LossResult:
        """Return the loss of a batch; with no query in it, zeros."""
        with torch.autocast(batch.queries.device.type, enabled=False):
            result = self._direction(batch)
            if not self.both_directions:
                return result
            back = self._direction(batch.reversed())
            return LossResult(result.loss + back.loss, result.accuracy, result.excluded)

    def _direction(self, batch: LossBatch) -> LossResult:
        queries, documents = F.normalize(batch.queries.float(), dim=-1), F.normalize(batch.documents.float(), dim=-1)
        rows = max(1, self.block_scores // max(1, len(documents)))
        blocks = [torch.arange(start, min(start + rows, len(queries))) for start in range(0, len(queries), rows)]
        # Of no query it is 0, with a gradient of 0: an empty share takes part in the step like any other.
        totals = queries.new_zeros(4) + 0.0 * (queries[:0].sum() + documents[:0].sum())
        for block in blocks:
            # A block's scores are not kept for the gradient but computed again, so that only one block is ever in memory.
            arguments = (queries, documents, block.to(queries.device), batch)
            totals = totals + (
                self._block(*arguments)
                if len(blocks) == 1
                else checkpoint(self._block, *arguments, use_reentrant=False, preserve_rng_state=False)
            )
        loss, correct, left_out, pairs = totals
        count = max(1, len(queries))
        return LossResult(loss / count, correct.detach() / count, left_out.detach() / pairs.detach().clamp(min=1))

    def _block(self, queries: Tensor, documents: Tensor, rows: Tensor, batch: LossBatch) -> Tensor:
        """Return of some queries' rows: summed loss, correct ones, pairs left out as false negatives, all pairs."""
        cosines = queries[rows] @ documents.T  # (rows, documents)
        own = torch.zeros_like(cosines, dtype=torch.bool)
        own[torch.arange(len(rows), device=rows.device), rows] = True

        candidates = torch.ones_like(own)
        if batch.in_batch is not None:
            assert batch.owners is not None
            candidates = batch.in_batch[rows, None] | (batch.owners[None] == rows[:, None])
        false = torch.zeros_like(own)
        if self.mask_duplicates:
            assert batch.query_hashes is not None and batch.document_hashes is not None
            false = false_negatives(batch.query_hashes, batch.document_hashes, rows)
        if self.similarity_margin is not None:
            positive = cosines.detach().gather(1, rows[:, None])
            false = false | ((cosines.detach() > positive + self.similarity_margin) & ~own)
        kept = candidates & ~false

        scores = (self.scale * cosines).masked_fill(~kept, float("-inf"))
        losses = F.cross_entropy(scores, rows, reduction="none")
        if self.both_directions:  # half of each; a query that stands alone has this one only
            losses = losses * (0.5 if batch.in_batch is None else 1.0 - 0.5 * batch.in_batch[rows].float())
        loss = losses.sum()
        correct = (scores.detach().argmax(dim=1) == rows).sum()
        return torch.stack(
            [loss, *(count.float() for count in (correct, (candidates & false).sum(), (candidates & ~own).sum()))]
        )


def false_negatives(query_hashes: Tensor, document_hashes: Tensor, rows: Tensor) -> Tensor:
    """Mark documents that are no negatives: texts equal to the query or to its positive, and other positives of the query.

    Args:
        query_hashes: int64 ``(queries,)`` of ``text_hashes``.
        document_hashes: int64 ``(documents,)``: each query's positive first, then the negatives.
        rows: int64 ``(rows,)``: of these queries.

    Returns:
        Bool ``(rows, documents)``; a query's own positive is never marked.
    """
    count = len(query_hashes)
    queries, positives = query_hashes[rows, None], document_hashes[rows, None]
    same = (document_hashes[None] == positives) | (document_hashes[None] == queries)
    same[:, :count] |= query_hashes[None] == queries  # the query stands in the batch twice
    same[torch.arange(len(rows), device=rows.device), rows] = False
    return same
