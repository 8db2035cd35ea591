"""From hidden states and a mask to one vector a text.

Every pooling takes ``(batch, items, hidden)`` states and a ``(batch, items)`` mask and returns ``(batch, hidden)`` in
fp32. The trainable ones are built from a small frozen config that is saved with their weights.
"""

from __future__ import annotations

from pooling.config import PoolingConfig
from pooling.cross_attention import CrossAttentionPooling
from pooling.last_layer import LastLayerPooling
from pooling.last_token import last_token, last_token_index
from pooling.mean import masked_mean
from pooling.multi_layer import MultiLayerPooling

__all__ = [
    "CrossAttentionPooling",
    "LastLayerPooling",
    "MultiLayerPooling",
    "PoolingConfig",
    "build_pooling",
    "last_token",
    "last_token_index",
    "masked_mean",
]


def build_pooling(config: PoolingConfig) -> CrossAttentionPooling:
    """Build the trainable pooling that ``config`` describes, with fresh weights from torch's global generator."""
    return LastLayerPooling(config) if config.layers is None else MultiLayerPooling(config)
