"""Batches, and the gradient of one pass over a whole batch, for tests that compare gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.tiny import triplets
from trainers.step.batch import TripletBatch, TripletCollator
from trainers.step.chunks import Chunker
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


def step_of(model: Any, **chunking: Any) -> ContrastiveStep:
    """Make a step of one process; ``chunking`` are fields of `Chunker`."""
    return ContrastiveStep(Chunker(model.tokenizer, **chunking), engine())


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


@pytest.fixture
def doubling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out casts of float64 tensors to float32, so that a float64 model computes in float64 throughout."""
    plain = Tensor.to

    def to(tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        narrows = tensor.dtype == torch.float64 and torch.float32 in (*args, *kwargs.values())
        return tensor if narrows else plain(tensor, *args, **kwargs)

    monkeypatch.setattr(Tensor, "to", to)
    monkeypatch.setattr(Tensor, "float", lambda tensor: to(tensor, torch.float32))
