"""Every rearrangement of the trainable pooling gives the published formula's outputs and gradients, and keeps less."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from torch import Tensor

import pooling.cross_attention
import pooling.feed_forward
from pooling import CrossAttentionPooling, PoolingConfig, build_pooling
from pooling.cross_attention import plan
from pooling.feed_forward import blocks
from tests.pooling.test_formula import BATCH, HIDDEN, new_pooling, new_states, published, relative
from trainers.memory.live_bytes import LiveBytes

FOLDS = {"plain": (False, False), "values": (True, False), "values and queries": (True, True)}


def compare(model: CrossAttentionPooling, states: Tensor, mask: Tensor) -> None:
    """Outputs and all gradients against the formula in float64."""
    states = states.clone().requires_grad_()
    exact = {name: value.detach().double().requires_grad_() for name, value in model.named_parameters()}
    exact_states = states.detach().double().requires_grad_()
    expected = published(exact, exact_states, mask, model.config.heads)
    found = model(states, mask)
    assert relative(found, expected) < 1e-5
    direction = torch.randn(expected.shape, generator=torch.Generator().manual_seed(2))
    (found * direction).sum().backward()
    (expected * direction.double()).sum().backward()
    assert relative(states.grad, exact_states.grad) < 1e-4
    for name, parameter in model.named_parameters():
        exact_gradient = exact[name].grad
        if exact_gradient.norm() < 1e-10:  # of one key: what does nothing has gradients of exactly zero, and they are there
            assert parameter.grad is not None and not parameter.grad.any(), name
        else:
            assert relative(parameter.grad, exact_gradient) < 1e-4, name


@pytest.mark.parametrize("fold", FOLDS)
@pytest.mark.parametrize("layers", [None, 3])
def test_every_fold_equals_the_published_formula(layers: int | None, fold: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pooling.cross_attention, "plan", lambda *_: FOLDS[fold])
    compare(new_pooling(layers), *new_states(layers))


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 7, 10, 100])
@pytest.mark.parametrize("keys", [1, 7])
def test_blocks_change_nothing(keys: int, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five latents a text: parts of a text, whole texts, several texts, all."""
    for name in ("rows_of_product", "rows_of_sum"):
        monkeypatch.setattr(pooling.feed_forward, name, lambda _: rows)
    states, mask = new_states(None)
    compare(new_pooling(None), states[:, :keys], torch.ones_like(mask[:, :keys]) if keys == 1 else mask)


def test_blocks_hold_every_pair_once() -> None:
    for texts, latents, rows in [(3, 5, 1), (3, 5, 2), (3, 5, 5), (4, 5, 11), (4, 5, 1000), (1, 1, 1)]:
        seen = torch.zeros(texts, latents)
        for text, latent in blocks(texts, latents, rows):
            seen[text, latent] += 1
            assert seen[text, latent].numel() <= max(rows, 1)
        assert seen.eq(1).all()


@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_one_key_equals_the_published_formula_and_leaves_no_gradient_out(offset: float) -> None:
    """Latents far off zero: their mean must go before anything is rounded."""
    model, states = new_pooling(None), new_states(None)[0][:, :1]
    model.latents.data.add_(offset).round_(decimals=3)
    if not offset:
        compare(model, states, torch.ones(BATCH, 1))
    exact = {name: value.detach().double() for name, value in model.named_parameters()}
    expected = published(exact, states.double(), torch.ones(BATCH, 1), model.config.heads)
    centre = exact["latents"].mean(0)
    assert relative(model(states).double() - centre, expected - centre) < (1e-5 if not offset else 1e-3)
    model.zero_grad()
    model(states).sum().backward()
    inner = model.config.heads * model.config.head_dim
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert not model.to_q.weight.grad.any() and not model.norm_latents.weight.grad.any()
    assert not model.to_kv.weight.grad[:inner].any() and model.to_kv.weight.grad[inner:].all()


@pytest.mark.parametrize("keys", [1, 7])
@pytest.mark.parametrize("fold", FOLDS)
@pytest.mark.parametrize("compute", ["weights", "autocast", "float64"])
def test_every_fold_in_other_dtypes(compute: str, fold: str, keys: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if fold == "values and queries" and compute != "float64":
        pytest.skip("queries are folded in fp32 and float64 only")
    monkeypatch.setattr(pooling.cross_attention, "plan", lambda *_: FOLDS[fold])
    model, (states, mask) = new_pooling(None), new_states(None)
    model.bfloat16().float()
    states, mask = states[:, :keys].bfloat16().float(), mask[:, :keys].clone()
    mask[:, 0] = 1
    exact = {name: value.detach().double().requires_grad_() for name, value in model.named_parameters()}
    expected = published(exact, states.double(), mask, model.config.heads)
    expected.square().sum().backward()
    if compute != "autocast":
        model.to(torch.bfloat16 if compute == "weights" else torch.float64)
    with torch.autocast("cpu", dtype=torch.bfloat16) if compute == "autocast" else nullcontext():
        found = model(states, mask)
    assert compute == "float64" or found.dtype == torch.float32
    found.double().square().sum().backward()
    assert relative(found, expected) < (1e-5 if compute == "float64" else 0.02)
    for name in ("latents", "to_out.weight", "ff_in.weight", "ff_in.bias", "ff_out.weight", "norm_ff.weight"):
        found_gradient = model.get_parameter(name).grad
        assert found_gradient.dtype == model.get_parameter(name).dtype
        assert relative(found_gradient, exact[name].grad) < (1e-4 if compute == "float64" else 0.05), name


def test_the_cheaper_way_is_taken() -> None:
    """Published sizes: few keys are folded, a long text is not; a lone text folds its queries, a batch projects them once."""
    config = PoolingConfig(4096)
    assert plan(config, 16, 24, torch.float32) == (True, True)
    assert plan(config, 64, 24, torch.float32) == (True, False)
    assert plan(config, 16, 24, torch.bfloat16) == (True, False)
    assert plan(config, 1, 4096, torch.float32)[0] is False
    assert plan(PoolingConfig(4096, latents=8), 16, 24, torch.float32)[0] is False


@pytest.mark.parametrize("keys", [1, 6])
def test_training_keeps_less_than_half_of_what_the_formula_keeps(keys: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pooling.feed_forward, "rows_of_product", lambda _: 96)
    monkeypatch.setattr(pooling.feed_forward, "rows_of_sum", lambda _: 96)
    torch.manual_seed(0)
    model = build_pooling(PoolingConfig(32, latents=96, heads=4, head_dim=128))
    states = torch.randn(8, keys, 32)
    existing = [*model.parameters(), states]
    with LiveBytes(existing) as ours:
        model(states).sum().backward()
    weights = {name: value.detach().clone().requires_grad_() for name, value in model.named_parameters()}
    with LiveBytes([*weights.values(), states]) as reference:
        published(weights, states, torch.ones(8, keys), 4).sum().backward()
    assert ours.peak < reference.peak / 2


def test_without_gradients_nothing_is_kept() -> None:
    model, (states, mask) = new_pooling(None), new_states(None)
    with torch.no_grad():
        quiet = model(states, mask)
    assert not quiet.requires_grad and quiet.shape == (BATCH, HIDDEN)
    assert torch.equal(quiet, model(states, mask))
