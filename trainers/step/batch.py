"""A batch: token ids of queries, positives and negatives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from common.text_hash import text_hashes
from model_loaders.layouts.manifest import Recipe
from model_loaders.text.prompts import Role, render
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
    """

    ids: list[list[int]]
    queries: int
    hashes: Tensor
    texts: list[str]
    negatives: Tensor
    in_batch: Tensor
    places: list[str] = field(default_factory=list)
    truncated: tuple[int, int] = (0, 0)

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
    """

    def __init__(self, tokenizer: TextTokenizer, recipe: Recipe) -> None:
        self.tokenizer, self.recipe = tokenizer, recipe

    def __call__(self, rows: Sequence[dict[str, Any]]) -> TripletBatch:
        """Make one batch; an empty list of rows gives an empty batch."""
        queries: list[str] = []
        positives: list[str] = []
        negatives: list[str] = []
        rendered: dict[str, list[str]] = {"query": [], "positive": [], "negative": []}
        for row in rows:
            query_prompt, document_prompt = self._prompt(row, "query"), self._prompt(row, "document")
            queries.append(row["query"])
            positives.append(row["positive"])
            negatives += row["negatives"]
            rendered["query"].append(render(row["query"], query_prompt))
            rendered["positive"].append(render(row["positive"], document_prompt))
            rendered["negative"] += [render(text, document_prompt) for text in row["negatives"]]
        query_ids, cut_queries = self._tokenise(rendered["query"], "query")
        document_ids, cut_documents = self._tokenise(rendered["positive"] + rendered["negative"], "document")
        counts = [len(row["negatives"]) for row in rows]
        in_batch = [row.get("in_batch", True) for row in rows]
        return TripletBatch(
            ids=query_ids + document_ids,
            queries=len(rows),
            hashes=torch.from_numpy(text_hashes(queries + positives + negatives)),
            texts=queries,
            negatives=torch.tensor(counts, dtype=torch.int64),
            in_batch=torch.tensor(in_batch, dtype=torch.bool),
            places=[row.get("place", "") for row in rows],
            truncated=(cut_queries, cut_documents),
        )

    def _prompt(self, row: dict[str, Any], role: Role) -> str:
        own: str | None = row.get(f"{role}_prompt")
        return self.recipe.prompt(role) if own is None else own

    def _tokenise(self, texts: Sequence[str], role: Role) -> tuple[list[list[int]], int]:
        """Return the ids of rendered texts, and the number of texts that were cut."""
        ids, cut = self.tokenizer.tokenise(texts, self.recipe.length(role))
        return ids, sum(cut)
