"""Latent attention (NV-Embed, arXiv 2405.17428, section 3.2, and its released code): tokens attend to trainable latents.

Published formula, for the states X of a text's tokens and latents Z, with H heads of width c::

    Q = LN_x(X) W_q,  [K, V] = LN_l(Z) W_kv
    Y = X + softmax(Q K^T / sqrt(c)) V W_o               every token reads the latents, residual on its own state
    Y = Y + W_2 (a * gelu(b)),  [a, b] = W_1 LN_f(Y)     gated feed-forward
    vector = mean of Y over the pooled tokens

The paper's text has a plain GELU and K = V; its code has the gate and two projections, and so has this. In the other trainable
poolings of this project the roles are the other way round: latents are the queries.

Three exact rearrangements are used; M is the number of pooled tokens of the batch, N of latents, d the hidden size::

    1. Only pooled tokens are computed: neither padding nor the instruction has a part in the mean.
    2. K and V do not depend on the text. With A_h = K_h W_q,h^T / sqrt(c) and B_h = V_h W_o,h, made once a batch, attention is
       softmax(LN_x(X) A_h^T) B_h: 2 N d products a token and head instead of 2 c (d + N). Worth it for many tokens (``folds``).
       While texts are encoded the weights stay, and what was made of them serves all batches (``kept_work``).
    3. mean(W_2 g + e) = W_2 mean(g) + e: the feed-forward's last map comes after the mean over tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pooling.config import check_sizes
from pooling.cross_attention import compute_dtype, layer_norm, linear
from pooling.feed_forward import mean_gated_rows


@dataclass(frozen=True)
class LatentAttentionConfig:
    """Sizes of latent attention; the defaults are the published ones (740 million parameters at hidden size 4096).

    Attributes:
        hidden_size: width of the backbone's states and of the embedding.
        latents: trainable keys and values.
        heads: attention heads.
        head_dim: width of one head.
        feed_forward_multiple: width of the gated feed-forward's inner layer, in units of ``hidden_size``.
    """

    hidden_size: int
    latents: int = 512
    heads: int = 8
    head_dim: int = 4096
    feed_forward_multiple: int = 4

    def __post_init__(self) -> None:
        check_sizes(asdict(self))

    @property
    def kind(self) -> str:
        """Row of the table of poolings."""
        return "latent_attention"

    def to_dict(self) -> dict[str, Any]:
        """Return the config as JSON-able values."""
        return asdict(self)


@dataclass
class Kept:
    """What was made of the weights alone, while these do not change.

    Attributes:
        tokens: pooled tokens so far.
        key_value: keys and values, each ``(heads, latents, head_dim)``.
        folded: keys and values that have gone through ``to_q`` and ``to_out``, each ``(heads * latents, hidden)``.
    """

    tokens: int = 0
    key_value: tuple[Tensor, Tensor] | None = None
    folded: tuple[Tensor, Tensor] | None = None


class LatentAttentionPooling(nn.Module):
    """Tokens attend to trainable latents, then their mean; see the module's docstring for the formula.

    >>> pooling = LatentAttentionPooling(LatentAttentionConfig(hidden_size=32, latents=6, heads=2, head_dim=4))
    >>> pooling(torch.zeros(3, 7, 32), torch.ones(3, 7)).shape
    torch.Size([3, 32])
    """

    def __init__(self, config: LatentAttentionConfig) -> None:
        super().__init__()
        self.config = config
        hidden, inner = config.hidden_size, config.heads * config.head_dim
        wide = config.feed_forward_multiple * hidden
        self.latents = nn.Parameter(torch.randn(config.latents, hidden))
        self.norm_states = nn.LayerNorm(hidden)
        self.norm_latents = nn.LayerNorm(hidden)
        self.to_q = nn.Linear(hidden, inner, bias=False)
        self.to_kv = nn.Linear(hidden, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, hidden, bias=False)
        self.norm_ff = nn.LayerNorm(hidden)
        self.ff_in = nn.Linear(hidden, 2 * wide)
        self.ff_out = nn.Linear(wide, hidden)
        self._kept: Kept | None = None

    def forward(self, states: Tensor, mask: Tensor | None = None) -> Tensor:
        """Pool the tokens of each text into one vector.

        Args:
            states: ``(batch, tokens, hidden)`` of the last layer.
            mask: ``(batch, tokens)``, non-zero where a token is pooled; ``None`` when all are. Each row needs one.

        Returns:
            ``(batch, hidden)`` in fp32, not normalised.
        """
        kept = states.new_ones(states.shape[:2], dtype=torch.bool) if mask is None else mask.bool()
        pooled = pooled_rows(states, kept)  # (M, hidden): all pooled tokens, text by text (1)
        attended = pooled.float() + self.attend(pooled)  # (M, hidden) fp32
        return mean_after_feed_forward(attended, kept, self.norm_ff, self.ff_in, self.ff_out)

    def texts_at_once(self, tokens: int, items: int) -> int:
        """Return how many texts fit the memory of a backbone pass; see the protocol.

        A token's scores with all latents and its folded values are about as wide as a layer's inner states.
        """
        return max(1, tokens // items)

    @contextmanager
    def kept_work(self) -> Iterator[None]:
        """Keep inside the block what is made of the weights alone; they must not change there. Only without gradients."""
        self._kept = Kept()
        try:
            yield
        finally:
            self._kept = None

    def attend(self, pooled: Tensor) -> Tensor:
        """Return what each token reads of the latents, ``(M, hidden)`` in fp32, for states ``(M, hidden)``."""
        config = self.config
        kept = Kept() if self._kept is None or torch.is_grad_enabled() else self._kept
        kept.tokens += len(pooled)
        normed = layer_norm(pooled, self.norm_states)
        if kept.folded is None:
            if kept.key_value is None:
                kept.key_value = self.keys_and_values()
            key, value = kept.key_value
            if not folds(config, kept.tokens, key.dtype):
                query = linear(normed, self.to_q).unflatten(-1, (config.heads, config.head_dim)).transpose(0, 1)
                # (heads, M, head_dim); the kernel has its softmax in fp32
                read = F.scaled_dot_product_attention(query[None], key[None], value[None])[0]
                return linear(read.transpose(0, 1).flatten(1), self.to_out).float()
            kept.folded, kept.key_value = self.folded(key, value), None
        folded_key, folded_value = kept.folded
        scores = F.linear(normed.to(folded_key.dtype), folded_key).unflatten(-1, (config.heads, config.latents))
        folded_read: Tensor = scores.softmax(dim=-1).flatten(1) @ folded_value  # scores: (M, heads, latents)
        return folded_read.float()

    def keys_and_values(self) -> tuple[Tensor, Tensor]:
        """Return keys and values of the latents, each ``(heads, latents, head_dim)``."""
        key_value = linear(layer_norm(self.latents, self.norm_latents), self.to_kv)  # (latents, 2 * heads * head_dim)
        heads = key_value.unflatten(-1, (2 * self.config.heads, self.config.head_dim)).transpose(0, 1)
        key, value = heads.chunk(2)
        return key, value

    def folded(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Take keys and values through ``to_q`` and ``to_out`` (2); returns each ``(heads * latents, hidden)``."""
        heads, head_dim = self.config.heads, self.config.head_dim
        query_map = self.to_q.weight.unflatten(0, (heads, head_dim))  # (heads, head_dim, hidden)
        folded_key = torch.bmm(key, query_map).flatten(0, 1) / head_dim**0.5
        out_map = self.to_out.weight.unflatten(1, (heads, head_dim))  # (hidden, heads, head_dim)
        return folded_key, torch.einsum("hnc,dhc->hnd", value, out_map).flatten(0, 1)


