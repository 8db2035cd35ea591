"""The cross-attention block that both trainable poolings share: latent queries read the states of a text.

Published formula (arXiv 2409.02727, section 3, and its released code), for latents Z (the trainable queries) and the
states X of one text::

    Q = LN_l(Z) W_q,  [K, V] = LN_x(X) W_kv
    Y = Z + softmax(Q K^T / sqrt(head_dim)) V W_o        cross-attention, residual on the raw latents
    Y = Y + W_2 (a * gelu(b)),  [a, b] = W_1 LN_f(Y)     gated feed-forward
    vector = mean of Y over the latents

Five exact rearrangements are used; S is the number of keys, N of latents, d the hidden size, one term a head h::

    1. Q does not depend on the text: it is projected once a batch.
    2. P_h V_h W_o,h = P_h (V_h W_o,h)            S rows through W_o instead of N: cheaper where keys are few
    3. Q_h K_h^T = LN_l(Z) (W_q,h K_h^T)          S rows through W_q: cheaper than 1 where keys and texts are few
    4. mean(W_2 g + c) = W_2 mean(g) + c          the feed-forward's last map comes after the mean over latents
    5. S = 1: softmax = 1, so every latent reads the same u = V W_o. With centred z = Z - mean Z and u, r_n the norm's 1 / std,
       W_1 LN_f(Z_n + u) = r_n (W_1 (gain * z_n) + W_1 (gain * u)) + W_1 shift: no product of all latents of each text

Which of 1 to 3 is used follows from the number of products (``plan``). What is left in general is W_1 of all latents of each
text, ``16 N d^2`` operations with the published inner width; the inner layer is computed in blocks (``feed_forward``).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pooling.config import PoolingConfig
from pooling.feed_forward import MeanGatedSum, mean_gated_linear, without_effect


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
        if mask is not None:  # a masked score is -inf, but 0 * NaN is NaN: what stands at masked items must not enter
            states = states.masked_fill(mask[:, :, None] == 0, 0)
        if states.shape[1] == 1:
            return self.pool_one(states[:, 0])
        attended = self.attend(states, mask)  # (batch, latents, hidden) fp32
        normed, dtype = layer_norm(attended, self.norm_ff), compute_dtype(self.ff_in.weight)
        mixed = mean_gated_linear(normed, self.ff_in.weight, self.ff_in.bias, dtype)  # (batch, wide): mean first (4)
        return attended.mean(dim=1) + linear(mixed, self.ff_out).float()

    def texts_at_once(self, tokens: int, items: int) -> int:
        """Return how many texts fit the memory of a backbone pass; see the protocol.

        Short texts have more latents than tokens. A latent's inner layer is about as wide as two tokens' (measured). With one
        item a text no state of a latent is kept.
        """
        return tokens if items == 1 else max(1, tokens // (2 * self.config.latents))

    def attention(self, states: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return where each latent looks: the softmax that ``forward`` uses, for the same arguments.

        Returns:
            ``(batch, heads, latents, items)`` in fp32; each row adds up to 1, masked items have 0.
        """
        if mask is not None:
            states = states.masked_fill(mask[:, :, None] == 0, 0)
        heads, head_dim = self.config.heads, self.config.head_dim
        normed = layer_norm(self.latents, self.norm_latents)
        key = linear(layer_norm(states, self.norm_states), self.to_kv).chunk(2, dim=-1)[0].unflatten(-1, (heads, head_dim))
        scores: Tensor = (
            self.scores(normed, key, fold_query=False).transpose(2, 3) / head_dim**0.5
        )  # (batch, heads, latents, items)
        if mask is not None:
            scores = scores.masked_fill(mask[:, None, None, :] == 0, -math.inf)
        return scores.softmax(dim=-1)

    def attend(self, states: Tensor, mask: Tensor | None) -> Tensor:
        """Return the latents after cross-attention and its residual, ``(batch, latents, hidden)`` in fp32.

        What stands at masked items must be finite.
        """
        heads, head_dim = self.config.heads, self.config.head_dim
        normed = layer_norm(self.latents, self.norm_latents)  # (latents, hidden)
        key_value = linear(layer_norm(states, self.norm_states), self.to_kv)  # (batch, items, 2 * heads * head_dim)
        key, value = (part.unflatten(-1, (heads, head_dim)) for part in key_value.chunk(2, dim=-1))
        fold_value, fold_query = plan(self.config, states.shape[0], states.shape[1], key.dtype)
        if not fold_value:
            query = linear(normed, self.to_q).view(1, -1, heads, head_dim).transpose(1, 2)  # (1, heads, latents, head_dim)
            query = query.expand(len(states), -1, -1, -1)
            allowed = None if mask is None else mask.bool()[:, None, None, :]  # (batch, 1, 1, items)
            # The fused kernels keep the softmax in fp32 whatever the inputs' dtype.
            read = F.scaled_dot_product_attention(query, key.transpose(1, 2), value.transpose(1, 2), attn_mask=allowed)
            return linear(read.transpose(1, 2).flatten(2), self.to_out).float() + self.latents.float()

        scores = self.scores(normed, key, fold_query) / head_dim**0.5  # (batch, heads, items, latents) fp32
        if mask is not None:
            scores = scores.masked_fill(mask[:, None, :, None] == 0, -math.inf)
        chances = scores.softmax(dim=2).to(value.dtype).flatten(1, 2)  # (batch, heads * items, latents)
        output = self.to_out.weight.to(value.dtype).unflatten(1, (heads, head_dim))
        folded = torch.einsum("bshc,dhc->bhsd", value, output).flatten(1, 2)  # (batch, heads * items, hidden): V_h W_o,h (2)
        mixed: Tensor = chances.transpose(1, 2) @ folded  # (batch, latents, hidden)
        return mixed.float() + self.latents.float()

    def scores(self, normed: Tensor, key: Tensor, fold_query: bool) -> Tensor:
        """Return ``Q K^T`` in fp32, ``(batch, heads, items, latents)``, for ``key`` ``(batch, items, heads, head_dim)``.

        Keys and queries are rounded to the compute dtype, their products are not: near 50 a bf16 score is off by 0.1.
        """
        if not fold_query:
            query = linear(normed, self.to_q).unflatten(1, key.shape[2:])  # (latents, heads, head_dim)
            with torch.autocast(key.device.type, enabled=False):
                return torch.einsum("bshc,nhc->bhsn", key.float(), query.float())
        weight = self.to_q.weight.unflatten(0, key.shape[2:])  # (heads, head_dim, hidden)
        folded = torch.einsum("bshc,hcd->bhsd", key, weight)  # W_q,h K_h^T (3)
        return F.linear(folded, normed.to(folded.dtype))

    def pool_one(self, states: Tensor) -> Tensor:
        """Pool texts of one state each by the fifth rearrangement: ``(batch, hidden)`` to ``(batch, hidden)`` in fp32."""
        dtype, inner = compute_dtype(self.ff_in.weight), self.config.heads * self.config.head_dim
        value = F.linear(layer_norm(states, self.norm_states).to(dtype), self.to_kv.weight[inner:].to(dtype))
        # (batch, hidden); queries and keys do nothing, the keys' half of to_kv gets its zeros from the slice
        read = linear(value, self.to_out).float()
        read = without_effect(read, self.to_q.weight, self.norm_latents.weight, self.norm_latents.bias)
        latents, norm = self.latents.float(), self.norm_ff
        mean = latents.mean(dim=0) + read

        latents, read = (x - x.mean(dim=-1, keepdim=True) for x in (latents, read))  # before rounding to the compute dtype
        scale = ((latents + read[:, None]).square().mean(dim=-1) + norm.eps).rsqrt()  # (batch, latents)
        gain, shift = norm.weight.float(), norm.bias.float()
        parts = torch.cat([latents * gain, read * gain, shift[None]]).to(dtype)  # (latents + batch + 1, hidden)
        wide = F.linear(parts, self.ff_in.weight.to(dtype)).float()
        by_latent, by_text, by_shift = wide.split([len(latents), len(read), 1])
        mixed = MeanGatedSum.apply(by_latent, by_text, scale, by_shift[0] + self.ff_in.bias.float())  # (batch, wide)
        return mean + linear(mixed, self.ff_out).float()


def plan(config: PoolingConfig, texts: int, items: int, dtype: torch.dtype) -> tuple[bool, bool]:
    """Say which projections to fold into the keys' side, by the number of multiplications.

    Args:
        config: the pooling's sizes.
        texts: texts of the batch.
        items: keys of a text, with padding.
        dtype: compute dtype; queries are folded in fp32 and float64 only, as rounded folded keys would blur the scores.

    Returns:
        Whether values go through ``to_out`` before they are weighted, and whether keys go through ``to_q``.
    """
    hidden, latents, heads, inner = config.hidden_size, config.latents, config.heads, config.heads * config.head_dim
    project = {"keys": texts * items * inner * hidden, "latents": latents * inner * hidden}
    attend = {"folded": texts * latents * heads * items * hidden, "plain": texts * latents * items * inner}
    folded = project["keys"] + attend["folded"]  # the same for values and for queries
    query = project["latents"] + attend["plain"]
    fold_query = folded < query and dtype in (torch.float32, torch.float64)
    return folded < texts * project["latents"] + attend["plain"], fold_query


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
