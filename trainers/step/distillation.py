"""Distillation: a query's scores with its own documents become those of a teacher.

The student's score is ``scale * cosine``. Only documents that came with a query take part; there are no in-batch negatives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from trainers.step.loss import ContrastiveLoss, Cut, LossBatch, LossResult

Kind = Literal["kl", "margin_mse"]


@dataclass(frozen=True)
class DistillationLoss:
    """Distillation, alone or beside the contrastive loss.

    ``kl`` is the divergence of the student's distribution over a query's documents from the teacher's (arXiv 2010.11386,
    section 3.2), mean over the queries. ``margin_mse`` is the mean squared difference of both margins between the positive
    and a negative (arXiv 2010.02666, equation 1), mean over all such pairs.

    Attributes:
        contrastive: the other part of the loss; accuracy and excluded pairs are its.
        kind: of distillation.
        share: of the distillation in the loss, above 0; 1 leaves the contrastive part out.
        teacher_temperature: the teacher's scores are divided by it (``kl``).
    """

    contrastive: ContrastiveLoss
    kind: Kind = "kl"
    share: float = 1.0
    teacher_temperature: float = 1.0

    def __call__(self, batch: LossBatch) -> LossResult:
        """Return the loss of a batch; with no query in it, zeros."""
        return self.of_cuts(batch, (Cut(),))

    def of_cuts(self, batch: LossBatch, cuts: Sequence[Cut]) -> LossResult:
        """Return the weighted sum of the losses of cut vectors, each made unit again, with the same teacher's scores.

        It is sentence-transformers' ``MatryoshkaLoss`` around its distillation losses.
        """
        with torch.set_grad_enabled(self.share < 1.0):
            result = self.contrastive.of_cuts(batch, cuts)
        with torch.autocast(batch.queries.device.type, enabled=False):
            distilled = torch.stack([cut.weight * self.distilled(batch, cut.width) for cut in cuts]).sum()
        loss = distilled if self.share == 1.0 else (1.0 - self.share) * result.loss + self.share * distilled
        return LossResult(loss, result.accuracy, result.excluded)

    def distilled(self, batch: LossBatch, width: int | None = None) -> Tensor:
        """Return the distillation loss of the vectors' first ``width`` numbers, a scalar."""
        assert batch.scores is not None and batch.owners is not None
        queries = F.normalize(batch.queries[:, :width].float(), dim=-1)
        documents = F.normalize(batch.documents[:, :width].float(), dim=-1)
        scores = self.contrastive.scale * (queries[batch.owners] * documents).sum(dim=1)  # (documents,)
        if self.kind == "margin_mse":
            return margin_mse(scores, batch.scores.float(), batch.owners, len(queries))
        return divergence(scores, batch.scores.float() / self.teacher_temperature, batch.owners, len(queries))


def margin_mse(scores: Tensor, teacher: Tensor, owners: Tensor, queries: int) -> Tensor:
    """Return the mean squared difference of margins.

    Args:
        scores: ``(documents,)`` of the student, each query's positive first.
        teacher: ``(documents,)``.
        owners: int64 ``(documents,)``: the query of each document.
        queries: their number.
    """
    negatives = owners[queries:]
    student_margins = scores[negatives] - scores[queries:]
    teacher_margins = teacher[negatives] - teacher[queries:]
    squares = (student_margins - teacher_margins).square()
    return squares.sum() / max(1, len(squares)) + 0.0 * scores.sum()


def divergence(scores: Tensor, teacher: Tensor, owners: Tensor, queries: int) -> Tensor:
    """Return the mean over the queries of the teacher's divergence from the student; arguments as of `margin_mse`."""
    student, log_teacher = log_softmax_by_query(scores, owners, queries), log_softmax_by_query(teacher, owners, queries)
    return (log_teacher.exp() * (log_teacher - student)).sum() / max(1, queries)


def log_softmax_by_query(scores: Tensor, owners: Tensor, queries: int) -> Tensor:
    """Return the logarithm of each document's share among those of its query, ``(documents,)``."""
    largest = scores.new_zeros(queries).scatter_reduce(0, owners, scores.detach(), "amax", include_self=False)
    shifted = scores - largest[owners]
    sums = scores.new_zeros(queries).index_add(0, owners, shifted.exp())
    return shifted - sums.log()[owners]
