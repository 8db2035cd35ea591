"""Self-attention pooling: one block of attention among the pooled tokens of the last layer, then their mean.

NV-Embed (arXiv 2405.17428) compares its latent attention with it. For the states X of a text's pooled tokens, with H
heads of width c::

    [Q, K, V] = LN_x(X) W_qkv
    Y = X + softmax(Q K^T / sqrt(c)) V W_o               every pooled token reads every other, residual on its own state
    Y = Y + W_2 (a * gelu(b)),  [a, b] = W_1 LN_f(Y)     gated feed-forward
    vector = mean of Y over the pooled tokens

The paper gives no sizes for this block; the default heads are those of one layer of a Mistral-7B.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pooling.config import check_sizes
from pooling.cross_attention import layer_norm, linear
from pooling.latent_attention import mean_after_feed_forward, pooled_rows


@dataclass(frozen=True)
class SelfAttentionConfig:
    """Sizes of self-attention pooling.

    Attributes:
        hidden_size: width of the backbone's states and of the embedding.
        heads: attention heads.
        head_dim: width of one head.
        feed_forward_multiple: width of the gated feed-forward's inner layer, in units of ``hidden_size``.
    """

    hidden_size: int
    heads: int = 32
    head_dim: int = 128
    feed_forward_multiple: int = 4

    def __post_init__(self) -> None:
        check_sizes(asdict(self))

    @property
    def kind(self) -> str:
        """Row of the table of poolings."""
        return "self_attention"

    def to_dict(self) -> dict[str, Any]:
        """Return the config as JSON-able values."""
        return asdict(self)


class SelfAttentionPooling(nn.Module):
    """Pooled tokens attend to each other, then their mean; see the module's docstring for the formula.

    >>> pooling = SelfAttentionPooling(SelfAttentionConfig(hidden_size=32, heads=2, head_dim=4))
    >>> pooling(torch.zeros(3, 7, 32), torch.ones(3, 7)).shape
    torch.Size([3, 32])
    """

    def __init__(self, config: SelfAttentionConfig) -> None:
        super().__init__()
        self.config = config
        hidden, inner = config.hidden_size, config.heads * config.head_dim
        wide = config.feed_forward_multiple * hidden
        self.norm_states = nn.LayerNorm(hidden)
        self.to_qkv = nn.Linear(hidden, 3 * inner, bias=False)
        self.to_out = nn.Linear(inner, hidden, bias=False)
        self.norm_ff = nn.LayerNorm(hidden)
        self.ff_in = nn.Linear(hidden, 2 * wide)
        self.ff_out = nn.Linear(wide, hidden)

    def forward(self, states: Tensor, mask: Tensor | None = None) -> Tensor:
        """Pool the tokens of each text into one vector.

        Args:
            states: ``(batch, tokens, hidden)`` of the last layer.
            mask: ``(batch, tokens)``, non-zero where a token is pooled; ``None`` when all are. Each row needs one.

        Returns:
            ``(batch, hidden)`` in fp32, not normalised.
        """
        kept = states.new_ones(states.shape[:2], dtype=torch.bool) if mask is None else mask.bool()
        states = states.masked_fill(~kept[:, :, None], 0)  # 0 * NaN is NaN: what stands at masked tokens must not enter
        attended = pooled_rows(states.float() + self.attend(states, kept), kept)  # (M, hidden) fp32
        return mean_after_feed_forward(attended, kept, self.norm_ff, self.ff_in, self.ff_out)

    def texts_at_once(self, tokens: int, items: int) -> int:
        """Return how many texts fit the memory of a backbone pass; the block is as wide as a layer of the backbone."""
        return max(1, tokens // items)

    def attend(self, states: Tensor, kept: Tensor) -> Tensor:
        """Return what each token reads of the others, ``(batch, tokens, hidden)`` in fp32.

        Args:
            states: ``(batch, tokens, hidden)``, finite everywhere.
            kept: ``(batch, tokens)`` bool; tokens that are read.
        """
        heads, head_dim = self.config.heads, self.config.head_dim
        projected = linear(layer_norm(states, self.norm_states), self.to_qkv)  # (batch, tokens, 3 * heads * head_dim)
        query, key, value = (part.unflatten(-1, (heads, head_dim)).transpose(1, 2) for part in projected.chunk(3, dim=-1))
        allowed = (kept | ~kept.any(dim=1, keepdim=True))[:, None, None, :]  # (batch, 1, 1, tokens): no row without any
        read = F.scaled_dot_product_attention(query, key, value, attn_mask=allowed)
        return linear(read.transpose(1, 2).flatten(2), self.to_out).float()
