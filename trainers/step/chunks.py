"""Texts of similar length in chunks: groups that go through the backbone together, padded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from model_loaders.text.batch import Batch
from model_loaders.text.tokenizer import TextTokenizer


@dataclass(frozen=True)
class Grouping:
    """How texts are grouped by length for the forward passes, which saves padding.

    Attributes:
        tokens: largest number of padded tokens in a group, unless ``chunk_tokens`` sets it.
        overhead: fixed cost of a group in tokens, added to its padded tokens.
    """

    tokens: int
    overhead: int


LEAST_PADDING = 0.03  # of a group, that packing pays for
CPU_GROUPING = Grouping(tokens=2048, overhead=128)  # larger groups leave the cache (docs/performance.md)


def gpu_grouping(launch: int) -> Grouping:
    """Return the grouping for a device whose forward pass has the fixed cost of ``launch`` tokens.

    Without gradient caching every group's graph is kept anyway, so large groups cost little memory; but padding is kept, too.
    """
    return Grouping(tokens=max(16384, 2 * launch), overhead=min(launch, 4096))


@dataclass(frozen=True)
class PaddedChunks:
    """Texts as padded chunks.

    Attributes:
        chunks: in the order of the forward passes, longest texts first.
        order: int64 ``(rows,)``: the number of the text in each row of the chunks.
    """

    chunks: list[Batch]
    order: Tensor

    def restore(self, rows: Tensor) -> Tensor:
        """Sort the chunks' rows, joined, into the order of the texts."""
        return rows[torch.argsort(self.order)]

    def split(self, rows: Tensor) -> tuple[Tensor, ...]:
        """Return the rows of each chunk, given those of the texts in their order; dummy texts get zeros."""
        sizes = [len(chunk.input_ids) for chunk in self.chunks]
        parts: tuple[Tensor, ...] = with_zero_rows(rows, len(self.order))[self.order].split(sizes)
        return parts


@dataclass(frozen=True)
class Chunker:
    """Groups the texts of a batch by length, and pads each group to a chunk.

    Attributes:
        tokenizer: pads the groups.
        chunk_tokens: padded tokens whose graph is kept at once (gradient caching), or ``None`` for all.
        causal: whether attention is causal, so that padding needs no mask.
        grouping: the size of the groups.
        packs_up_to: tokens of a text that the base LLM computes in one row with others, without padding
            (`model_loaders.backbone.packing`); 0 for padded groups.
        row_tokens: padded tokens of the groups that are packed into one row at most; 0 for a row of each group.
    """

    tokenizer: TextTokenizer
    chunk_tokens: int | None = None
    causal: bool = False
    grouping: Grouping = CPU_GROUPING
    packs_up_to: int = 0
    row_tokens: int = 0

    def groups(self, lengths: Sequence[int], *, costly_passes: bool = False) -> list[list[int]]:
        """Group texts of these lengths for the forward passes.

        Args:
            lengths: tokens of each text.
            costly_passes: make as few groups as possible, because each forward pass gathers the parameters first.

        Returns:
            Groups of indices, longest texts first.
        """
        budget = self.chunk_tokens or self.grouping.tokens
        if costly_passes:
            return plan_chunks(lengths, budget, overhead=budget)
        groups = plan_chunks(lengths, budget, self.grouping.overhead)
        if not self.needs_caching(lengths, groups):
            return groups
        tight = plan_chunks(lengths, budget, CPU_GROUPING.overhead)  # less padding may spare the second pass
        return groups if self.needs_caching(lengths, tight) else tight

    def needs_caching(self, lengths: Sequence[int], groups: Sequence[Sequence[int]]) -> bool:
        """Whether the texts exceed the budget; a single group never does, as one text at least is encoded at once."""
        return self.chunk_tokens is not None and len(groups) > 1 and sum(padded_sizes(lengths, groups)) > self.chunk_tokens

    def packs(self, lengths: Sequence[int]) -> bool:
        """Whether the base LLM computes a group of texts of these lengths, the longest first, without padding."""
        padded = lengths[0] * len(lengths)
        return lengths[0] <= self.packs_up_to and sum(lengths) <= (1 - LEAST_PADDING) * padded

    def computed_tokens(self, lengths: Sequence[int], groups: Sequence[Sequence[int]]) -> list[int]:
        """Return the tokens of each chunk that the base LLM computes: with padding, unless it packs the chunk."""
        sizes = []
        for parts in self._joined(lengths, groups):
            of_chunk = [lengths[index] for part in parts for index in part]
            sizes.append(sum(of_chunk) if self.packs(of_chunk) else of_chunk[0] * len(of_chunk))
        return sizes

    def pad(
        self,
        ids: list[list[int]],
        groups: list[list[int]],
        device: torch.device,
        *,
        pooled: list[Sequence[int]] | None = None,
        at_least: int = 1,
    ) -> PaddedChunks:
        """Pad each group of texts, or some that are packed together, to a chunk.

        Args:
            ids: token ids of the texts.
            groups: indices into ``ids``.
            device: the chunks go there.
            pooled: the positions of each text that are pooled; ``None`` for all.
            at_least: number of chunks to make; those beyond ``groups`` hold one dummy text each, numbered after the texts.
        """
        chunks, order = [], []
        for parts in self._joined([len(row) for row in ids], groups):
            group = [index for part in parts for index in part]
            places = None if pooled is None else [pooled[index] for index in group]
            sizes = tuple(map(len, parts))
            chunks.append(self._chunk([ids[index] for index in group], sizes, places, device))
            order += group
        while len(chunks) < at_least:
            chunks.append(self._chunk([[self.tokenizer.end_token_id]], (1,), None, device))
            order.append(len(order))
        return PaddedChunks(chunks, torch.tensor(order, device=device))

    def _joined(self, lengths: Sequence[int], groups: Sequence[Sequence[int]]) -> list[list[Sequence[int]]]:
        """Join neighbouring groups that are packed into one row; returns the groups of each row."""
        rows: list[list[Sequence[int]]] = []
        most = min(self.chunk_tokens or self.row_tokens, self.row_tokens)
        space = 0  # that is left in the last row
        for group, size in zip(groups, padded_sizes(lengths, groups), strict=True):
            if rows and size <= space and lengths[rows[-1][0][0]] <= self.packs_up_to:
                rows[-1].append(group)
                space -= size
            else:
                rows.append([group])
                space = most - size
        return rows

    def _chunk(
        self, rows: list[list[int]], sizes: tuple[int, ...], pooled: list[Sequence[int]] | None, device: torch.device
    ) -> Batch:
        batch = self.tokenizer.pad(rows, pooled)
        lengths = [len(row) for row in rows]
        if self.packs(lengths):
            batch = batch.packed(lengths, sizes)
        return batch.lean(self.causal).to(device)


