"""A step encodes no text more often than it must, and shows what it computed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from model_loaders.backbone.lora_training import LowRankLinear
from tests.contracts.gradients import WHOLE, batch_of, gradients, relative, rows_with, step_of
from tests.tiny import new_model
from trainers.step import contrastive as step_module
from trainers.step.chunks import Grouping


def test_one_text_a_chunk_really_is(base: Path) -> None:
    model = new_model("model1", base).train()
    batch = batch_of(model, rows_with(1))
    seen: list[tuple[int, bool]] = []
    model.register_forward_hook(lambda _, inputs, output: seen.append((len(inputs[0]), output.requires_grad)))
    step_of(model, chunk_tokens=1)(model, batch)
    assert seen == [(1, False)] * 18 + [(1, True)] * 18
    seen.clear()
    step_of(model, chunk_tokens=WHOLE)(model, batch)
    assert seen == [(18, True)]  # one chunk is encoded once


def test_texts_within_the_budget_are_encoded_once_though_in_groups(base: Path) -> None:
    model = new_model("model1", base).train()
    batch = batch_of(model, rows_with(1))
    seen: list[tuple[int, bool]] = []
    model.register_forward_hook(lambda _, inputs, output: seen.append((len(inputs[0]), output.requires_grad)))
    for budget, times in ((batch.tokens, [True]), (batch.tokens - 1, [False, True])):
        seen.clear()
        every_length = Grouping(1, overhead=0)
        step_of(model, chunk_tokens=budget, grouping=every_length)(model, batch)
        lengths = len({len(row) for row in batch.ids})
        assert lengths > 1 and [graph for _, graph in seen] == [graph for graph in times for _ in range(lengths)]


def test_padding_needs_no_mask_where_attention_is_causal(base: Path) -> None:
    """Bidirectional attention gets one, but where all texts of a group are of one length."""
    masks: list[bool] = []
    for design in ("model1", "model5"):
        model = new_model(design, base).train()
        model.register_forward_pre_hook(lambda _, inputs: masks.append(inputs[1] is not None))
        ragged, even = batch_of(model, rows_with("ragged")), batch_of(model, [{"query": "a", "positive": "a", "negatives": []}])
        step = step_of(model, causal=design == "model1")
        for batch in (ragged, even):
            step(model, batch)
    assert masks == [False, False, True, False]


@pytest.mark.parametrize("design", ["model1", "model5"])
def test_a_step_takes_loras_short_way_forward_and_backward(base: Path, design: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where layers are computed again in the backward pass, after the forward pass has ended."""
    model = new_model(design, base).train()
    layers = sum("lora_A" in name for name, _ in model.named_parameters())
    calls: list[bool] = []
    apply = LowRankLinear.apply
    monkeypatch.setattr(LowRankLinear, "apply", lambda *args: calls.append(torch.is_grad_enabled()) or apply(*args))
    batch = batch_of(model, rows_with(0)[:2])
    step = step_of(model)
    step(model, batch)
    assert calls == [True] * layers
    calls.clear()
    model.activation_checkpointing_enable({"use_reentrant": False})
    step(model, batch)
    assert len(calls) == 2 * layers
    assert not any("forward" in vars(module) for module in model.modules())


def test_the_random_state_of_any_device_is_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Generator:
        state = 1

        def get_rng_state(self, device: torch.device) -> Tensor:
            return torch.tensor(self.state)

        def set_rng_state(self, state: Tensor, device: torch.device) -> None:
            self.state = int(state)

    generator, device = Generator(), torch.device("xpu")
    monkeypatch.setattr(torch, "get_device_module", lambda _: generator)
    before = step_module.get_random_state(device)
    generator.state = 7
    with step_module.random_state(before, device):
        assert generator.state == 1
        generator.state = 2
    assert generator.state == 7


def test_weight_scales_the_gradient_and_not_the_result(base: Path) -> None:
    model = new_model("model5", base).train()
    batch = batch_of(model, rows_with(1))
    for chunk_tokens in (None, 16):
        step = step_of(model, chunk_tokens=chunk_tokens)
        whole = step(model, batch).loss
        expected = gradients(model)
        assert torch.equal(step(model, batch, weight=0.25).loss, whole)
        assert relative({name: 4 * g for name, g in gradients(model).items()}, expected) <= 1e-6


def test_queries_that_stand_alone_see_only_their_own_documents(base: Path) -> None:
    from dataclasses import replace

    model = new_model("model1", base).train()
    batch = batch_of(model, rows_with(2, count=4))
    alone = replace(batch, in_batch=torch.zeros(4, dtype=torch.bool))
    step = step_of(model)
    together = step(model, batch).loss.item()
    model.zero_grad()
    one_by_one = []
    for row in rows_with(2, count=4):
        one_by_one.append(step(model, batch_of(model, [row])).loss.item())
    model.zero_grad()
    assert step(model, alone).loss.item() == pytest.approx(sum(one_by_one) / 4, rel=1e-5)
    assert abs(together - sum(one_by_one) / 4) > 1e-3


def test_the_step_shows_unit_vectors_of_its_queries_and_positives(base: Path) -> None:
    model = new_model("model1", base).train()
    batch = batch_of(model, rows_with("ragged"))
    step = step_of(model)
    result = step(model, batch)
    vectors = step.encode(model, batch)
    assert torch.allclose(result.queries, vectors[:6], atol=1e-6)
    assert torch.allclose(result.positives, vectors[6:12], atol=1e-6)
    assert result.candidates == 12 - 6 + sum(batch.negatives.tolist()) + 0


def test_a_dear_launch_makes_no_batch_cached_that_fits_the_budget(base: Path) -> None:
    """Large groups pad more; a second pass over the texts would cost more than the launches they spare."""
    model = new_model("model1", base)
    step = step_of(model, chunk_tokens=100, grouping=Grouping(100, overhead=1000))
    lengths = [30] + [5] * 10  # alike: 30 + 10 x 5 tokens; in two groups of equal padding more than 100
    groups = step.groups(lengths)
    assert sum(max(lengths[index] for index in group) * len(group) for group in groups) <= 100
    assert not step.chunker.needs_caching(lengths, groups)
    assert len(step.groups([30] * 10)) == 4  # what does not fit stays in few groups
