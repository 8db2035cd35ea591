"""A step's gradient is the whole batch's, however the texts are cut into chunks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from model_loaders.backbone.lora_training import LowRankLinear
from tests.tiny import LORA, new_model, triplets
from trainers.step import contrastive as step_module
from trainers.step.batch import TripletBatch, TripletCollator
from trainers.step.chunks import Grouping
from trainers.step.contrastive import ContrastiveStep
from trainers.step.engines import Engine
from trainers.step.loss import ContrastiveLoss, LossBatch

DESIGNS = ["model1", "model2", "model3", "model4", "model5"]
WHOLE = 100_000  # tokens of a chunk that holds any batch


def rows_with(negatives: int | str, count: int = 6) -> list[dict[str, Any]]:
    rows = triplets(count, negatives=3)
    for index, row in enumerate(rows):
        row["negatives"] = row["negatives"][: index % 4 if negatives == "ragged" else negatives]
    return rows


def engine() -> Engine:
    from accelerate import Accelerator

    return Engine(Accelerator(cpu=True))


def batch_of(model: Any, rows: list[dict[str, Any]]) -> TripletBatch:
    return TripletCollator(model.tokenizer, model.recipe)(rows)


def gradients(model: Any) -> dict[str, Tensor]:
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


def literal(model: Any, batch: TripletBatch) -> tuple[float, dict[str, Tensor]]:
    """The whole batch in one pass, one backward."""
    inputs = model.tokenizer.pad(batch.ids)
    vectors = model(inputs.input_ids, inputs.attention_mask, inputs.pool_mask)
    n = batch.queries
    loss = ContrastiveLoss()(LossBatch(vectors[:n], vectors[n:], batch.hashes[:n], batch.hashes[n:])).loss
    loss.backward()
    return loss.item(), gradients(model)


def relative(ours: dict[str, Tensor], reference: dict[str, Tensor]) -> float:
    """Norm of the difference of two whole gradients, relative to the reference's."""
    assert ours.keys() == reference.keys()
    off = sum(float((ours[name] - reference[name]).double().square().sum()) for name in reference)
    return (off / sum(float(reference[name].double().square().sum()) for name in reference)) ** 0.5


def chunked(model: Any, batch: TripletBatch) -> Iterator[tuple[float, dict[str, Tensor]]]:
    """Yield the loss and gradients of all chunk sizes, without and with checkpointing."""
    for checkpointing in (False, True):
        if checkpointing:
            model.activation_checkpointing_enable({"use_reentrant": False})
        for chunk_tokens in (1, 16, 40, WHOLE, None):
            loss = ContrastiveStep.of(model, engine(), chunk_tokens=chunk_tokens)(model, batch).loss.item()
            yield loss, gradients(model)


@pytest.mark.parametrize("negatives", [0, 1, 3, "ragged"])
@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.usefixtures("doubling")
def test_chunked_gradients_equal_one_pass(base: Path, design: str, negatives: int | str) -> None:
    """Exactly so in float64; in fp32 as near as one pass comes to float64, which is about 1e-6 here.

    Why not nearer: temperature 0.05 makes of the vectors' rounding, 1e-7, a gradient's 1e-6. One pass over the same texts,
    padded a little longer, differs as much.
    """
    model = new_model(design, base).train().double()
    batch = batch_of(model, rows_with(negatives))
    true_loss, true = literal(model, batch)
    for loss, found in chunked(model, batch):
        assert loss == pytest.approx(true_loss, abs=1e-12)
        assert relative(found, true) <= 1e-12

    model = new_model(design, base).train()
    loss_in_fp32, in_fp32 = literal(model, batch)
    noise = relative(in_fp32, true)
    assert noise <= 5e-6
    for loss, found in chunked(model, batch):
        assert loss == pytest.approx(loss_in_fp32, abs=2e-6)
        assert relative(found, in_fp32) <= max(1e-6, 2 * noise)
        assert relative(found, true) <= max(1e-6, 2 * noise)


def test_one_text_a_chunk_really_is(base: Path) -> None:
    model = new_model("model1", base).train()
    batch = batch_of(model, rows_with(1))
    seen: list[tuple[int, bool]] = []
    model.register_forward_hook(lambda _, inputs, output: seen.append((len(inputs[0]), output.requires_grad)))
    ContrastiveStep(model.tokenizer, engine(), chunk_tokens=1)(model, batch)
    assert seen == [(1, False)] * 18 + [(1, True)] * 18
    seen.clear()
    ContrastiveStep(model.tokenizer, engine(), chunk_tokens=WHOLE)(model, batch)
    assert seen == [(18, True)]  # one chunk is encoded once


