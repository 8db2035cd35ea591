"""A batch: token ids of queries, positives and negatives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from common.errors import UserError
from common.text_hash import text_hashes
from model_loaders.text.prompts import Role
from model_loaders.text.recipe import Recipe
from model_loaders.text.render import Tokens, read_texts
from model_loaders.text.tokenizer import TextTokenizer


@dataclass(frozen=True)
class TripletBatch:
    """One process's share of a batch, tokenised and not padded.

    Attributes:
        ids: token ids of the queries, then the positives, then all negatives, query by query.
        queries: number of queries.
        hashes: int64 ``(texts,)``, in the order of ``ids``.
        texts: the queries, for messages.
        negatives: int64 ``(queries,)``: number of negatives that came with each query.
        in_batch: bool ``(queries,)``: whether other queries' documents are negatives of this one too.
        places: ``file:line`` of each query's row, for messages.
        truncated: number of queries and of documents that were cut to the longest length.
        scores: fp32 ``(documents,)``: a teacher's, in the order of ``ids``; None where it is not asked for.
        pooled: the positions of each text that are pooled, in the order of ``ids``; ``None`` where all are.
    """

    ids: list[list[int]]
    queries: int
    hashes: Tensor
    texts: list[str]
    negatives: Tensor
    in_batch: Tensor
    places: list[str] = field(default_factory=list)
    truncated: tuple[int, int] = (0, 0)
    pooled: list[Sequence[int]] | None = None
    scores: Tensor | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def tokens(self) -> int:
        """Real tokens, without padding."""
        return sum(map(len, self.ids))


class TripletCollator:
    """Renders and tokenises rows ``{query, positive, negatives}`` into a ``TripletBatch``.

    A row may bring the prompts of its data set (``query_prompt``, ``document_prompt``; None or missing: the recipe's),
    ``in_batch`` (missing: true) and its ``place``.

    Attributes:
        with_scores: whether every row must bring a teacher's ``scores``.
        own_positive: every query is its own positive (SimCSE); other texts of the rows are not read.
    """

    def __init__(
        self, tokenizer: TextTokenizer, recipe: Recipe, *, with_scores: bool = False, own_positive: bool = False
    ) -> None:
        self.tokenizer, self.recipe = tokenizer, recipe
        self.with_scores, self.own_positive = with_scores, own_positive

    def __call__(self, rows: Sequence[dict[str, Any]]) -> TripletBatch:
        """Make one batch; an empty list of rows gives an empty batch."""
        rows = self.as_read(rows)
        queries: list[str] = []
        positives: list[str] = []
        negatives: list[str] = []
        query_prompts: list[str] = []
        document_prompts: list[str] = []
        negative_prompts: list[str] = []
        for row in rows:
            queries.append(row["query"])
            positives.append(row["positive"])
            negatives += row["negatives"]
            query_prompts.append(self._prompt(row, "query"))
            document_prompts.append(self._prompt(row, "document"))
            negative_prompts += [document_prompts[-1]] * len(row["negatives"])
        query_tokens = self._read(queries, query_prompts, "query")
        document_tokens = self._read(positives + negatives, document_prompts + negative_prompts, "document")
        counts = [len(row["negatives"]) for row in rows]
        in_batch = [row.get("in_batch", True) for row in rows]
        return TripletBatch(
            ids=query_tokens.ids + document_tokens.ids,
            queries=len(rows),
            hashes=torch.from_numpy(text_hashes(queries + positives + negatives)),
            texts=queries,
            negatives=torch.tensor(counts, dtype=torch.int64),
            in_batch=torch.tensor(in_batch, dtype=torch.bool),
            places=[row.get("place", "") for row in rows],
            truncated=(sum(query_tokens.cut), sum(document_tokens.cut)),
            pooled=joined(query_tokens.pooled, document_tokens.pooled),
            scores=teacher_scores(rows) if self.with_scores else None,
        )

    def as_read(self, rows: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
        """Return the rows with the texts that are read of them."""
        return [{**row, "positive": row["query"], "negatives": []} for row in rows] if self.own_positive else rows

    def of_pairs(self) -> TripletCollator:
        """Return a collator that reads each row's own positive and negatives, as an evaluation does."""
        return TripletCollator(self.tokenizer, self.recipe, with_scores=self.with_scores)

    def _prompt(self, row: dict[str, Any], role: Role) -> str:
        own: str | None = row.get(f"{role}_prompt")
        return self.recipe.prompt(role) if own is None else own

    def _read(self, texts: Sequence[str], prompts: Sequence[str], role: Role) -> Tokens:
        return read_texts(self.tokenizer, self.recipe, texts, prompts, self.recipe.length(role))


def unscored(place: str) -> UserError:
    """Return the error of a row at a place that has no teacher scores."""
    return UserError(
        f"{place}: no teacher scores that can be used: --distillation needs the key 'scores' in every row, a list with a "
        "finite number for the positive and for each negative"
    )


def teacher_scores(rows: Sequence[dict[str, Any]]) -> Tensor:
    """Return the teacher's scores of a batch's documents: of all positives, then of all negatives.

    Raises:
        UserError: a row has none.
    """
    positives: list[float] = []
    negatives: list[float] = []
    for row in rows:
        scores = row.get("scores")
        if not scores:
            raise unscored(row.get("place", "a row"))
        positives.append(scores[0])
        negatives += scores[1:]
    return torch.tensor(positives + negatives, dtype=torch.float32)


def joined(queries: list[Sequence[int]] | None, documents: list[Sequence[int]] | None) -> list[Sequence[int]] | None:
    """Return the pooled positions of queries and documents in one list; ``None`` where all are pooled."""
    return None if queries is None or documents is None else queries + documents
