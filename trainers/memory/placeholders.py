"""Placeholders for a step that is planned without memory: most chunks, the tokenizer and the texts."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from model_loaders.text.batch import Row
from model_loaders.text.recipe import Recipe
from model_loaders.text.tokenizer import TextTokenizer
from trainers.memory.live_bytes import LiveBytes
from trainers.step.batch import TripletBatch

if TYPE_CHECKING:
    from model_loaders.embed_model import EmbedModel

EDGE = 2  # chunks at either end that are really encoded
GROWTH = 1.05  # a chunk larger by less than this factor has no other peak


def chunks_at_peak(sizes: Sequence[int]) -> set[int]:
    """Return the chunks that decide the peak: those at the ends, and each that is larger than all after it.

    The backward pass begins with the last chunk. While it is in one, all chunks before are still kept, so of equally large
    ones the last has the peak. A larger one before it may have it instead, if its temporary tensors outweigh those kept.

    Args:
        sizes: tokens of each chunk that are computed, in the order of the forward pass.
    """
    chunks = {number for number in range(len(sizes)) if number < EDGE or number >= len(sizes) - EDGE}
    largest = 0.0
    for number in reversed(range(len(sizes))):
        if sizes[number] > GROWTH * largest:
            largest = sizes[number]
            chunks.add(number)
    return chunks


class PeakChunkEncoder(nn.Module):
    """Encodes the chunks that decide the peak; placeholders for the others keep as much memory a token as the first chunk.

    Args:
        model: encodes.
        sizes: tokens of the chunks that there will be, as many as are computed.
        live: counts the memory that the first chunk keeps.
    """

    def __init__(self, model: EmbedModel, sizes: Sequence[int], live: LiveBytes) -> None:
        super().__init__()
        self.dim = int(model.dim)
        self.model, self.live = model, live
        self.chunks, self.at_peak = max(1, len(sizes)), chunks_at_peak(sizes) or {0}
        self.calls = {True: 0, False: 0}  # forward passes with and without a graph
        self.bytes_a_token = 0.0
        self.anchor = nn.Parameter(next(model.parameters()).new_zeros((), dtype=torch.float32))

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None, pool_mask: Tensor, row: Row | None = None) -> Tensor:
        """Return vectors ``(batch, dim)``, real ones or placeholders."""
        with_graph = torch.is_grad_enabled()
        number = self.calls[with_graph]
        self.calls[with_graph] += 1
        shape = (len(input_ids), self.dim)
        tokens = input_ids.numel() if row is None else sum(row.lengths)
        if not with_graph and number > 0:
            return input_ids.new_zeros(shape, dtype=torch.float32)
        if with_graph and number % self.chunks not in self.at_peak:
            block = input_ids.new_empty(int(self.bytes_a_token * tokens), dtype=torch.uint8)
            placeholder: Tensor = PlaceholderVectors.apply(self.anchor, block, shape)
            return placeholder
        before = self.live.live
        vectors: Tensor = self.model(input_ids, attention_mask, pool_mask, row)
        if with_graph and number == 0:
            self.bytes_a_token = (self.live.live - before) / tokens
        return vectors


class PlaceholderVectors(torch.autograd.Function):
    """Vectors that depend on nothing, and keep a block of memory until their backward pass."""

    @staticmethod
    def forward(ctx: FunctionCtx, anchor: Tensor, block: Tensor, shape: tuple[int, int]) -> Tensor:
        """Keep ``block``; return vectors."""
        ctx.save_for_backward(block)
        return anchor.new_zeros(shape)

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        """Free the block."""
        return gradient.sum(), None, None


class PadOnlyTokenizer(TextTokenizer):
    """Pads token ids that belong to no text."""

    def __init__(self) -> None:
        self.tokenizer = SimpleNamespace(pad_token_id=0)
        self.filler_id, self.end_token_id = 0, 0
        self.unpooled_token_ids = ()


def batch_of_lengths(recipe: Recipe, queries: int, negatives: int) -> TripletBatch:
    """Return a batch whose texts all have the most tokens that they may have."""
    query, document = [0] * recipe.length("query"), [0] * recipe.length("document")
    ids = [query] * queries + [document] * (queries * (1 + negatives))
    return TripletBatch(
        ids=ids,
        queries=queries,
        hashes=torch.arange(len(ids)),
        texts=[""] * queries,
        negatives=torch.full((queries,), negatives),
        in_batch=torch.ones(queries, dtype=torch.bool),
        scores=torch.zeros(queries * (1 + negatives)),
    )
