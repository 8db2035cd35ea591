"""A training step of sentence-transformers on our weights, with its settings, for comparisons."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from benchmarks.random_models import TINY_BASE
from model_loaders.embed_model import EmbedModel
from trainers.step.batch import TripletBatch

SCALE = 20.0
Loss = Callable[[], Tensor]
Run = Callable[[], float]
AutoCast = AbstractContextManager[Any]


def padded(rows: Sequence[list[int]], pad: int, multiple: int = 1) -> tuple[Tensor, Tensor]:
    """Pad on the right to the longest, rounded up to a multiple; ids and mask."""
    longest = -(-max(map(len, rows)) // multiple) * multiple
    ids = torch.full((len(rows), longest), pad)
    mask = torch.zeros_like(ids)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = torch.tensor(row)
        mask[number, : len(row)] = 1
    return ids, mask


def split(batch: TripletBatch) -> list[list[list[int]]]:
    """Return the ids of queries, positives and negatives."""
    n = batch.queries
    return [batch.ids[:n], batch.ids[n : 2 * n], batch.ids[2 * n :]]


class Peer(torch.nn.Module):
    """A sentence-transformers model around our weights: its Transformer and Pooling modules, its loss."""

    def __init__(self, model: EmbedModel) -> None:
        super().__init__()
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

        transformer = Transformer(str(TINY_BASE))
        transformer.model = model.backbone
        pooling = Pooling(model.dim, pooling_mode="lasttoken")
        self.model = SentenceTransformer(modules=[transformer, pooling], device=str(model.device))
        self.pad = model.tokenizer.tokenizer.pad_token_id

    def losses(self, batch: TripletBatch) -> dict[str, Loss]:
        """Return its settings by name: plain, and cached in mini-batches of texts and of tokens."""
        from sentence_transformers.sentence_transformer.losses import (
            CachedMultipleNegativesRankingLoss,
            MultipleNegativesRankingLoss,
        )

        device = self.model.device

        def run(loss: torch.nn.Module) -> Loss:
            def value() -> Tensor:
                columns = []
                for rows in split(batch):
                    ids, mask = padded(rows, self.pad)
                    columns.append({"input_ids": ids.to(device), "attention_mask": mask.to(device)})
                result: Tensor = loss(columns, torch.arange(batch.queries, device=device))
                return result

            return value

        settings = {"plain": MultipleNegativesRankingLoss(self.model, scale=SCALE)}
        for size in (32, 128):
            settings[f"cached, {size} texts"] = CachedMultipleNegativesRankingLoss(
                self.model, scale=SCALE, mini_batch_size=size
            )
        for tokens in (2048, 8192):
            settings[f"cached, {tokens} tokens"] = CachedMultipleNegativesRankingLoss(
                self.model, scale=SCALE, mini_batch_num_tokens=tokens
            )
        return {name: run(loss) for name, loss in settings.items()}


def peer_settings(peer: Peer, batch: TripletBatch, kernels: Sequence[str], autocast: Callable[[], AutoCast]) -> dict[str, Run]:
    """Return steps of sentence-transformers by attention kernel and loss."""
    config, settings = peer.model[0].model.config, {}
    for kernel in kernels:
        for name, loss in peer.losses(batch).items():
            settings[f"{kernel}, {name}"] = with_kernel(backward(loss), config, kernel, autocast)
    return settings


def with_kernel(run: Run, config: Any, kernel: str, context: Callable[[], AutoCast]) -> Run:
    """Make a function that runs another with an attention kernel, in a context."""

    def changed() -> float:
        before = config._attn_implementation
        config._attn_implementation = kernel
        try:
            with context():
                return run()
        finally:
            config._attn_implementation = before

    return changed


def backward(loss: Loss) -> Callable[[], float]:
    """Make a function that computes a loss and its gradient."""

    def run() -> float:
        value = loss()
        value.backward()
        return float(value.detach())

    return run