def folds(config: LatentAttentionConfig, tokens: int, dtype: torch.dtype) -> bool:
    """Say whether to fold keys and values for ``tokens`` pooled tokens: where it saves multiplications.

    In half precision it never is: rounded folded keys would blur the scores.
    """
    if dtype not in (torch.float32, torch.float64):
        return False
    hidden, latents, head_dim = config.hidden_size, config.latents, config.head_dim
    saved = tokens * (hidden * head_dim + latents * head_dim - hidden * latents)
    return saved > latents * hidden * head_dim


def pooled_rows(states: Tensor, kept: Tensor) -> Tensor:
    """Return the states of the pooled tokens, text by text.

    Their number is asked once (``nonzero``), so that a plan of memory on tensors without values has one place to answer it.

    Args:
        states: ``(batch, tokens, hidden)``.
        kept: ``(batch, tokens)`` bool.

    Returns:
        ``(M, hidden)``.
    """
    return states.flatten(0, 1).index_select(0, kept.flatten().nonzero()[:, 0])


def mean_after_feed_forward(attended: Tensor, kept: Tensor, norm: nn.LayerNorm, ff_in: nn.Linear, ff_out: nn.Linear) -> Tensor:
    """Apply a gated feed-forward with its residual to tokens, and average them by text; its last map comes after the mean (3).

    Args:
        attended: ``(M, hidden)`` fp32; the pooled tokens of all texts, text by text.
        kept: ``(batch, tokens)`` bool; which tokens these are.
        norm: of the feed-forward's input.
        ff_in: to ``[a, b]`` of ``a * gelu(b)``.
        ff_out: back to the hidden size.

    Returns:
        ``(batch, hidden)`` in fp32.
    """
    text_of = kept.nonzero()[:, 0]  # (M,)
    counts = kept.sum(dim=1).clamp(min=1)  # (batch,)
    normed = layer_norm(attended, norm)
    mixed = mean_gated_rows(normed, ff_in.weight, ff_in.bias, text_of, counts, compute_dtype(ff_in.weight))  # (batch, wide)
    residual = attended.new_zeros(len(kept), attended.shape[1]).index_add(0, text_of, attended) / counts[:, None]
    return residual + linear(mixed, ff_out).float()
