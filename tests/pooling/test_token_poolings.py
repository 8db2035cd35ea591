"""Poolings without weights: weighted mean, max, first token; and self-attention pooling, whose mean they share."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pooling import POOLINGS, TOKEN_POOLINGS, SelfAttentionConfig, SelfAttentionPooling, build_pooling, new_config

STATES = torch.tensor([[[1.0, -2.0], [3.0, -4.0], [5.0, 9.0], [7.0, 1.0]]])
MASK = torch.tensor([[0, 1, 1, 0]])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("first", [3.0, -4.0]),
        ("last", [5.0, 9.0]),
        ("mean", [4.0, 2.5]),
        ("weighted_mean", [(3 + 2 * 5) / 3, (-4 + 2 * 9) / 3]),
        ("max", [5.0, 9.0]),
        ("normalised_mean", [0.5 * (3 / 12.5**0.5 + 5 / 53**0.5), 0.5 * (-4 / 12.5**0.5 + 9 / 53**0.5)]),
    ],
)
def test_known_values(name: str, expected: list[float]) -> None:
    torch.testing.assert_close(TOKEN_POOLINGS[name].reduce(STATES, MASK), torch.tensor([expected]))


@pytest.mark.parametrize("name", TOKEN_POOLINGS)
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_does_not_enter(name: str, side: str) -> None:
    """Whatever stands there, on either side."""
    reduce = TOKEN_POOLINGS[name].reduce
    torch.manual_seed(0)
    states = torch.randn(2, 5, 8)
    padding = torch.full((2, 3, 8), float("inf"))
    zeros, ones = torch.zeros(2, 3), torch.ones(2, 5)
    padded = (padding, states) if side == "left" else (states, padding)
    mask = (zeros, ones) if side == "left" else (ones, zeros)
    torch.testing.assert_close(reduce(torch.cat(padded, dim=1), torch.cat(mask, dim=1)), reduce(states, ones))


@pytest.mark.parametrize("name", TOKEN_POOLINGS)
def test_fp32_from_bf16(name: str) -> None:
    vectors = TOKEN_POOLINGS[name].reduce(torch.randn(2, 5, 8).bfloat16(), torch.ones(2, 5))
    assert vectors.dtype == torch.float32
    assert bool(torch.isfinite(vectors).all())


@pytest.mark.parametrize("name", ["mean", "weighted_mean", "normalised_mean", "max"])
def test_a_row_without_tokens_is_zero(name: str) -> None:
    assert not TOKEN_POOLINGS[name].reduce(STATES, torch.zeros(1, 4)).any()


def test_a_massive_token_does_not_decide_a_normalised_mean() -> None:
    """Two texts of other words behind one token of huge states: their means are alike, their normalised means are not."""
    torch.manual_seed(0)
    texts = torch.randn(2, 6, 64)
    texts[:, 0] = 3e4 * torch.randn(64).sign()
    plain, normalised = (TOKEN_POOLINGS[name].reduce(texts, torch.ones(2, 6)) for name in ("mean", "normalised_mean"))
    assert torch.cosine_similarity(plain[0], plain[1], dim=0) > 0.9999
    assert torch.cosine_similarity(normalised[0], normalised[1], dim=0) < 0.5


def test_a_normalised_mean_has_finite_values_and_gradients_for_any_states() -> None:
    states = torch.tensor([[[3e38, -3e38], [0.0, 0.0], [1e-30, 2e-30]]], requires_grad=True)
    result = TOKEN_POOLINGS["normalised_mean"].reduce(states, torch.ones(1, 3))
    result.sum().backward()
    assert states.grad is not None
    assert bool(torch.isfinite(result).all()) and bool(torch.isfinite(states.grad).all())


@pytest.mark.parametrize("kind", POOLINGS)
def test_poolings_with_weights_ignore_padding(kind: str) -> None:
    torch.manual_seed(0)
    layers = 6 if kind == "multi_layer" else None
    sizes = {"latents": 4} if kind != "self_attention" else {}
    pooling = build_pooling(new_config(kind, 16, layers, sizes | {"heads": 2, "head_dim": 8}))
    states, mask = torch.randn(3, 6, 16), torch.ones(3, 6)
    if layers is None:
        mask[0, :2], mask[2, 4:] = 0, 0
    filled = states.masked_fill(mask[:, :, None] == 0, float("nan"))
    vectors = pooling(filled, mask)
    assert vectors.shape == (3, 16) and vectors.dtype == torch.float32
    for row in range(3):
        alone: Tensor = pooling(states[row : row + 1, mask[row].bool()])
        torch.testing.assert_close(vectors[row : row + 1], alone, atol=2e-6, rtol=1e-5)


def test_self_attention_formula() -> None:
    torch.manual_seed(0)
    pooling = SelfAttentionPooling(SelfAttentionConfig(hidden_size=16, heads=2, head_dim=8))
    states = torch.randn(1, 5, 16)
    query, key, value = pooling.to_qkv(pooling.norm_states(states)).unflatten(-1, (3, 2, 8)).unbind(2)
    scores = torch.einsum("bqhc,bkhc->bhqk", query, key) / 8**0.5
    read = torch.einsum("bhqk,bkhc->bqhc", scores.softmax(dim=-1), value).flatten(2)
    tokens = states + pooling.to_out(read)
    wide, gate = pooling.ff_in(pooling.norm_ff(tokens)).chunk(2, dim=-1)
    expected = (tokens + pooling.ff_out(wide * torch.nn.functional.gelu(gate))).mean(dim=1)
    torch.testing.assert_close(pooling(states), expected, atol=2e-6, rtol=1e-5)
