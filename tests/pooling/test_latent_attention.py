"""Latent attention (NV-Embed): the published numbers, the plain formula, and what must not enter a vector."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pooling import latent_attention
from pooling.latent_attention import LatentAttentionConfig, LatentAttentionPooling, folds
from tests.tiny import SHARED

GOLDEN = SHARED / "neighbours" / "nv_embed" / "golden_pooling.npz"
# Our names: the published ones.
PUBLISHED = {
    "latents": "latents",
    "norm_states.weight": "cross_attend_blocks.0.norm.weight",
    "norm_states.bias": "cross_attend_blocks.0.norm.bias",
    "norm_latents.weight": "cross_attend_blocks.0.norm_context.weight",
    "norm_latents.bias": "cross_attend_blocks.0.norm_context.bias",
    "to_q.weight": "cross_attend_blocks.0.fn.to_q.weight",
    "to_kv.weight": "cross_attend_blocks.0.fn.to_kv.weight",
    "to_out.weight": "cross_attend_blocks.0.fn.to_out.weight",
    "norm_ff.weight": "cross_attend_blocks.1.norm.weight",
    "norm_ff.bias": "cross_attend_blocks.1.norm.bias",
    "ff_in.weight": "cross_attend_blocks.1.fn.net.0.weight",
    "ff_in.bias": "cross_attend_blocks.1.fn.net.0.bias",
    "ff_out.weight": "cross_attend_blocks.1.fn.net.2.weight",
    "ff_out.bias": "cross_attend_blocks.1.fn.net.2.bias",
}
SIZES = LatentAttentionConfig(hidden_size=48, latents=16, heads=3, head_dim=20)


@pytest.fixture(params=[True, False], ids=["folded", "plain"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Both ways of computing attention, whatever the number of tokens."""
    monkeypatch.setattr(latent_attention, "folds", lambda config, tokens, dtype: request.param)
    return bool(request.param)


@pytest.fixture
def golden() -> Any:
    if not GOLDEN.is_file():
        pytest.skip("the published numbers are not here")
    return np.load(GOLDEN)


def published_pooling(golden: Any) -> LatentAttentionPooling:
    pooling = LatentAttentionPooling(SIZES)
    pooling.load_state_dict({ours: torch.from_numpy(golden[f"weight_{theirs}"]) for ours, theirs in PUBLISHED.items()})
    return pooling


def plain_formula(pooling: LatentAttentionPooling, states: Tensor, mask: Tensor) -> Tensor:
    """The published formula, literally, text by text; returns (batch, hidden)."""
    heads, head_dim = pooling.config.heads, pooling.config.head_dim
    vectors = []
    for text, kept in zip(states, mask.bool(), strict=True):
        query = pooling.to_q(pooling.norm_states(text)).unflatten(-1, (heads, head_dim)).transpose(0, 1)
        key, value = (
            part.unflatten(-1, (heads, head_dim)).transpose(0, 1)
            for part in pooling.to_kv(pooling.norm_latents(pooling.latents)).chunk(2, dim=-1)
        )
        read = (query @ key.transpose(1, 2) / head_dim**0.5).softmax(dim=-1) @ value
        tokens = text + pooling.to_out(read.transpose(0, 1).flatten(1))
        wide, gate = pooling.ff_in(pooling.norm_ff(tokens)).chunk(2, dim=-1)
        tokens = tokens + pooling.ff_out(wide * F.gelu(gate))
        vectors.append(tokens[kept].mean(dim=0))
    return torch.stack(vectors)


@pytest.mark.parametrize("case", ["a", "one_token", "long"])
def test_published_vectors(golden: Any, way: bool, case: str) -> None:
    mean = published_pooling(golden)(torch.from_numpy(golden[f"{case}_hidden"]), torch.from_numpy(golden[f"{case}_mask"]))
    vectors = F.normalize(mean, dim=-1).detach().numpy()
    assert np.abs(vectors - golden[f"{case}_vector"]).max() <= 1e-6
    np.testing.assert_allclose(mean.detach().numpy(), golden[f"{case}_mean"], atol=2e-5)


