"""The contrastive loss against a literal one in float64, against sentence-transformers, and in bounded memory."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from common.text_hash import text_hashes
from trainers.step.loss import ContrastiveLoss, LossBatch, UnitVectors

# Queries with 0..3 negatives; texts in which every kind of duplicate occurs.
QUERIES = ["q0", "q1", "q2", "Q0 ", "q4", "q5"]  # the fourth is the first again
POSITIVES = ["p0", "p1", "p1", "p3", "q4", "p5"]  # the third has the second's; the fifth equals its query
NEGATIVES = [["n0", "p0"], [], ["p2", "q2", "n2"], ["p0"], ["p5"], ["n5"]]
IN_BATCH = [True, True, False, True, True, False]


def make_batch(in_batch: list[bool] | None = None, dim: int = 5, dtype: torch.dtype = torch.float32) -> LossBatch:
    texts = POSITIVES + [text for texts in NEGATIVES for text in texts]
    owners = list(range(len(QUERIES))) + [index for index, texts in enumerate(NEGATIVES) for _ in texts]
    generator = torch.Generator().manual_seed(0)
    return LossBatch(
        torch.randn(len(QUERIES), dim, generator=generator).to(dtype).requires_grad_(),
        torch.randn(len(texts), dim, generator=generator).to(dtype).requires_grad_(),
        torch.from_numpy(text_hashes(QUERIES)),
        torch.from_numpy(text_hashes(texts)),
        torch.tensor(owners),
        None if in_batch is None else torch.tensor(in_batch),
    )


def normalised(text: str) -> str:
    return " ".join(text.casefold().split())


def literal_loss(batch: LossBatch, loss: ContrastiveLoss, in_batch: list[bool] | None) -> tuple[Tensor, float]:
    """One pair after the other, in float64; returns the loss and the share of pairs left out as false negatives."""
    documents = POSITIVES + [text for texts in NEGATIVES for text in texts]
    owners = list(range(len(QUERIES))) + [index for index, texts in enumerate(NEGATIVES) for _ in texts]
    q, d = F.normalize(batch.queries.double(), dim=1), F.normalize(batch.documents.double(), dim=1)

    def is_false(query: int, document: int) -> bool:
        text = normalised(documents[document])
        if text in (normalised(QUERIES[query]), normalised(POSITIVES[query])):
            return True
        return document < len(QUERIES) and normalised(QUERIES[document]) == normalised(QUERIES[query])

    def terms(backwards: bool) -> tuple[Tensor, float]:
        losses, left_out, pairs = [], 0, 0
        for i in range(len(QUERIES)):
            own, others = q[i] @ d[i], []
            for j in range(len(QUERIES) if backwards else len(documents)):
                alone = in_batch is not None and not in_batch[i]
                if alone and owners[j] != i:
                    continue
                if j == i:
                    continue
                pairs += 1
                cosine = q[j] @ d[i] if backwards else q[i] @ d[j]
                duplicate = loss.mask_duplicates and (is_false(j, i) if backwards else is_false(i, j))
                if duplicate or (loss.similarity_margin is not None and cosine > own + loss.similarity_margin):
                    left_out += 1
                else:
                    others.append(loss.scale * cosine)
            losses.append(torch.logsumexp(torch.stack([loss.scale * own, *others]), 0) - loss.scale * own)
        return torch.stack(losses), left_out / pairs

    forwards, share = terms(backwards=False)
    if loss.both_directions:  # a query that stands alone has no way back
        alone = torch.tensor([in_batch is not None and not together for together in in_batch or [True] * len(QUERIES)])
        forwards = torch.where(alone, forwards, (forwards + terms(backwards=True)[0]) / 2)
    return forwards.mean(), share


@pytest.mark.parametrize("block_scores", [1, 30, 2**22])
@pytest.mark.parametrize("in_batch", [None, IN_BATCH], ids=["in_batch", "some_alone"])
@pytest.mark.parametrize(
    "options",
    [{}, {"mask_duplicates": False}, {"similarity_margin": 0.1}, {"similarity_margin": -0.2}, {"both_directions": True},
     {"both_directions": True, "similarity_margin": 0.05, "scale": 5.0}],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize(("dtype", "within"), [(torch.float32, 1e-6), (torch.float64, 1e-13)], ids=["fp32", "fp64"])
@pytest.mark.usefixtures("doubling")
def test_loss_and_gradients_equal_the_literal_ones(
    options: Any, in_batch: list[bool] | None, block_scores: int, dtype: torch.dtype, within: float
) -> None:
    loss = ContrastiveLoss(**options, block_scores=block_scores)
    batch = make_batch(in_batch, dtype=dtype)
    result = loss(batch)
    expected, share = literal_loss(batch, loss, in_batch)
    assert result.loss.item() == pytest.approx(expected.item(), rel=within, abs=within)
    assert float(result.excluded) == pytest.approx(share)
    sides = (batch.queries, batch.documents)
    for ours, theirs in zip(torch.autograd.grad(result.loss, sides), torch.autograd.grad(expected, sides), strict=True):
        assert torch.allclose(ours, theirs.to(dtype), atol=within * max(1.0, float(theirs.abs().max())), rtol=0)


def test_options_change_the_loss() -> None:
    """Otherwise the comparison above could hold for options that do nothing."""
    batches = make_batch(), make_batch(IN_BATCH)
    losses = [
        ContrastiveLoss()(batches[0]), ContrastiveLoss()(batches[1]), ContrastiveLoss(mask_duplicates=False)(batches[0]),
        ContrastiveLoss(similarity_margin=0.1)(batches[0]), ContrastiveLoss(both_directions=True)(batches[0]),
    ]  # fmt: skip
    values = [result.loss.item() for result in losses]
    assert len(set(values)) == len(values)


def test_no_positive_is_in_a_denominator() -> None:
    """A text that is the positive or the query of a row may be moved anywhere without changing that row's loss."""
    loss = ContrastiveLoss()
    texts = [normalised(text) for text in POSITIVES + [text for texts in NEGATIVES for text in texts]]
    for row, (query, positive) in enumerate(zip(QUERIES, POSITIVES, strict=True)):
        same = [j for j, text in enumerate(texts) if text in (normalised(query), normalised(positive)) and j != row]
        batch = make_batch()
        rows = torch.tensor([row])
        queries, documents = F.normalize(batch.queries, dim=1), F.normalize(batch.documents, dim=1)
        before = loss._block([UnitVectors(queries, documents, 1.0)], rows, batch)[0]
        moved = documents.detach().clone()
        moved[same] = F.normalize(torch.randn(len(same), documents.shape[1]), dim=1)
        assert loss._block([UnitVectors(queries, moved, 1.0)], rows, batch)[0].item() == before.item()
        (gradient,) = torch.autograd.grad(before, documents)
        assert float(gradient[same].abs().sum()) == 0.0
        assert float(gradient.abs().sum()) > 0.0


