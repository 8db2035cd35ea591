"""More terms, hardness and distillation: sentence-transformers' losses and KaLM's numbers, caching, masks of duplicates."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.contracts.gradients import batch_of, engine, gradients, relative, rows_with
from tests.tiny import SHARED, new_model
from tests.trainers.step.test_loss import IN_BATCH, make_batch
from tests.trainers.step.test_matryoshka import KALM, kalm_batch
from trainers.step.batch import TripletCollator
from trainers.step.contrastive import ContrastiveStep
from trainers.step.distillation import DistillationLoss, log_softmax_by_query
from trainers.step.loss import ContrastiveLoss, LossBatch
from trainers.step.matryoshka import MatryoshkaLoss

B, NEGATIVES, DIM = 5, 2, 6
DIRECTIONS = {
    ("query_query",): ("query_to_doc", "query_to_query"),
    ("document_query",): ("query_to_doc", "doc_to_query"),
    ("document_document",): ("query_to_doc", "doc_to_doc"),
    ("query_query", "document_query", "document_document"): (
        "query_to_doc", "query_to_query", "doc_to_query", "doc_to_doc"),
}  # fmt: skip


def even_batch(scores: bool = False) -> tuple[LossBatch, list[Tensor]]:
    """A batch of ours, and its vectors by column, as sentence-transformers takes them."""
    generator = torch.Generator().manual_seed(0)
    columns = [torch.randn(B, DIM, generator=generator).requires_grad_() for _ in range(2 + NEGATIVES)]
    negatives = torch.stack(columns[2:], dim=1).flatten(0, 1)
    owners = torch.cat([torch.arange(B), torch.arange(B).repeat_interleave(NEGATIVES)])
    teacher = torch.randn(B, 1 + NEGATIVES, generator=generator)
    given = torch.cat([teacher[:, 0], teacher[:, 1:].flatten()]) if scores else None
    return LossBatch(columns[0], torch.cat([columns[1], negatives]), owners=owners, scores=given), columns


def same_as(ours: Tensor, theirs: Tensor, columns: list[Tensor]) -> None:
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-6, abs=1e-6)
    pairs = zip(torch.autograd.grad(ours, columns), torch.autograd.grad(theirs, columns), strict=True)
    for left, right in pairs:
        assert float((left - right).abs().max()) <= 1e-6 * max(1.0, float(right.abs().max()))


@pytest.mark.parametrize("block_scores", [1, 2**22])
@pytest.mark.parametrize("terms", DIRECTIONS, ids=str)
def test_terms_equal_sentence_transformers(terms: Any, block_scores: int) -> None:
    losses = pytest.importorskip("sentence_transformers.losses")
    batch, columns = even_batch()
    theirs = losses.MultipleNegativesRankingLoss(None, directions=DIRECTIONS[terms], partition_mode="joint")
    ours = ContrastiveLoss(mask_duplicates=False, terms=terms, block_scores=block_scores)(batch).loss
    same_as(ours, theirs.compute_loss_from_embeddings(columns, None), columns)


@pytest.mark.parametrize(
    ("kind", "mode"), [("in_batch", "in_batch_negatives"), ("hard", "hard_negatives"), ("all", "all_negatives")]
)
def test_hardness_equals_sentence_transformers(kind: Any, mode: str) -> None:
    losses = pytest.importorskip("sentence_transformers.losses")
    batch, columns = even_batch()
    theirs = losses.MultipleNegativesRankingLoss(None, hardness_mode=mode, hardness_strength=5.0)
    ours = ContrastiveLoss(mask_duplicates=False, hardness=5.0, hardness_of=kind)(batch).loss
    same_as(ours, theirs.compute_loss_from_embeddings(columns, None), columns)
    assert ours.item() != pytest.approx(ContrastiveLoss(mask_duplicates=False)(batch).loss.item(), rel=1e-5)


def unit_columns(columns: list[Tensor]) -> list[Tensor]:
    return [F.normalize(column, dim=-1) for column in columns]


@pytest.mark.parametrize(("scale", "temperature"), [(20.0, 1.0), (5.0, 2.0)])
def test_divergence_equals_sentence_transformers(scale: float, temperature: float) -> None:
    """Theirs is multiplied by the square of the student's temperature, 1 / scale."""
    losses = pytest.importorskip("sentence_transformers.losses")
    batch, columns = even_batch(scores=True)
    assert batch.scores is not None
    teacher = torch.cat([batch.scores[:B, None], batch.scores[B:].reshape(B, NEGATIVES)], dim=1)
    theirs = losses.DistillKLDivLoss(None, student_temperature=1 / scale, teacher_temperature=temperature)
    expected = theirs.compute_loss_from_embeddings(unit_columns(columns), teacher) * scale**2
    ours = DistillationLoss(ContrastiveLoss(scale, mask_duplicates=False), "kl", teacher_temperature=temperature)(batch).loss
    same_as(ours, expected, columns)