def test_published_gradients(golden: Any, way: bool) -> None:
    pooling = published_pooling(golden)
    states = torch.from_numpy(golden["a_hidden"]).requires_grad_()
    vectors = F.normalize(pooling(states, torch.from_numpy(golden["a_mask"])), dim=-1)
    (vectors * torch.from_numpy(golden["a_direction"])).sum().backward()
    gradients = {"hidden": states.grad} | {PUBLISHED[name]: value.grad for name, value in pooling.named_parameters()}
    for name, gradient in gradients.items():
        expected = golden[f"a_grad_{name}"]
        off = np.linalg.norm(gradient.numpy() - expected) / np.linalg.norm(expected)
        assert off <= 1e-4, name


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_plain_formula_and_its_gradients(way: bool, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    pooling = LatentAttentionPooling(LatentAttentionConfig(hidden_size=24, latents=5, heads=2, head_dim=7)).to(dtype)
    states = torch.randn(4, 9, 24, dtype=dtype)
    mask = torch.tensor([[1] * 9, [0] * 3 + [1] * 6, [1] * 2 + [0] * 7, [0, 1, 0, 1, 1, 0, 0, 1, 0]])
    direction = torch.randn(4, 24, dtype=dtype)
    results = []
    for compute in (pooling.forward, lambda *given: plain_formula(pooling, *given)):
        pooling.zero_grad()
        vectors = compute(states, mask)
        (vectors * direction).sum().backward()
        results.append((vectors.detach(), {name: value.grad.clone() for name, value in pooling.named_parameters()}))
    (ours, our_gradients), (plain, plain_gradients) = results
    torch.testing.assert_close(ours.to(dtype), plain, atol=2e-6, rtol=1e-5)
    for name, gradient in plain_gradients.items():
        torch.testing.assert_close(our_gradients[name], gradient, atol=5e-6, rtol=2e-4)


def test_what_is_masked_does_not_enter(way: bool) -> None:
    torch.manual_seed(0)
    pooling = LatentAttentionPooling(SIZES)
    states = torch.randn(2, 6, 48)
    mask = torch.tensor([[1, 1, 1, 1, 0, 0], [0, 1, 1, 1, 1, 1]])
    alone = [pooling(states[row : row + 1, mask[row].bool()]) for row in range(2)]
    states = states.masked_fill(mask[:, :, None] == 0, float("nan"))
    torch.testing.assert_close(pooling(states, mask), torch.cat(alone), atol=1e-6, rtol=1e-5)


def test_what_is_kept_serves_all_batches_and_no_longer(way: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    pooling = LatentAttentionPooling(SIZES)
    made: list[int] = []
    make = pooling.keys_and_values
    monkeypatch.setattr(pooling, "keys_and_values", lambda: (made.append(1), make())[1])
    batches = [torch.randn(2, length, 48) for length in (6, 3, 9)]
    fresh = [pooling(states) for states in batches]
    assert len(made) == 3
    with torch.no_grad(), pooling.kept_work():
        for states, expected in zip(batches, fresh, strict=True):
            torch.testing.assert_close(pooling(states), expected.detach(), atol=1e-6, rtol=1e-5)
    assert len(made) == 4
    with pooling.kept_work():  # with gradients nothing is kept
        for states in batches:
            assert pooling(states).requires_grad
    assert len(made) == 7
    pooling.to_kv.weight.data.mul_(2.0)  # not the latents: their norm would take the factor out
    with torch.no_grad():
        changed = pooling(batches[0])
    assert (changed - fresh[0].detach()).abs().max() > 1e-3


def test_bf16_stays_close() -> None:
    torch.manual_seed(0)
    pooling = LatentAttentionPooling(SIZES)
    states, mask = torch.randn(3, 8, 48), torch.ones(3, 8)
    exact = F.normalize(pooling(states, mask), dim=-1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = pooling(states, mask)
    assert rounded.dtype == torch.float32
    assert (F.normalize(rounded, dim=-1) * exact).sum(dim=-1).min() > 0.9995


def test_folding_follows_the_number_of_products() -> None:
    published = LatentAttentionConfig(hidden_size=4096)
    assert not folds(published, 100, torch.float32)
    assert folds(published, 1000, torch.float32)
    assert not folds(published, 1000, torch.bfloat16)
    narrow = LatentAttentionConfig(hidden_size=1024, latents=2048, head_dim=64)  # folded rows would be wider than heads
    assert not folds(narrow, 10**6, torch.float32)


def test_sizes_are_checked() -> None:
    with pytest.raises(ValueError, match="latents"):
        LatentAttentionConfig(hidden_size=8, latents=0)
