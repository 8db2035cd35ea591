"""States of every layer in one pass: two kinds of mean, the last token, token norms, and the pooling's attention to layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from model_loaders.backbone.states import read_layers
from model_loaders.designs import Design
from model_loaders.embed_model import EmbedModel
from model_loaders.encoding import Encoded, OnBatch, encode_texts
from model_loaders.text.prompts import Role
from model_loaders.text.recipe import Recipe
from model_loaders.text.tokenizer import TextTokenizer
from pooling import TOKEN_POOLINGS, ShowsAttention

READ = ("mean", "last", "normalised_mean")  # rows of TOKEN_POOLINGS, each ``hidden`` numbers a layer
NUMBERS = 3  # a layer, behind them: largest norm of a token, median norm, share of the pooling's attention


@dataclass(frozen=True)
class Layers:
    """The states of texts by layer.

    Attributes:
        states: by name of `READ`, each ``(texts, layers, hidden)``.
        largest: largest norm of a pooled token, ``(texts, layers)``.
        median: median norm of the pooled tokens, ``(texts, layers)``.
        attention: share of the pooling's attention, ``(texts, layers)``; None where the pooling attends to no layers.
        cut: how many texts were cut.
    """

    states: dict[str, np.ndarray]
    largest: np.ndarray
    median: np.ndarray
    attention: np.ndarray | None
    cut: int = 0


class LayerReader(nn.Module):
    """Encodes texts into their states by layer, flat: ``layers * (3 * hidden + 3)`` numbers a text; `split` names them."""

    def __init__(self, model: EmbedModel) -> None:
        super().__init__()
        self.model = model
        # What `encode_texts` needs: the model's own.
        self.design: Design = model.design
        self.tokenizer: TextTokenizer = model.tokenizer
        self.recipe: Recipe = model.recipe
        self.backbone: nn.Module = model.backbone
        self.fitting_tokens: int | None = None

    @property
    def device(self) -> torch.device:
        """The model's."""
        return self.model.device

    @property
    def dtype(self) -> str:
        """The model's."""
        return self.model.dtype

    @property
    def dim(self) -> int:
        """Numbers a text."""
        return self.model.base_model.num_layers * (len(READ) * self.model.base_model.hidden_size + NUMBERS)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None, pool_mask: Tensor | None = None) -> Tensor:
        """Return the states of a batch, ``(batch, dim)`` in fp32; arguments as those of ``EmbedModel.forward``."""
        assert pool_mask is not None  # `encode_texts` gives it
        read = read_layers(self.backbone, read_layer, input_ids, attention_mask, pool_mask)  # (batch, layers, 3 hidden + 2)
        return torch.cat([read, self._attention(read)[:, :, None]], dim=2).flatten(1)

    def _attention(self, read: Tensor) -> Tensor:
        """Return the share of the pooling's attention, mean over heads and latents, ``(batch, layers)``; zeros for none."""
        if not self.shows_attention:
            return torch.zeros(read.shape[:2], device=read.device)
        pooling: Any = self.model.pooling
        start = READ.index(self.design.tokens) * self.model.base_model.hidden_size
        states = read[:, :, start : start + self.model.base_model.hidden_size]
        weights: Tensor = pooling.attention(states, None)  # (batch, heads, latents, layers)
        return weights.float().mean(dim=(1, 2))

    @property
    def shows_attention(self) -> bool:
        """Whether the pooling attends to layers, and says how."""
        reads_layers = self.design.layers == "all" and self.design.tokens in READ
        return reads_layers and isinstance(self.model.pooling, ShowsAttention)

    def encode_counted(
        self,
        texts: Sequence[str],
        role: Role = "document",
        *,
        prompt: str | None = None,
        max_length: int | None = None,
        on_batch: OnBatch | None = None,
    ) -> Encoded:
        """Encode as ``EmbedModel.encode_counted`` does."""
        chosen = self.recipe.prompt(role) if prompt is None else prompt
        length = self.recipe.length(role) if max_length is None else max_length
        return encode_texts(self, list(texts), chosen, length, on_batch=on_batch)


def split(flat: np.ndarray, layers: int, shows_attention: bool, cut: int = 0) -> Layers:
    """Name the numbers that a `LayerReader` gave.

    Args:
        flat: ``(texts, layers * (3 * hidden + 3))``.
        layers: of the backbone.
        shows_attention: of the reader.
        cut: how many texts were cut.
    """
    read = flat.reshape(len(flat), layers, -1)
    hidden = (read.shape[2] - NUMBERS) // len(READ)
    states = {}
    for number, name in enumerate(READ):
        states[name] = read[:, :, number * hidden : (number + 1) * hidden]
    attention = read[:, :, -1] if shows_attention else None
    return Layers(states, read[:, :, -3], read[:, :, -2], attention, cut)


def read_layer(states: Tensor, mask: Tensor) -> Tensor:
    """Return of one layer's states ``(batch, tokens, hidden)`` what is read, ``(batch, 3 * hidden + 2)`` in fp32."""
    parts = [TOKEN_POOLINGS[name].reduce(states, mask) for name in READ]
    norms = states.float().norm(dim=2).masked_fill(~mask.bool(), float("nan"))  # (batch, tokens)
    largest = norms.nan_to_num(nan=0.0, posinf=float("inf")).amax(dim=1)
    median = norms.nanmedian(dim=1).values
    return torch.cat([*parts, largest[:, None], median[:, None]], dim=1)