def test_margins_equal_sentence_transformers() -> None:
    losses = pytest.importorskip("sentence_transformers.losses")
    batch, columns = even_batch(scores=True)
    assert batch.scores is not None
    teacher = torch.cat([batch.scores[:B, None], batch.scores[B:].reshape(B, NEGATIVES)], dim=1)
    expected = losses.MarginMSELoss(None).compute_loss_from_embeddings(unit_columns(columns), teacher)
    ours = DistillationLoss(ContrastiveLoss(1.0, mask_duplicates=False), "margin_mse")(batch).loss
    same_as(ours, expected, columns)


@pytest.mark.parametrize("share", [1.0, 0.25])
@pytest.mark.parametrize("kind", ["kl", "margin_mse"])
def test_cut_vectors_learn_the_same_scores(kind: Any, share: float) -> None:
    """As sentence-transformers' MatryoshkaLoss does: cut, unit again, the teacher's scores as they are; summed with weights."""
    losses = pytest.importorskip("sentence_transformers.losses")
    batch, columns = even_batch(scores=True)
    assert batch.scores is not None
    teacher = torch.cat([batch.scores[:B, None], batch.scores[B:].reshape(B, NEGATIVES)], dim=1)
    scale, widths, weights = 5.0 if kind == "kl" else 1.0, (DIM, 4, 2), (1.0, 0.5, 0.25)
    theirs = losses.DistillKLDivLoss(None, student_temperature=1 / scale) if kind == "kl" else losses.MarginMSELoss(None)
    plain = ContrastiveLoss(scale, mask_duplicates=False)
    expected = torch.zeros(())
    for width, weight in zip(widths, weights, strict=True):
        unit = unit_columns([column[:, :width] for column in columns])
        distilled = theirs.compute_loss_from_embeddings(unit, teacher) * (scale**2 if kind == "kl" else 1.0)
        narrow = replace(batch, queries=batch.queries[:, :width], documents=batch.documents[:, :width])
        expected = expected + weight * (share * distilled + (1 - share) * plain(narrow).loss)
    ours = MatryoshkaLoss.of(DistillationLoss(plain, kind, share), widths, weights)(batch).loss
    same_as(ours, expected, columns)


def test_a_share_mixes_both_losses() -> None:
    batch, _ = even_batch(scores=True)
    plain = ContrastiveLoss(mask_duplicates=False)
    alone = DistillationLoss(plain)(batch)
    mixed = DistillationLoss(plain, share=0.25)(batch)
    assert mixed.loss.item() == pytest.approx(0.75 * plain(batch).loss.item() + 0.25 * alone.loss.item(), rel=1e-6)
    assert float(mixed.accuracy) == float(plain(batch).accuracy) == float(alone.accuracy)


def test_groups_of_other_sizes() -> None:
    owners, scores = torch.tensor([0, 1, 2, 0, 2, 2]), torch.tensor([1.0, 5.0, 0.0, 3.0, 1.0, 2.0])
    result = log_softmax_by_query(scores, owners, 3)
    for query in range(3):
        own = owners == query
        assert torch.allclose(result[own], torch.log_softmax(scores[own], dim=0))
    empty = LossBatch(torch.zeros(0, 4), torch.zeros(0, 4), owners=torch.zeros(0).long(), scores=torch.zeros(0))
    for kind in ("kl", "margin_mse"):
        assert DistillationLoss(ContrastiveLoss(mask_duplicates=False), kind)(empty).loss.item() == 0.0


