"""The contrastive loss (InfoNCE) of vectors; it knows neither the model nor the processes.

A loss is a class whose fields are its hyperparameters and whose call takes a batch (`VectorLoss`). Another objective is
another such class in a file beside this one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint


@dataclass(frozen=True)
class LossBatch:
    """The vectors that share a loss, and facts about their texts.

    Attributes:
        queries: ``(queries, dim)``; need not be normalised.
        documents: ``(documents, dim)``: first the positive of each query in the queries' order, then the negatives.
        query_hashes: int64 ``(queries,)`` of `text_hashes`, needed to find duplicates.
        document_hashes: int64 ``(documents,)``.
        owners: int64 ``(documents,)``: the query that each document came with.
        scores: fp32 ``(documents,)``: a teacher's score of each document with the query that it came with; None without one.
        in_batch: bool ``(queries,)``: whether documents that came with other queries are negatives of this one too; None means
            that they are for every query. Needs ``owners``.
    """

    queries: Tensor
    documents: Tensor
    query_hashes: Tensor | None = None
    document_hashes: Tensor | None = None
    owners: Tensor | None = None
    in_batch: Tensor | None = None
    scores: Tensor | None = None

    def reversed(self) -> LossBatch:
        """Return the batch in which every positive looks for its query among all queries."""
        count = len(self.queries)
        positive_hashes = None if self.document_hashes is None else self.document_hashes[:count]
        owners = torch.arange(count, device=self.queries.device)
        return LossBatch(self.documents[:count], self.queries, positive_hashes, self.query_hashes, owners, self.in_batch)


@dataclass(frozen=True)
class LossResult:
    """Scalars; only the loss has a gradient.

    Attributes:
        loss: mean over the queries.
        accuracy: share of queries whose positive scores highest among its candidates.
        excluded: share left out as false negatives, among the pairs of a query and a candidate other than its positive.
    """

    loss: Tensor
    accuracy: Tensor
    excluded: Tensor


class VectorLoss(Protocol):
    """A loss of a batch's vectors."""

    def __call__(self, batch: LossBatch) -> LossResult:
        """Return the loss of a batch; with no query in it, zeros."""


@dataclass(frozen=True)
class Cut:
    """The first numbers of every vector, and the weight of their loss.

    Attributes:
        width: number of numbers; None for all.
        weight: of the loss in the sum over the cuts.
    """

    width: int | None = None
    weight: float = 1.0


WHOLE = (Cut(),)


@dataclass(frozen=True)
class UnitVectors:
    """The vectors of a batch after a cut, each scaled to unit length in fp32.

    Attributes:
        queries: ``(queries, width)``.
        documents: ``(documents, width)``.
        weight: of their loss.
    """

    queries: Tensor
    documents: Tensor
    weight: float

    @classmethod
    def of(cls, batch: LossBatch, cut: Cut) -> UnitVectors:
        """Cut a batch's vectors."""
        queries = F.normalize(batch.queries[:, : cut.width].float(), dim=-1)
        documents = F.normalize(batch.documents[:, : cut.width].float(), dim=-1)
        return cls(queries, documents, cut.weight)


@dataclass(frozen=True)
class PairMasks:
    """What some queries may be compared with, whatever the vectors are; all bool ``(rows, documents)``.

    Attributes:
        is_positive: a query and its positive.
        candidates: documents that a query is compared with.
        duplicates: documents that are no negatives because of their text.
    """

    is_positive: Tensor
    candidates: Tensor
    duplicates: Tensor


Term = Literal["query_query", "document_query", "document_document", "positive_positive"]
Hardness = Literal["in_batch", "hard", "all"]


