"""Checks before the first step that need the data or the model: there is something to learn, and no text is too long."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.errors import UserError
from model_loaders.backbone.dropout import has_dropout
from trainers.step.batch import unscored

if TYPE_CHECKING:
    from model_loaders.embed_model import EmbedModel
    from triplets.dataset import TripletRows

POSITION_TABLES = ("wpe", "embed_positions", "position_embeddings")  # ends of modules' names


def check_negatives(rows: TripletRows, queries: int, *, homogeneous: bool, own_positive: bool = False) -> None:
    """Refuse batches of one query whose rows have no negatives: there is nothing to tell the positive from.

    Args:
        rows: the triplets.
        queries: of a batch that are compared with each other's documents.
        homogeneous: whether all batches are of one data set.
        own_positive: whether every query is its own positive (SimCSE), and no other text of its row is read.
    """
    give = "" if own_positive else "give the rows negatives, "
    for part, share in zip(rows.parts, rows.shares, strict=True):
        largest = min(queries, share.taken) if homogeneous or len(rows.parts) == 1 else queries
        if largest == 1 and (own_positive or not part.has_negatives()):
            raise UserError(
                f"{part.label}: every batch has one query and no negatives, so its loss is always 0: raise "
                f"--per_device_train_batch_size, {give}or mix small data sets with --batching blended"
            )


def check_texts(rows: TripletRows, objective: str) -> None:
    """Refuse single texts where pairs are meant, and texts that SimCSE would compare with nothing.

    Raises:
        UserError: naming the data set.
    """
    for part in rows.parts:
        if objective == "simcse" and not part.in_batch:
            raise UserError(
                f"{part.label}: --objective simcse tells a text from the other texts of its batch, and in_batch_negatives "
                "false leaves it alone with itself, so its loss is always 0: leave that out"
            )
        texts = 0 if part.report is None else part.report.texts
        if objective == "contrastive" and texts:
            raise UserError(
                f"{part.label}: {texts:,} rows are one text (key 'text') without a positive: give --objective simcse or mntp, "
                "or rows with query and positive"
            )


def check_held_out(rows: TripletRows, queries: int) -> None:
    """Refuse evaluation rows whose contrastive loss would say nothing, by which a checkpoint may be chosen.

    Args:
        rows: of ``--eval_dataset``.
        queries: of a batch.

    Raises:
        UserError: rows are single texts, each its own positive; or every query is alone with its positive.
    """
    for part in rows.parts:
        if part.report is not None and part.report.texts:
            raise UserError(
                f"--eval_dataset {part.label}: {part.report.texts:,} rows are one text (key 'text') without a positive, and a "
                "text always finds itself: give rows with query and positive, or --eval_tasks"
            )
        if min(queries, len(part)) == 1 and not part.has_negatives():
            raise UserError(
                f"--eval_dataset {part.label}: every batch has one query and no negatives, so its loss is always 0: raise "
                "--per_device_eval_batch_size, or give more rows or negatives"
            )


def check_scores(rows: TripletRows) -> None:
    """Refuse rows that distillation cannot learn from, hours before a batch would hold the first of them.

    Raises:
        UserError: a row has no teacher scores; or no row has a negative, whose score could differ from the positive's.
    """
    for part in rows.parts:
        row = part.first_without("scores")
        if row is not None:
            raise unscored(row.get("place", "a row"))
        if not part.has_negatives():
            raise UserError(
                f"{part.label}: --distillation compares a query's own documents, and no row has a negative (--max_negatives 0 "
                "leaves them out): give the rows negatives"
            )


def check_dropout(model: EmbedModel, objective: str) -> None:
    """Refuse SimCSE without any dropout: a text and its positive would have the same vector."""
    if objective == "simcse" and not has_dropout(model.backbone):
        raise UserError(
            "--objective simcse compares a text with itself under another dropout, and there is none: give --lora_dropout or "
            "--attention_dropout above 0"
        )


def check_positions(model: EmbedModel) -> str:
    """Compare the longest text with the base model's positions.

    Returns:
        A note for the user, empty if the texts fit: a base model with computed positions (rotary, ALiBi) encodes longer texts
        than it has learned from, less well.

    Raises:
        UserError: the base model has a table of positions, and longer texts would end in an index error when they come.
    """
    longest, limit = max(model.recipe.length("query"), model.recipe.length("document")), positions(model)
    if limit is None or longest <= limit:
        return ""
    excess = f"texts of up to {longest} tokens, {model.base_model.name_or_path} knows {limit} positions"
    for name, module in model.backbone.named_modules():
        if name.endswith(POSITION_TABLES) and hasattr(module, "num_embeddings"):
            raise UserError(f"{excess}: lower --max_seq_length and --query_max_length to {limit} at most")
    return f"{excess}: it has learned nothing about later ones"


def positions(model: EmbedModel) -> int | None:
    """Return how many positions the base model was made for, or None where its config has no such number."""
    number: int | None = getattr(model.backbone.config, "max_position_embeddings", None)
    return number


def check_packing(packing: str, packs_up_to: int) -> None:
    """Refuse ``--packing on`` where texts are padded all the same.

    Args:
        packing: the flag.
        packs_up_to: tokens of a text that the base LLM computes in one row with others; 0 for none.
    """
    if packing == "on" and not packs_up_to:
        raise UserError(
            "--packing on cannot be honoured: layers are recomputed in the backward pass (--gradient_checkpointing), or this "
            "base LLM does not give texts in one row the states that they have alone. Leave the flag out"
        )
