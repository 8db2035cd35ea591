"""The Matryoshka loss against the public code's numbers, and against the contrastive loss of vectors cut by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.contracts.gradients import batch_of, engine, gradients, relative, rows_with
from tests.tiny import SHARED, new_model
from tests.trainers.step.test_loss import IN_BATCH, make_batch
from trainers.monitor.collapse import collapse_figures, figures_by_width
from trainers.step.batch import TripletBatch
from trainers.step.contrastive import ContrastiveStep
from trainers.step.gather import BatchShare, join_batch
from trainers.step.loss import ContrastiveLoss, LossBatch
from trainers.step.matryoshka import MatryoshkaLoss, widths_of

KALM = SHARED / "neighbours" / "kalm"
DIMS, WEIGHTS = (2, 5, 3), (0.5, 1.0, 0.25)


def kalm_cases() -> list[Any]:
    if not KALM.is_dir():
        return [pytest.param(None, marks=pytest.mark.skip(reason="numbers of the public loss are not here"))]
    cases = json.loads((KALM / "golden_loss.json").read_text())
    return [pytest.param(case, id=case["key"]) for case in cases if not case["expanded"]]


def kalm_batch(case: dict[str, Any], arrays: Any) -> tuple[LossBatch, Tensor, Tensor]:
    """Return the batch, and the leaves for its gradient: queries, and documents in the order of the golden file."""
    name, group = case["key"][0], case["G"]
    queries = torch.tensor(arrays[f"{name}_q"]).requires_grad_()
    documents = torch.tensor(arrays[f"{name}_p"]).requires_grad_()
    owners = torch.arange(len(documents)) // group
    first = torch.arange(len(documents)) % group == 0
    order = torch.cat([torch.nonzero(first)[:, 0], torch.nonzero(~first)[:, 0]])
    in_batch = None if case["in_batch"] else torch.zeros(len(queries), dtype=torch.bool)
    return LossBatch(queries, documents[order], owners=owners[order], in_batch=in_batch), queries, documents


@pytest.mark.parametrize("case", kalm_cases())
def test_equals_the_public_loss(case: dict[str, Any]) -> None:
    arrays = np.load(KALM / "golden_loss.npz")
    for block_scores in (1, 2**22):
        loss = ContrastiveLoss(1 / case["temperature"], mask_duplicates=False, block_scores=block_scores)
        batch, queries, documents = kalm_batch(case, arrays)
        result = MatryoshkaLoss.of(loss, case["dims"], case["weights"])(batch).loss
        result.backward()
        assert result.item() == pytest.approx(case["loss_float64"], rel=1e-5, abs=1e-6)
        for side, leaf in (("q", queries), ("p", documents)):
            golden = torch.tensor(arrays[f"{case['key']}_grad_{side}"])
            assert float((leaf.grad - golden).norm()) <= 1e-4 * float(golden.norm()) + 1e-6


@pytest.mark.skipif(not KALM.is_dir(), reason="numbers of the public loss are not here")
@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_equals_the_public_loss_over_devices(ranks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The golden batch, shared among processes: each one's gradient of its own vectors is its part of the whole one."""
    arrays = np.load(KALM / "golden_loss.npz")
    own, group = len(arrays["x_q"]) // ranks, 3

    def part(rank: int, suffix: str) -> Tensor:
        """A process's rows in the order of a batch: queries, positives, negatives."""
        queries, documents = torch.tensor(arrays[f"x_{suffix}q"]), torch.tensor(arrays[f"x_{suffix}p"])
        rows = torch.arange(rank * own, (rank + 1) * own)
        hard = (rows[:, None] * group + torch.arange(1, group)).flatten()
        return torch.cat([queries[rows], documents[rows * group], documents[hard]])

    blocks = [part(rank, "") for rank in range(ranks)]
    facts = TripletBatch(
        ids=[[0]] * len(blocks[0]), queries=own, hashes=torch.arange(len(blocks[0])), texts=[""] * own,
        negatives=torch.full((own,), group - 1), in_batch=torch.ones(own, dtype=torch.bool),
    )  # fmt: skip
    shares = [BatchShare(own, len(blocks[0]), 1, 0, 0)] * ranks

    def gather(mine: Tensor, rows: list[int], rank: int) -> list[Tensor]:
        others = blocks if mine.is_floating_point() else [mine] * ranks
        return [*others[:rank], mine, *others[rank + 1 :]]

    monkeypatch.setattr("trainers.step.gather.gather_blocks", gather)
    loss = MatryoshkaLoss.of(ContrastiveLoss(100.0, mask_duplicates=False), [64, 32, 16, 8], [1, 0.3, 0.2, 0.1])
    for rank, block in enumerate(blocks):
        leaf = block.clone().requires_grad_()
        result = loss(join_batch(leaf, facts, shares, rank)).loss
        assert result.item() == pytest.approx(float(arrays["x_full"]), rel=1e-5)
        (gradient,) = torch.autograd.grad(result, leaf)
        golden = part(rank, "full_grad_")
        assert float((gradient - golden).norm()) <= 1e-4 * float(golden.norm())


