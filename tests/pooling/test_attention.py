"""Where a trainable pooling looks: the weights that are shown are those that are used."""

from __future__ import annotations

import pytest
import torch

from pooling.cross_attention import layer_norm, linear
from tests.pooling.test_formula import new_pooling, new_states


@pytest.mark.parametrize("layers", [None, 3])
def test_attention_is_a_literal_softmax(layers: int | None) -> None:
    pooling = new_pooling(layers)
    states, mask = new_states(layers)
    found = pooling.attention(states, mask)
    heads, width, latents = pooling.config.heads, pooling.config.head_dim, pooling.latents.double()
    read = states.double() + (pooling.layer_embedding.weight.double() if layers is not None else 0.0)

    def normed(x: torch.Tensor, norm: torch.nn.LayerNorm) -> torch.Tensor:
        centred = x - x.mean(-1, keepdim=True)
        return centred / (x.var(-1, unbiased=False, keepdim=True) + norm.eps).sqrt() * norm.weight + norm.bias

    query = normed(latents, pooling.norm_latents) @ pooling.to_q.weight.double().T
    key = normed(read, pooling.norm_states) @ pooling.to_kv.weight.double()[: heads * width].T
    for text in range(len(states)):
        for head in range(heads):
            part = slice(head * width, (head + 1) * width)
            scores = query[:, part] @ key[text, :, part].T / width**0.5
            scores[:, mask[text] == 0] = -torch.inf
            expected = scores.exp() / scores.exp().sum(dim=1, keepdim=True)
            torch.testing.assert_close(found[text, head].double(), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("layers", [None, 3])
def test_attention_is_what_the_pooling_uses(layers: int | None) -> None:
    """Values weighted by it, through the output projection, are what ``forward`` goes on with."""
    pooling = new_pooling(layers)
    states, mask = new_states(layers)
    marked = pooling.marked(states) if layers is not None else states.masked_fill(mask[:, :, None] == 0, 0)
    value = linear(layer_norm(marked, pooling.norm_states), pooling.to_kv).chunk(2, dim=-1)[1]
    value = value.unflatten(-1, (pooling.config.heads, pooling.config.head_dim))
    read = torch.einsum("bhns,bshc->bnhc", pooling.attention(states, mask), value).flatten(2)
    expected = linear(read, pooling.to_out) + pooling.latents
    torch.testing.assert_close(pooling.attend(marked, mask), expected, atol=1e-5, rtol=1e-4)
