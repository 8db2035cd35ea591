"""Which rows make a batch, and what a batch is: token ids of queries, positives and negatives together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from model_loaders.manifest import Recipe
from model_loaders.prompts import render
from model_loaders.tokenising import TextTokenizer
from trainers.loss import text_hashes


class TripletRows(Dataset[Any]):
    """Rows of an Arrow data set, fetched by list of indices; a process's share of a small last batch may be empty."""

    def __init__(self, rows: Any) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row: dict[str, Any] = self.rows[index]
        return row

    def __getitems__(self, indices: list[int]) -> list[dict[str, Any]]:
        """Return the rows of a batch, as PyTorch's DataLoader asks for them."""
        return [self.rows[index] for index in indices]


class BatchPlan(Sampler[list[int]]):
    """This process's rows of each batch: a function of seed, epoch and step alone, so that a run can be resumed.

    A batch of all processes together is a run of consecutive rows of the epoch's permutation, split evenly among the
    processes. The last batch of an epoch may be smaller, and so may be a process's share of it (down to no row at all).
    """

    def __init__(
        self, rows: int, batch_size: int, *, seed: int, shuffle: bool = True, rank: int = 0, processes: int = 1
    ) -> None:
        self.rows, self.batch_size, self.seed, self.shuffle = rows, batch_size, seed, shuffle
        self.rank, self.processes = rank, processes
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose permutation is used next."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.rows // (self.batch_size * self.processes))

    def __iter__(self) -> Iterator[list[int]]:
        order = list(range(self.rows))
        if self.shuffle:
            # Not seed + epoch: the second epoch of seed 42 would have the order of the first one of seed 43.
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
            order = torch.randperm(self.rows, generator=generator).tolist()
        whole = self.batch_size * self.processes
        for start in range(0, self.rows, whole):
            batch = order[start : start + whole]
            cuts = [len(batch) * rank // self.processes for rank in (self.rank, self.rank + 1)]
            yield batch[cuts[0] : cuts[1]]


@dataclass(frozen=True)
class TripletBatch:
    """One process's share of a batch, tokenised and not padded.

    Attributes:
        ids: token ids of the queries, then the positives, then all negatives, query by query.
        queries: number of queries.
        hashes: int64, one a text, in the order of ``ids``.
        texts: the queries, for messages.
        negatives: int64 ``(queries,)``: how many negatives each query brings.
        in_batch: bool ``(queries,)``: whether other queries' documents are negatives of this one too.
        places: where each query's row stands, for messages.
        truncated: how many queries, and how many documents, were cut to the longest length.
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
        return sum(len(row) for row in self.ids)


class TripletCollator:
    """Renders and tokenises rows ``{query, positive, negatives}`` into a ``TripletBatch``."""

    def __init__(self, tokenizer: TextTokenizer, recipe: Recipe) -> None:
        self.tokenizer, self.recipe = tokenizer, recipe

    def __call__(self, rows: Sequence[dict[str, Any]]) -> TripletBatch:
        """Make one batch; an empty list of rows gives an empty batch."""
        queries = [row["query"] for row in rows]
        positives = [row["positive"] for row in rows]
        negatives = [text for row in rows for text in row["negatives"]]
        recipe = self.recipe
        ids = self.tokenizer.ids([render(text, recipe.query_prompt) for text in queries], recipe.length("query"))
        documents = [render(text, recipe.document_prompt) for text in positives + negatives]
        ids += self.tokenizer.ids(documents, recipe.length("document"))
        return TripletBatch(
            ids,
            len(rows),
            text_hashes(queries + positives + negatives),
            queries,
            negatives=torch.tensor([len(row["negatives"]) for row in rows], dtype=torch.int64),
            in_batch=torch.ones(len(rows), dtype=torch.bool),
        )


def plan_chunks(lengths: Sequence[int], token_budget: int) -> list[list[int]]:
    """Group texts of similar length, so that each group, padded to its longest, stays within a token budget.

    Args:
        lengths: tokens of each text.
        token_budget: padded tokens a group at most; a longer text is a group of its own.

    Returns:
        Groups of indices, longest texts first; together each index once.
    """
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    groups: list[list[int]] = []
    for index in order:
        if not groups or lengths[groups[-1][0]] * (len(groups[-1]) + 1) > token_budget:
            groups.append([])
        groups[-1].append(index)
    return groups