def expanded_cases() -> list[Any]:
    if not KALM.is_dir():
        return [pytest.param(None, marks=pytest.mark.skip(reason="numbers of the public loss are not here"))]
    cases = json.loads((SHARED / "neighbours" / "kalm" / "golden_loss.json").read_text())
    return [pytest.param(case, id=case["key"]) for case in cases if case["expanded"]]


@pytest.mark.parametrize("case", expanded_cases())
def test_expanded_denominators_are_the_public_ones(case: dict[str, Any]) -> None:
    arrays = np.load(KALM / "golden_loss.npz")
    batch, queries, documents = kalm_batch(case, arrays)
    loss = ContrastiveLoss(1 / case["temperature"], mask_duplicates=False, terms=("query_query", "positive_positive"))
    result = MatryoshkaLoss.of(loss, case["dims"], case["weights"])(batch).loss
    result.backward()
    assert result.item() == pytest.approx(case["loss_float64"], rel=1e-5, abs=1e-6)
    for side, leaf in (("q", queries), ("p", documents)):
        golden = torch.tensor(arrays[f"{case['key']}_grad_{side}"])
        assert float((leaf.grad - golden).norm()) <= 1e-4 * float(golden.norm()) + 1e-6


@pytest.mark.parametrize("terms", [("query_query",), ("document_query",), ("document_document",), ("positive_positive",)])
def test_duplicates_and_queries_alone_are_left_out_of_the_terms(terms: Any) -> None:
    """Texts that mean the same as a query or its positive may be anywhere without a change of that query's loss."""
    loss = ContrastiveLoss(terms=terms)
    batch = make_batch(IN_BATCH)
    assert batch.query_hashes is not None and batch.document_hashes is not None
    alone = replace(loss, terms=())
    for row, together in enumerate(IN_BATCH):
        masks = loss._masks(torch.tensor([row]), batch)
        vectors = [torch.nn.functional.normalize(side.detach(), dim=-1) for side in (batch.queries, batch.documents)]
        from trainers.step.loss import UnitVectors

        unit, rows = UnitVectors(vectors[0], vectors[1], 1.0), torch.tensor([row])
        with_terms, without = loss._sums(unit, rows, batch, masks)[0], alone._sums(unit, rows, batch, masks)[0]
        if not together:
            assert with_terms.item() == without.item()
        scores = loss._more(unit, rows, batch, masks)[0][0]
        for place, score in enumerate(scores.tolist()):
            side = batch.query_hashes if terms[0].endswith("_query") else batch.document_hashes
            same = side[place] in (batch.query_hashes[row], batch.document_hashes[row])
            own = terms == ("document_query",) and place == row
            assert not same or own or score == float("-inf")
        assert not together or torch.isfinite(scores).any()


@pytest.mark.parametrize(
    "loss",
    [
        ContrastiveLoss(terms=("query_query", "document_query", "document_document"), hardness=3.0),
        DistillationLoss(ContrastiveLoss(), "kl", 0.5),
        DistillationLoss(ContrastiveLoss(), "margin_mse"),
    ],
    ids=["terms", "kl", "margins"],
)
def test_chunks_give_the_gradient_of_the_whole_batch(base: Path, loss: Any) -> None:
    model = new_model("model1", base).train()
    rows = rows_with("ragged")
    for number, row in enumerate(rows):
        row["scores"] = [float((number * 7 + k * 3) % 5) for k in range(1 + len(row["negatives"]))]
    batch = TripletCollator(model.tokenizer, model.recipe, with_scores=True)(rows)
    assert batch.scores is not None and len(batch.scores) == len(batch_of(model, rows)) - len(rows)
    results = []
    for chunk_tokens in (None, 16):
        step = ContrastiveStep.of(model, engine(), chunk_tokens=chunk_tokens, loss=loss)
        results.append((step(model, batch).loss.item(), gradients(model)))
    (whole_loss, whole), (cached_loss, cached) = results
    assert cached_loss == pytest.approx(whole_loss, rel=1e-5)
    assert relative(cached, whole) <= 5e-6
