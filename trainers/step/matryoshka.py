"""The Matryoshka loss: vectors that stay good when they are cut (Kusupati et al., arXiv 2205.13147, equation 1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trainers.step.distillation import DistillationLoss
from trainers.step.loss import ContrastiveLoss, Cut, LossBatch, LossResult, VectorLoss


@dataclass(frozen=True)
class MatryoshkaLoss:
    """Weighted sum of the losses of vectors that are cut to several widths, each made unit again.

    The weights are taken as they are: they are not divided by their sum. The scores of a block of queries are computed at all
    widths while the block is in memory, and its masks of texts once. A similarity margin compares cosines of the same width.
    Accuracy and excluded pairs are those of the widest cut.

    Attributes:
        loss: of the vectors of one width.
        cuts: widths and weights, the widest first.
    """

    loss: ContrastiveLoss | DistillationLoss
    cuts: tuple[Cut, ...]

    @classmethod
    def of(
        cls, loss: ContrastiveLoss | DistillationLoss, dims: Sequence[int], weights: Sequence[float] | None = None
    ) -> MatryoshkaLoss:
        """Make the loss of some widths.

        Args:
            loss: of the vectors of one width.
            dims: the widths, in any order, each once.
            weights: one for each of ``dims``; None for 1 each.
        """
        pairs = zip(dims, weights or [1.0] * len(dims), strict=True)
        cuts = [Cut(width, weight) for width, weight in sorted(pairs, reverse=True)]
        return cls(loss, tuple(cuts))

    def __call__(self, batch: LossBatch) -> LossResult:
        """Return the loss of a batch; with no query in it, zeros."""
        return self.loss.of_cuts(batch, self.cuts)


def widths_of(loss: VectorLoss | None) -> tuple[int, ...]:
    """Return the widths that a loss cuts the vectors to, the widest first; none for any other loss."""
    if not isinstance(loss, MatryoshkaLoss):
        return ()
    return tuple(cut.width for cut in loss.cuts if cut.width is not None)