def test_accuracy_counts_queries_whose_positive_wins() -> None:
    queries = torch.eye(4)
    documents = torch.cat([torch.eye(4), queries[:1] * 2])
    documents[1] = -documents[1]
    batch = LossBatch(queries, documents)
    assert float(ContrastiveLoss(mask_duplicates=False)(batch).accuracy) == 0.75


def test_in_batch_off_without_negatives_is_zero() -> None:
    batch = LossBatch(torch.randn(3, 4), torch.randn(3, 4), owners=torch.arange(3), in_batch=torch.zeros(3, dtype=torch.bool))
    assert float(ContrastiveLoss(mask_duplicates=False)(batch).loss) == 0.0


def test_the_loss_is_fp32_also_under_autocast() -> None:
    batch = make_batch()
    plain = ContrastiveLoss()(batch).loss
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = ContrastiveLoss()(LossBatch(*(vars(batch)[name] for name in vars(batch)))).loss
    assert torch.equal(plain, cast)
    assert plain.dtype == torch.float32


class Largest(TorchDispatchMode):
    """Notes the largest tensor that any operation makes."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, Tensor):
                self.numbers = max(self.numbers, tensor.numel())
        return result


def test_the_score_matrix_is_never_whole() -> None:
    count, dim = 600, 8
    hashes = torch.arange(3 * count)
    queries, documents = torch.randn(count, dim).requires_grad_(), torch.randn(2 * count, dim).requires_grad_()
    batch = LossBatch(queries, documents, hashes[:count], hashes[count:])
    with Largest() as largest:
        loss = ContrastiveLoss(block_scores=24_000, both_directions=True)(batch).loss
        torch.autograd.grad(loss, (queries, documents))
    assert largest.numbers == 24_000  # the whole matrix has 720,000
    with Largest() as largest:
        ContrastiveLoss()(batch).loss.backward()
    assert largest.numbers == 2 * count * count


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("negatives", [0, 1, 3])
def test_equals_sentence_transformers(negatives: int, both: bool) -> None:
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    class NoModel(torch.nn.Module):
        pass

    directions = ("query_to_doc", "doc_to_query") if both else ("query_to_doc",)
    peer = MultipleNegativesRankingLoss(NoModel(), scale=20.0, directions=directions, partition_mode="per_direction")
    generator = torch.Generator().manual_seed(negatives)
    sides = [torch.randn(16, 24, generator=generator).requires_grad_() for _ in range(2 + negatives)]
    theirs = peer.compute_loss_from_embeddings(sides, torch.empty(0))
    ours = ContrastiveLoss(20.0, both_directions=both)(
        LossBatch(sides[0], torch.cat(sides[1:]), torch.arange(16), torch.arange(16, 16 * len(sides)))
    ).loss
    assert float(ours) == pytest.approx(float(theirs), rel=1e-6)
    for mine, peers in zip(torch.autograd.grad(ours, sides), torch.autograd.grad(theirs, sides), strict=True):
        assert float((mine - peers).norm() / peers.norm()) <= 1e-6
    assert not math.isnan(float(ours))