def padded_sizes(lengths: Sequence[int], groups: Sequence[Sequence[int]]) -> list[int]:
    """Return the padded tokens of each group; its first text is its longest."""
    return [lengths[group[0]] * len(group) for group in groups]


def with_zero_rows(rows: Tensor, count: int) -> Tensor:
    """Append zero rows up to ``count``: the dummy text of an empty share gets no gradient."""
    return torch.cat([rows, rows.new_zeros(count - len(rows), rows.shape[1])])


def plan_chunks(lengths: Sequence[int], token_budget: int, overhead: int = 0) -> list[list[int]]:
    """Group texts of similar length, so that each group, padded to its longest, stays within a token budget.

    Minimises the padded tokens plus ``overhead`` for each group, by dynamic programming over the texts sorted by length.

    Args:
        lengths: tokens of each text.
        token_budget: largest number of padded tokens in a group; a longer text is a group of its own.
        overhead: fixed cost of a group, in tokens.

    Returns:
        Groups of indices, longest texts first; every index stands in one of them.

    >>> plan_chunks([3, 9, 4, 8], token_budget=18, overhead=4)
    [[1, 3], [2, 0]]
    """
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    longest = np.array([lengths[index] for index in order], dtype=np.int64)
    # cost[start]: least cost of the texts from `start` to the end; ends[start]: end of the first group among them.
    cost, ends = np.zeros(len(order) + 1, dtype=np.int64), [0] * len(order)
    for start in range(len(order) - 1, -1, -1):
        most = max(1, token_budget // max(int(longest[start]), 1))
        sizes = np.arange(1, min(most, len(order) - start) + 1)
        costs = longest[start] * sizes + overhead + cost[start + sizes]
        cheapest = int(len(costs) - 1 - costs[::-1].argmin())  # of equal costs the largest group
        cost[start], ends[start] = costs[cheapest], start + cheapest + 1
    groups, start = [], 0
    while start < len(order):
        groups.append(order[start : ends[start]])
        start = ends[start]
    return groups
