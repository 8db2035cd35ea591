"""The loss of a run: built of its flags, and described."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from common.errors import UserError
from trainers.flags.arguments import ContrastiveArguments
from trainers.masked.step import MaskedTokensStep
from trainers.step.distillation import DistillationLoss
from trainers.step.loss import ContrastiveLoss, Term, VectorLoss
from trainers.step.matryoshka import MatryoshkaLoss

if TYPE_CHECKING:
    from model_loaders.embed_model import EmbedModel


def loss_of(contrastive: ContrastiveArguments) -> VectorLoss:
    """Return the loss of the flags."""
    plain = ContrastiveLoss(
        contrastive.loss_scale,
        mask_duplicates=contrastive.loss == "default",
        similarity_margin=contrastive.similarity_margin,
        both_directions=contrastive.both_directions,
        terms=cast(tuple[Term, ...], contrastive.terms),
        hardness=contrastive.hardness,
        hardness_of=contrastive.hardness_of,
    )
    loss: ContrastiveLoss | DistillationLoss = plain
    if contrastive.distillation is not None:
        share, temperature = contrastive.distillation_share, contrastive.teacher_temperature
        loss = DistillationLoss(plain, contrastive.distillation, share, temperature)
    if contrastive.matryoshka_dims is None:
        return loss
    return MatryoshkaLoss.of(loss, contrastive.matryoshka_dims, contrastive.matryoshka_weights)


def take_dimensions(model: EmbedModel, contrastive: ContrastiveArguments) -> None:
    """Let a model know the widths that it is trained at; one that goes on without them keeps its own.

    Raises:
        UserError: a width is larger than the vectors.
    """
    dims = contrastive.matryoshka_dims
    if dims is None:
        return
    if max(dims) > model.dim:
        raise UserError(f"--matryoshka_dims {max(dims)}: the vectors of this model have {model.dim} numbers")
    model.trained_dimensions = tuple(sorted(dims, reverse=True))


def describe_masking(step: MaskedTokensStep) -> str:
    """Describe masked next-token prediction for the banner."""
    masking = step.masking
    token = step.chunker.tokenizer.tokenizer.convert_ids_to_tokens(masking.mask_id)
    kept = "all masked" if masking.all_masked else "80 % masked, 10 % random, 10 % as they were"
    attention = "within each text" if step.block_diagonal else "over the whole row"
    return f"masked next tokens, {masking.share:.0%} hidden by {token!r} ({kept}), attention {attention}"


def describe_loss(loss: VectorLoss) -> str:
    """Describe a loss for the banner."""
    if isinstance(loss, MatryoshkaLoss):
        widths = [f"{cut.width} (weight {cut.weight:g})" for cut in loss.cuts]
        return f"{describe_loss(loss.loss)}, summed over the widths {', '.join(widths)}"
    if isinstance(loss, DistillationLoss):
        text = f"distillation {loss.kind} at scale {loss.contrastive.scale}, share {loss.share:g}"
        return text if loss.share == 1.0 else f"{text}; {describe_loss(loss.contrastive)}"
    if not isinstance(loss, ContrastiveLoss):
        return type(loss).__name__
    text = f"{'default' if loss.mask_duplicates else 'published'}, scale {loss.scale}"
    if loss.both_directions:
        text += ", both directions"
    if loss.terms:
        text += f", more terms: {', '.join(loss.terms)}"
    if loss.hardness:
        text += f", hardness {loss.hardness:g} ({loss.hardness_of})"
    if loss.similarity_margin is not None:
        text += f", similarity margin {loss.similarity_margin:g}"
    return text
