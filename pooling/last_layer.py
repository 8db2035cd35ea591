"""Last-Layer Trainable Pooling (arXiv 2409.02727, section 3; designs 2 and 4)."""

from __future__ import annotations

from pooling.config import PoolingConfig
from pooling.cross_attention import CrossAttentionPooling


class LastLayerPooling(CrossAttentionPooling):
    """Latent queries attend to states of the last layer: all tokens, or the EOS state as a sequence of length 1."""

    def __init__(self, config: PoolingConfig) -> None:
        if config.layers is not None:
            raise ValueError("Last-Layer Trainable Pooling reads one layer: its config must have layers=None")
        super().__init__(config)