def test_texts_within_the_budget_are_encoded_once_though_in_groups(base: Path) -> None:
    model = new_model("model1", base).train()
    batch = batch_of(model, rows_with(1))
    seen: list[tuple[int, bool]] = []
    model.register_forward_hook(lambda _, inputs, output: seen.append((len(inputs[0]), output.requires_grad)))
    for budget, times in ((batch.tokens, [True]), (batch.tokens - 1, [False, True])):
        seen.clear()
        every_length = Grouping(1, overhead=0)
        ContrastiveStep(model.tokenizer, engine(), chunk_tokens=budget, grouping=every_length)(model, batch)
        lengths = len({len(row) for row in batch.ids})
        assert lengths > 1 and [graph for _, graph in seen] == [graph for graph in times for _ in range(lengths)]


def test_padding_needs_no_mask_where_attention_is_causal(base: Path) -> None:
    """Bidirectional attention gets one, but where all texts of a group are of one length."""
    masks: list[bool] = []
    for design in ("model1", "model5"):
        model = new_model(design, base).train()
        model.register_forward_pre_hook(lambda _, inputs: masks.append(inputs[1] is not None))
        ragged, even = batch_of(model, rows_with("ragged")), batch_of(model, [{"query": "a", "positive": "a", "negatives": []}])
        step = ContrastiveStep.of(model, engine())
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
    step = ContrastiveStep(model.tokenizer, engine())
    step(model, batch)
    assert calls == [True] * layers
    calls.clear()
    model.activation_checkpointing_enable({"use_reentrant": False})
    step(model, batch)
    assert len(calls) == 2 * layers
    assert not any("forward" in vars(module) for module in model.modules())


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("design", DESIGNS)
def test_dropout_is_replayed(base: Path, monkeypatch: pytest.MonkeyPatch, design: str, checkpointing: bool) -> None:
    """Reference: the same chunks with the same random states, their graphs kept, nothing replayed."""
    model = new_model(design, base, lora={**LORA, "lora_dropout": 0.3}).train()
    if checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    batch = batch_of(model, rows_with("ragged"))

    def run(**options: Any) -> tuple[float, dict[str, Tensor], Tensor]:
        torch.manual_seed(5)
        loss = ContrastiveStep(model.tokenizer, engine(), **options)(model, batch).loss.item()
        return loss, gradients(model), torch.get_rng_state()

    kept = run(grouping=Grouping(24, overhead=128))
    cached = run(chunk_tokens=24)
    assert cached[0] == kept[0]
    assert relative(cached[1], kept[1]) <= 1e-6
    assert torch.equal(cached[2], kept[2])  # the step leaves the generator where one pass over the texts does
    monkeypatch.setattr(step_module, "random_state", lambda *_: __import__("contextlib").nullcontext())
    assert relative(run(chunk_tokens=24)[1], kept[1]) > 0.01  # without the replay it is another gradient


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
        step = ContrastiveStep(model.tokenizer, engine(), chunk_tokens=chunk_tokens)
        whole = step(model, batch).loss
        expected = gradients(model)
        assert torch.equal(step(model, batch, weight=0.25).loss, whole)
        assert relative({name: 4 * g for name, g in gradients(model).items()}, expected) <= 1e-6


def test_queries_that_stand_alone_see_only_their_own_documents(base: Path) -> None:
    from dataclasses import replace

    model = new_model("model1", base).train()
    batch = batch_of(model, rows_with(2, count=4))
    alone = replace(batch, in_batch=torch.zeros(4, dtype=torch.bool))
    step = ContrastiveStep(model.tokenizer, engine())
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
    step = ContrastiveStep(model.tokenizer, engine())
    result = step(model, batch)
    vectors = step.encode(model, batch)
    assert torch.allclose(result.queries, vectors[:6], atol=1e-6)
    assert torch.allclose(result.positives, vectors[6:12], atol=1e-6)
    assert result.candidates == 12 - 6 + sum(batch.negatives.tolist()) + 0


def test_a_dear_launch_makes_no_batch_cached_that_fits_the_budget(base: Path) -> None:
    """Large groups pad more; a second pass over the texts would cost more than the launches they spare."""
    model = new_model("model1", base)
    step = ContrastiveStep(model.tokenizer, engine(), chunk_tokens=100, grouping=Grouping(100, overhead=1000))
    lengths = [30] + [5] * 10  # alike: 30 + 10 x 5 tokens; in two groups of equal padding more than 100
    groups = step.groups(lengths)
    assert sum(max(lengths[index] for index in group) * len(group) for group in groups) <= 100
    assert not step.is_cached(lengths, groups)
    assert len(step.groups([30] * 10)) == 4  # what does not fit stays in few groups
