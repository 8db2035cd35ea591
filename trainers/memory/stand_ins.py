"""What stands in for the parts of a run when its step is planned without memory: launcher, most chunks, tokenizer, texts."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from model_loaders.layouts.manifest import Recipe
from model_loaders.text.tokenizer import TextTokenizer
from trainers.memory.live_bytes import LiveBytes
from trainers.step.batch import TripletBatch
from trainers.step.engines import Engine

EDGE = 2  # chunks at either end that really run
GROWTH = 1.05  # a chunk that is larger by less has no other peak


class Alone(Engine):
    """One process without a launcher."""

    def __init__(self) -> None:
        super().__init__(None)

    def without_graph(self, model: nn.Module) -> nn.Module:
        """Return the model itself."""
        return model

    def chunk(self, model: nn.Module, *, last: bool) -> Any:
        """Nothing to synchronise."""
        return nullcontext()

    def backward(self, model: nn.Module, scalar: Tensor) -> None:
        """Add the scalar's gradient into the parameters'."""
        scalar.backward()  # type: ignore[no-untyped-call]


def chunks_to_run(sizes: Sequence[int]) -> set[int]:
    """Return which chunks decide the peak: those at the ends, and each that is larger than all after it.

    The backward pass begins with the last chunk. While it is in one, all before that are still kept, so of equally large ones
    the last has the peak; a larger one before it may have it, too, if what it needs for a while is more than what is kept.

    Args:
        sizes: padded tokens of each chunk, in the order of the forward pass.
    """
    found = {number for number in range(len(sizes)) if number < EDGE or number >= len(sizes) - EDGE}
    largest = 0.0
    for number in reversed(range(len(sizes))):
        if sizes[number] > GROWTH * largest:
            largest = sizes[number]
            found.add(number)
    return found


class FewChunks(nn.Module):
    """Encodes the chunks that decide the peak; the others are stand-ins that keep as much memory a token as the first.

    Args:
        model: encodes.
        sizes: padded tokens of the chunks that there will be.
        live: counts what the first one keeps.
    """

    def __init__(self, model: Any, sizes: Sequence[int], live: LiveBytes) -> None:
        super().__init__()
        self.dim = int(model.dim)
        self.model, self.live = model, live
        self.chunks, self.to_run = max(1, len(sizes)), chunks_to_run(sizes) or {0}
        self.calls = {True: 0, False: 0}
        self.kept = 0.0  # bytes a padded token
        self.anchor = nn.Parameter(next(model.parameters()).new_zeros((), dtype=torch.float32))

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None, pool_mask: Tensor) -> Tensor:
        """Return vectors ``(batch, dim)``, or what stands for them."""
        with_graph = torch.is_grad_enabled()
        number = self.calls[with_graph]
        self.calls[with_graph] += 1
        runs = number % self.chunks in self.to_run if with_graph else number == 0
        shape = (len(input_ids), self.dim)
        if not runs and not with_graph:
            return input_ids.new_zeros(shape, dtype=torch.float32)
        if not runs:
            held = input_ids.new_empty(int(self.kept * input_ids.numel()), dtype=torch.uint8)
            stand_in: Tensor = StandIn.apply(self.anchor, held, shape)
            return stand_in
        before = self.live.live
        vectors: Tensor = self.model(input_ids, attention_mask, pool_mask)
        if with_graph and number == 0:
            self.kept = (self.live.live - before) / input_ids.numel()
        return vectors


class StandIn(torch.autograd.Function):
    """Vectors that depend on nothing, and keep a block of memory until their backward pass."""

    @staticmethod
    def forward(ctx: Any, anchor: Tensor, held: Tensor, shape: tuple[int, int]) -> Tensor:
        """Keep ``held``; return vectors."""
        ctx.save_for_backward(held)
        return anchor.new_zeros(shape)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """Let go."""
        return gradient.sum(), None, None


class NoText(TextTokenizer):
    """Pads token ids that stand for no text."""

    def __init__(self) -> None:
        self.tokenizer = SimpleNamespace(pad_token_id=0)
        self.unpooled_token_ids, self.end_token_id = (), 0


def batch_of_lengths(recipe: Recipe, queries: int, negatives: int) -> TripletBatch:
    """Return a batch whose texts all have the most tokens that they may have."""
    lengths = [recipe.length("query")] * queries + [recipe.length("document")] * (queries * (1 + negatives))
    return TripletBatch(
        [[0] * length for length in lengths],
        queries,
        torch.arange(len(lengths)),
        [""] * queries,
        negatives=torch.full((queries,), negatives),
        in_batch=torch.ones(queries, dtype=torch.bool),
    )