def cut(batch: LossBatch, width: int) -> LossBatch:
    return replace(batch, queries=batch.queries[:, :width], documents=batch.documents[:, :width])


@pytest.mark.parametrize("block_scores", [1, 40, 2**22])
@pytest.mark.parametrize("in_batch", [None, IN_BATCH], ids=["in_batch", "some_alone"])
@pytest.mark.parametrize(
    "options", [{}, {"mask_duplicates": False}, {"similarity_margin": 0.1}, {"both_directions": True}], ids=str
)
def test_equals_the_sum_over_cut_vectors(options: dict[str, Any], in_batch: list[bool] | None, block_scores: int) -> None:
    plain = ContrastiveLoss(**options)
    batch = make_batch(in_batch)
    losses = [weight * plain(cut(batch, width)).loss for width, weight in zip(DIMS, WEIGHTS, strict=True)]
    expected = torch.stack(losses).sum()
    result = MatryoshkaLoss.of(replace(plain, block_scores=block_scores), DIMS, WEIGHTS)(batch)
    assert result.loss.item() == pytest.approx(expected.item(), rel=1e-6)
    widest = plain(batch)
    assert (float(result.accuracy), float(result.excluded)) == (float(widest.accuracy), float(widest.excluded))
    sides = (batch.queries, batch.documents)
    for ours, theirs in zip(torch.autograd.grad(result.loss, sides), torch.autograd.grad(expected, sides), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6 * max(1.0, float(theirs.abs().max())), rtol=0)


def test_one_whole_width_is_the_plain_loss_to_the_bit() -> None:
    batch = make_batch()
    assert torch.equal(MatryoshkaLoss.of(ContrastiveLoss(), [5])(batch).loss, ContrastiveLoss()(batch).loss)


def test_of_no_query_the_loss_is_zero() -> None:
    empty = LossBatch(torch.zeros(0, 5), torch.zeros(0, 5), torch.zeros(0).long(), torch.zeros(0).long())
    assert MatryoshkaLoss.of(ContrastiveLoss(), DIMS)(empty).loss.item() == 0.0


def test_the_widest_comes_first() -> None:
    loss = MatryoshkaLoss.of(ContrastiveLoss(), DIMS, WEIGHTS)
    assert widths_of(loss) == (5, 3, 2)
    assert [part.weight for part in loss.cuts] == [1.0, 0.25, 0.5]
    assert widths_of(ContrastiveLoss()) == ()


def test_chunks_give_the_gradient_of_the_whole_batch(base: Path) -> None:
    model = new_model("model1", base).train()
    batch = batch_of(model, rows_with("ragged"))
    loss = MatryoshkaLoss.of(ContrastiveLoss(both_directions=True), (32, 8, 4), (1.0, 0.3, 0.2))
    results = []
    for chunk_tokens in (None, 16):
        step = ContrastiveStep.of(model, engine(), chunk_tokens=chunk_tokens, loss=loss)
        results.append((step(model, batch).loss.item(), gradients(model)))
    (whole_loss, whole), (cached_loss, cached) = results
    assert cached_loss == pytest.approx(whole_loss, rel=1e-6)
    assert relative(cached, whole) <= 5e-6


def test_figures_of_each_width() -> None:
    generator = torch.Generator().manual_seed(3)
    queries = torch.nn.functional.normalize(torch.randn(20, 6, generator=generator), dim=-1)
    figures = figures_by_width(queries, queries, (6, 2))
    assert set(figures) == {
        "mean_cosine", "margin", "effective_rank", "mean_cosine_2", "margin_2", "effective_rank_2"
    }  # fmt: skip
    narrow = torch.nn.functional.normalize(queries[:, :2], dim=-1)
    assert figures["effective_rank_2"] == collapse_figures(narrow, narrow)["effective_rank"] <= 2.0
