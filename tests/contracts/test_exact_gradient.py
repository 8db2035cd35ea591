"""A step's gradient is the whole batch's, however the texts are cut into chunks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.contracts.gradients import DESIGNS, WHOLE, batch_of, engine, gradients, literal, relative, rows_with, step_of
from tests.tiny import LORA, new_model
from trainers.step import contrastive as step_module
from trainers.step.batch import TripletBatch
from trainers.step.chunks import Grouping
from trainers.step.contrastive import ContrastiveStep


def chunked(model: Any, batch: TripletBatch) -> Iterator[tuple[float, dict[str, Tensor]]]:
    """Yield the loss and gradients of all chunk sizes, and of cached and whole batches with checkpointing."""
    for chunk_tokens in (1, 16, 40, WHOLE, None):
        loss = ContrastiveStep.of(model, engine(), chunk_tokens=chunk_tokens)(model, batch).loss.item()
        yield loss, gradients(model)
    model.activation_checkpointing_enable({"use_reentrant": False})
    for chunk_tokens in (16, None):
        loss = ContrastiveStep.of(model, engine(), chunk_tokens=chunk_tokens)(model, batch).loss.item()
        yield loss, gradients(model)


# Every design with ragged negatives and with none; the other numbers for the first design, for the others in the slow tier.
CASES = [(design, negatives) for design in DESIGNS for negatives in ("ragged", 0)] + [("model1", 1), ("model1", 3)]
SLOW_CASES = [(design, negatives) for design in DESIGNS[1:] for negatives in (1, 3)]


@pytest.mark.parametrize(
    ("design", "negatives"), [*CASES, *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW_CASES)]
)
@pytest.mark.usefixtures("doubling")
def test_chunked_gradients_equal_one_pass(base: Path, design: str, negatives: int | str) -> None:
    """Exactly so in float64; in fp32 as near as one pass comes to float64, which is about 1e-6 here.

    Why not nearer: temperature 0.05 makes of the vectors' rounding, 1e-7, a gradient's 1e-6. One pass over the same texts,
    padded a little longer, differs as much.
    """
    model = new_model(design, base).train().double()
    batch = batch_of(model, rows_with(negatives))
    true_loss, true = literal(model, batch)
    for loss, gradient in chunked(model, batch):
        assert loss == pytest.approx(true_loss, abs=1e-12)
        assert relative(gradient, true) <= 1e-12

    model = new_model(design, base).train()
    loss_in_fp32, in_fp32 = literal(model, batch)
    noise = relative(in_fp32, true)
    assert noise <= 5e-6
    for loss, gradient in chunked(model, batch):
        assert loss == pytest.approx(loss_in_fp32, abs=2e-6)
        assert relative(gradient, in_fp32) <= max(1e-6, 2 * noise)
        assert relative(gradient, true) <= max(1e-6, 2 * noise)


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
        loss = step_of(model, **options)(model, batch).loss.item()
        return loss, gradients(model), torch.get_rng_state()

    kept = run(grouping=Grouping(24, overhead=128))
    cached = run(chunk_tokens=24)
    assert cached[0] == kept[0]
    assert relative(cached[1], kept[1]) <= 1e-6
    assert torch.equal(cached[2], kept[2])  # the step leaves the generator where one pass over the texts does
    monkeypatch.setattr(step_module, "random_state", lambda *_: __import__("contextlib").nullcontext())
    assert relative(run(chunk_tokens=24)[1], kept[1]) > 0.01  # without the replay it is another gradient
