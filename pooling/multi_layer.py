"""Multi-Layers Trainable Pooling (arXiv 2409.02727, section 3; designs 3 and 5)."""

from __future__ import annotations

from torch import Tensor, nn

from pooling.config import PoolingConfig
from pooling.cross_attention import CrossAttentionPooling


class MultiLayerPooling(CrossAttentionPooling):
    """Latent queries attend to one state a layer, each marked by a trainable layer embedding that is added to it.

    The paper calls that embedding the trainable layer weights; in the released code it is additive.
    """

    def __init__(self, config: PoolingConfig) -> None:
        if config.layers is None:
            raise ValueError("Multi-Layers Trainable Pooling needs the number of layers in its config")
        super().__init__(config)
        self.layer_embedding = nn.Embedding(config.layers, config.hidden_size)

    def forward(self, states: Tensor, mask: Tensor | None = None) -> Tensor:
        """Pool one state a layer, ``(batch, layers, hidden)``, into ``(batch, hidden)`` in fp32."""
        return super().forward(self.marked(states), mask)

    def attention(self, states: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return where each latent looks among the layers, ``(batch, heads, latents, layers)``."""
        return super().attention(self.marked(states), mask)

    def marked(self, states: Tensor) -> Tensor:
        """Add each layer's embedding to its state, ``(batch, layers, hidden)`` in fp32."""
        if states.shape[1] != self.config.layers:
            raise ValueError(f"expected one state for each of {self.config.layers} layers, got {states.shape[1]}")
        return states.float() + self.layer_embedding.weight.float()