@dataclass(frozen=True)
class ContrastiveLoss:
    """Mean cross-entropy of each query's positive among its candidates, in fp32.

    The scores are ``scale * cosine(query, document)``. A query's candidates are its positive, its negatives, and the documents
    of all other queries unless ``in_batch`` forbids them. With ``mask_duplicates=False`` and the other defaults this is the
    formula of the published code (arXiv 2409.02727), duplicates included.

    >>> import torch
    >>> vectors = torch.eye(4)
    >>> ContrastiveLoss(mask_duplicates=False)(LossBatch(queries=vectors, documents=vectors)).accuracy.item()
    1.0

    Attributes:
        scale: 1 / temperature.
        mask_duplicates: leave out texts equal to the query or to its positive, and other positives of the query.
        similarity_margin: leave out documents whose cosine with the query exceeds the positive's by more than this; they
            are probably unlabelled positives (Qwen3-Embedding, arXiv 2506.05176, uses 0.1). A negative margin also leaves
            out those that come close from below. None keeps them all.
        both_directions: average with the loss of each positive looking for its query among all queries (arXiv 2310.19923);
            a query without in-batch negatives has no such term.
        terms: more scores in the denominator, beside those of the query with documents: of the query with other queries, of the
            positive with all queries, with documents that came with other queries, or with other positives. With the first
            three it is GTE's improved contrastive loss (arXiv 2308.03281, section 3.2). A query without in-batch negatives has
            none of them.
        hardness: negatives' scores are raised by so much times their cosine, without a gradient of that (arXiv 2503.04812,
            equation 5).
        hardness_of: which negatives: those that came with other queries, those that came with the query, or all.
        block_scores: largest number of scores in memory at once; more are computed in blocks of rows, and again for the
            gradient.
    """

    scale: float = 20.0
    mask_duplicates: bool = True
    similarity_margin: float | None = None
    both_directions: bool = False
    terms: tuple[Term, ...] = ()
    hardness: float = 0.0
    hardness_of: Hardness = "in_batch"
    block_scores: int = 2**22

    def __call__(self, batch: LossBatch) -> LossResult:
        """Return the loss of a batch; with no query in it, zeros."""
        return self.of_cuts(batch, WHOLE)

    def of_cuts(self, batch: LossBatch, cuts: Sequence[Cut]) -> LossResult:
        """Return the weighted sum of the losses of a batch's cut vectors; the figures are those of the first cut."""
        with torch.autocast(batch.queries.device.type, enabled=False):
            result = self._direction(batch, cuts)
            if not self.both_directions:
                return result
            back = self._direction(batch.reversed(), cuts)
            return LossResult(result.loss + back.loss, result.accuracy, result.excluded)

    def _direction(self, batch: LossBatch, cuts: Sequence[Cut]) -> LossResult:
        """Return the loss of each query looking for its positive."""
        vectors = [UnitVectors.of(batch, cut) for cut in cuts]
        queries, documents = vectors[0].queries, vectors[0].documents
        columns = len(documents) + sum(len(documents if term == "document_document" else queries) for term in self.terms)
        size = max(1, self.block_scores // max(1, columns * len(cuts)))
        starts = range(0, len(queries), size)
        blocks = [torch.arange(start, min(start + size, len(queries)), device=queries.device) for start in starts]
        # Of no query the sum is 0, with a gradient of 0: an empty share takes part in the step like any other.
        totals = queries.new_zeros(4) + 0.0 * (queries[:0].sum() + documents[:0].sum())
        for rows in blocks:
            if len(blocks) == 1:
                totals = totals + self._block(vectors, rows, batch)
            else:  # a block's scores are computed again for the gradient, so that only one block is ever in memory
                arguments = (vectors, rows, batch)
                totals = totals + checkpoint(self._block, *arguments, use_reentrant=False, preserve_rng_state=False)
        loss, correct, left_out, pairs = totals
        count = max(1, len(queries))
        return LossResult(loss / count, correct.detach() / count, left_out.detach() / pairs.detach().clamp(min=1))

    def _block(self, vectors: Sequence[UnitVectors], rows: Tensor, batch: LossBatch) -> Tensor:
        """Return sums over some queries: loss, queries answered correctly, pairs left out as false negatives, all pairs."""
        masks = self._masks(rows, batch)
        first, *others = vectors
        sums = self._sums(first, rows, batch, masks)
        if not others and first.weight == 1.0:
            return sums
        loss = first.weight * sums[0]
        for cut in others:
            loss = loss + cut.weight * self._sums(cut, rows, batch, masks)[0]
        return torch.cat([loss[None], sums[1:].detach()])

    def _masks(self, rows: Tensor, batch: LossBatch) -> PairMasks:
        """Return what some queries may be compared with."""
        is_positive = torch.zeros(len(rows), len(batch.documents), dtype=torch.bool, device=rows.device)
        is_positive[torch.arange(len(rows), device=rows.device), rows] = True
        candidates = torch.ones_like(is_positive)
        if batch.in_batch is not None:
            assert batch.owners is not None
            candidates = batch.in_batch[rows, None] | (batch.owners[None] == rows[:, None])
        duplicates = torch.zeros_like(is_positive)
        if self.mask_duplicates:
            assert batch.query_hashes is not None and batch.document_hashes is not None
            duplicates = false_negatives(batch.query_hashes, batch.document_hashes, rows)
        return PairMasks(is_positive, candidates, duplicates)

    def _sums(self, vectors: UnitVectors, rows: Tensor, batch: LossBatch, masks: PairMasks) -> Tensor:
        """Return the sums of `_block` for the vectors of one cut."""
        cosines = vectors.queries[rows] @ vectors.documents.T  # (rows, documents)
        false = masks.duplicates
        if self.similarity_margin is not None:
            positive = cosines.detach().gather(1, rows[:, None])
            false = false | ((cosines.detach() > positive + self.similarity_margin) & ~masks.is_positive)

        scores = self.scale * cosines
        if self.hardness:
            scores = scores + self.hardness * cosines.detach() * self._hard(rows, batch, masks)
        scores = scores.masked_fill(~(masks.candidates & ~false), float("-inf"))
        logits = torch.cat([scores, *self._more(vectors, rows, batch, masks)], dim=1) if self.terms else scores
        losses = F.cross_entropy(logits, rows, reduction="none")
        if self.both_directions:  # half of each; a query without in-batch negatives has this direction only
            losses = losses * (0.5 if batch.in_batch is None else 1.0 - 0.5 * batch.in_batch[rows].float())
        correct = (scores.detach().argmax(dim=1) == rows).sum()
        left_out = (masks.candidates & false).sum()
        pairs = (masks.candidates & ~masks.is_positive).sum()
        return torch.stack([losses.sum(), correct.float(), left_out.float(), pairs.float()])

    def _hard(self, rows: Tensor, batch: LossBatch, masks: PairMasks) -> Tensor:
        """Mark the negatives whose scores are raised, bool ``(rows, documents)``."""
        if self.hardness_of == "all":
            return ~masks.is_positive
        assert batch.owners is not None
        own = batch.owners[None] == rows[:, None]
        return ~own if self.hardness_of == "in_batch" else own & ~masks.is_positive

    def _more(self, vectors: UnitVectors, rows: Tensor, batch: LossBatch, masks: PairMasks) -> list[Tensor]:
        """Return the scores of the other terms, -inf where a pair is no negative."""
        count = len(batch.queries)
        own = masks.is_positive[:, :count]
        same = torch.zeros_like(own)
        if self.mask_duplicates:
            same = same_meaning(batch, rows)
        queries, positives = vectors.queries[rows], vectors.documents[rows]
        more = []
        for term in self.terms:
            if term == "document_document":
                assert batch.owners is not None
                others, hidden = vectors.documents, (batch.owners[None] == rows[:, None]) | masks.duplicates
            elif term == "positive_positive":
                others, hidden = vectors.documents[:count], own | masks.duplicates[:, :count]
            else:  # GTE's sum of a positive with the queries has its own query too
                others, hidden = vectors.queries, same | own if term == "query_query" else same & ~own
            if batch.in_batch is not None:
                hidden = hidden | ~batch.in_batch[rows, None]
            left = queries if term == "query_query" else positives
            more.append((self.scale * (left @ others.T)).masked_fill(hidden, float("-inf")))
        return more


def same_meaning(batch: LossBatch, rows: Tensor) -> Tensor:
    """Mark queries that are no negatives of some query or its positive, by their text or their positive's.

    Returns:
        Bool ``(rows, queries)``.
    """
    assert batch.query_hashes is not None and batch.document_hashes is not None
    count = len(batch.queries)
    queries, positives = batch.query_hashes[rows, None], batch.document_hashes[rows, None]
    marked = torch.zeros(len(rows), count, dtype=torch.bool, device=rows.device)
    for texts in (batch.query_hashes, batch.document_hashes[:count]):
        marked = marked | (texts[None] == queries) | (texts[None] == positives)
    return marked


def false_negatives(query_hashes: Tensor, document_hashes: Tensor, rows: Tensor) -> Tensor:
    """Mark documents that are no negatives: texts equal to the query or to its positive, and other positives of the query.

    Args:
        query_hashes: int64 ``(queries,)`` of ``text_hashes``.
        document_hashes: int64 ``(documents,)``: each query's positive first, then the negatives.
        rows: int64 ``(rows,)``: the queries to look at.

    Returns:
        Bool ``(rows, documents)``; a query's own positive is never marked.
    """
    count = len(query_hashes)
    queries, positives = query_hashes[rows, None], document_hashes[rows, None]
    same = (document_hashes[None] == positives) | (document_hashes[None] == queries)
    same[:, :count] |= query_hashes[None] == queries  # the query stands in the batch twice
    same[torch.arange(len(rows), device=rows.device), rows] = False
    return same
