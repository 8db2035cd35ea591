"""From hidden states and a mask to one vector a text.

A new pooling is a file of its own and a line in one of the two tables below; a row of ``model_loaders.designs`` uses it.

>>> POOLINGS["last_layer"].words
'last-layer trainable'
>>> import torch
>>> pooling = build_pooling(PoolingConfig(hidden_size=32, latents=6, heads=2, head_dim=4))
>>> pooling(torch.zeros(3, 7, 32), torch.ones(3, 7)).shape
torch.Size([3, 32])
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor

from pooling.config import PoolingConfig
from pooling.cross_attention import CrossAttentionPooling
from pooling.first_token import first_token
from pooling.last_layer import LastLayerPooling
from pooling.last_token import last_token, last_token_index
from pooling.latent_attention import LatentAttentionConfig, LatentAttentionPooling
from pooling.maximum import masked_max
from pooling.mean import masked_mean
from pooling.multi_layer import MultiLayerPooling
from pooling.normalised_mean import normalised_mean
from pooling.protocol import KeepsWork, Pooling, ShowsAttention, Sizes
from pooling.self_attention import SelfAttentionConfig, SelfAttentionPooling
from pooling.weighted_mean import weighted_mean

__all__ = [
    "POOLINGS",
    "TOKEN_POOLINGS",
    "CrossAttentionPooling",
    "KeepsWork",
    "LastLayerPooling",
    "MultiLayerPooling",
    "Pooling",
    "PoolingConfig",
    "PoolingKind",
    "ShowsAttention",
    "Sizes",
    "TokenPooling",
    "build_pooling",
    "last_token",
    "last_token_index",
    "masked_mean",
    "new_config",
    "size_names",
]


@dataclass(frozen=True)
class TokenPooling:
    """A pooling without weights: the tokens of one layer become one state.

    Attributes:
        reduce: takes states ``(batch, tokens, hidden)`` and a mask ``(batch, tokens)``, returns ``(batch, hidden)`` in fp32.
        words: its name in reports.
    """

    reduce: Callable[[Tensor, Tensor], Tensor]
    words: str


@dataclass(frozen=True)
class PoolingKind:
    """A pooling with weights.

    Attributes:
        config: class of its config, a frozen dataclass.
        build: its class, called with a config.
        words: its name in reports.
    """

    config: type[Sizes]
    build: Callable[[Any], Pooling]
    words: str


# By the field ``tokens`` of a design.
TOKEN_POOLINGS: dict[str, TokenPooling] = {
    "last": TokenPooling(last_token, "EOS"),
    "mean": TokenPooling(masked_mean, "mean"),
    "weighted_mean": TokenPooling(weighted_mean, "weighted mean"),
    "normalised_mean": TokenPooling(normalised_mean, "normalised mean"),
    "max": TokenPooling(masked_max, "max"),
    "first": TokenPooling(first_token, "first token"),
}
# By the field ``pooling`` of a design.
POOLINGS: dict[str, PoolingKind] = {
    "last_layer": PoolingKind(PoolingConfig, LastLayerPooling, "last-layer trainable"),
    "multi_layer": PoolingKind(PoolingConfig, MultiLayerPooling, "multi-layer trainable"),
    "latent_attention": PoolingKind(LatentAttentionConfig, LatentAttentionPooling, "latent attention"),
    "self_attention": PoolingKind(SelfAttentionConfig, SelfAttentionPooling, "self-attention"),
}


def build_pooling(config: Sizes) -> Pooling:
    """Build the pooling that ``config`` describes, with fresh weights from torch's global generator."""
    return POOLINGS[config.kind].build(config)


def size_names(kind: str) -> list[str]:
    """Return the sizes of a pooling that a user may choose: what the base LLM does not decide.

    >>> size_names("last_layer")
    ['latents', 'heads', 'head_dim', 'feed_forward_multiple']
    """
    names = [field.name for field in fields(POOLINGS[kind].config)]
    return [name for name in names if name not in ("hidden_size", "layers")]


def new_config(kind: str, hidden_size: int, layers: int | None, sizes: Mapping[str, int]) -> Sizes:
    """Return the config of a new pooling.

    Args:
        kind: row of ``POOLINGS``.
        hidden_size: width of the backbone's states.
        layers: how many layers the design reads, ``None`` for the last one alone.
        sizes: by name (``size_names``); the others have their default.

    Raises:
        ValueError: the pooling has no size of that name, or not that value.
    """
    unknown = sorted(set(sizes) - set(size_names(kind)))
    if unknown:
        raise ValueError(f"the pooling {kind!r} has no size {unknown[0]!r}; it has {', '.join(size_names(kind))}")
    options: dict[str, Any] = {"hidden_size": hidden_size, **sizes}
    if layers is not None:
        options["layers"] = layers
    return POOLINGS[kind].config(**options)
