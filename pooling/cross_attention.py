"""The cross-attention block that both trainable poolings share: latent queries read the states of a text.

Published formula (arXiv 2409.02727, section 3, and its released code), for latents Z (the trainable queries) and the
states X of one text::

    Q = LN_l(Z) W_q,  [K, V] = LN_x(X) W_kv
    Y = Z + softmax(Q K^T / sqrt(head_dim)) V W_o        cross-attention, residual on the raw latents
    Y = Y + W_2 (a * gelu(b)),  [a, b] = W_1 LN_f(Y)     gated feed-forward
    vector = mean of Y over the latents

Two exact rearrangements are used: the queries do not depend on the text, so they are projected once a batch; the
feed-forward's last linear map and the mean over the latents commute, so the mean comes first.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pooling.config import PoolingConfig


class CrossAttentionPooling(nn.Module):
    """Latent queries cross-attend to ``items`` states of a text; see the module's docstring for the formula."""

    def __init__(self, config: PoolingConfig) -> None:
        super().__init__()
        self.config = config
        hidden, inner = config.hidden_size, config.heads * config.head_dim
        wide = config.feed_forward_multiple * hidden
        self.latents = nn.Parameter(torch.randn(config.latents, hidden))
        self.norm_latents = nn.LayerNorm(hidden)
        self.norm_states = nn.LayerNorm(hidden)
        self.to_q = nn.Linear(hidden, inner, bias=False)
        self.to_kv = nn.Linear(hidden, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, hidden, bias=False)
        self.norm_ff = nn.LayerNorm(hidden)
        self.ff_in = nn.Linear(hidden, 2 * wide)
        self.ff_out = nn.Linear(wide, hidden)

    def forward(self, states: Tensor, mask: Tensor | None = None) -> Tensor:
        """Pool one sequence of states a text into one vector.

        Args:
            states: ``(batch, items, hidden)``: tokens of the last layer, or one state a layer.
            mask: ``(batch, items)``, non-zero where an item is real; ``None`` when all are. Each row needs one.

        Returns:
            ``(batch, hidden)`` in fp32, not normalised.
        """
        attended = self.attend(states, mask)  # (batch, latents, hidden) fp32
        wide = linear(layer_norm(attended, self.norm_ff), self.ff_in)  # (batch, latents, 2 * wide)
        value, gate = wide.chunk(2, dim=-1)
        mixed = (value * F.gelu(gate)).mean(dim=1, dtype=torch.float32)  # (batch, wide): the mean before the last map
        return attended.mean(dim=1) + linear(mixed, self.ff_out).float()

    def attend(self, states: Tensor, mask: Tensor | None) -> Tensor:
        """Return the latents after cross-attention and its residual, ``(batch, latents, hidden)`` in fp32."""
        heads, head_dim = self.config.heads, self.config.head_dim
        query = linear(layer_norm(self.latents, self.norm_latents), self.to_q)  # (latents, heads * head_dim)
        query = query.view(1, -1, heads, head_dim).transpose(1, 2)  # (1, heads, latents, head_dim)
        if mask is not None:  # a masked score is -inf, but 0 * NaN is NaN: what stands at masked items must not enter
            states = states.masked_fill(mask[:, :, None] == 0, 0)
        key_value = linear(layer_norm(states, self.norm_states), self.to_kv)  # (batch, items, 2 * heads * head_dim)
        key, value = (part.unflatten(-1, (heads, head_dim)).transpose(1, 2) for part in key_value.chunk(2, dim=-1))
        allowed = None if mask is None else mask.bool()[:, None, None, :]  # (batch, 1, 1, items)
        # The fused kernels keep the softmax in fp32 whatever the inputs' dtype.
        read = F.scaled_dot_product_attention(query.expand(len(states), -1, -1, -1), key, value, attn_mask=allowed)
        return linear(read.transpose(1, 2).flatten(2), self.to_out).float() + self.latents.float()


def compute_dtype(weight: Tensor) -> torch.dtype:
    """Return the dtype of large matrix products: autocast's where it is on, else that of the weights."""
    device = weight.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype


def linear(x: Tensor, layer: nn.Linear) -> Tensor:
    """Apply ``layer`` in the compute dtype, whatever the dtype of ``x``."""
    dtype = compute_dtype(layer.weight)
    bias = None if layer.bias is None else layer.bias.to(dtype)
    return F.linear(x.to(dtype), layer.weight.to(dtype), bias)


def layer_norm(x: Tensor, norm: nn.LayerNorm) -> Tensor:
    """Normalise in fp32, whatever the dtypes of ``x`` and of the weights; returns fp32."""
    return F.layer_norm(x.float(), norm.normalized_shape, norm.weight.float(), norm.bias.float(), norm.eps)
