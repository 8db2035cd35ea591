"""The plan of a step is held against the free memory: chunks are chosen, or the run is stopped before its first step."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal, Protocol

import torch.distributed as dist

from common.errors import UserError
from common.words import gigabytes
from trainers.memory.free import free_memory
from trainers.memory.plan import MemoryPlan, PlannableTrainer, plan_or_reason, plan_training, size_of
from trainers.monitor.out_of_memory import fewer_weights, kept_tokens, remedies
from trainers.step.batch import TripletBatch
from trainers.step.distributed import from_first, several

if TYPE_CHECKING:
    from trainers.run.trainer import ContrastiveOptions

ROOM = 0.9  # of the free memory: kernels and rounding by the allocator come on top of a plan
SMALLEST = 256  # tokens of a chunk
TRIES = 5  # chunks that are planned


class FittedTrainer(PlannableTrainer, Protocol):
    """A trainer whose chunks can still be chosen."""

    options: ContrastiveOptions


def fit_memory(trainer: FittedTrainer, batch: TripletBatch, chunk_tokens: int | Literal["auto"] | None) -> str:
    """Choose the chunks of a trainer where that is left to us, and describe its memory; called on every process.

    Args:
        trainer: built, before its first step.
        batch: the longest one.
        chunk_tokens: of the flags.

    Raises:
        UserError: the plan does not fit the memory that is free.
    """
    free = least_free(trainer)
    chosen, text = from_first(lambda: choose(trainer, batch, free, auto=chunk_tokens == "auto"))
    if chosen is not None:
        set_chunks(trainer, chosen)
    return text


def least_free(trainer: PlannableTrainer) -> int | None:
    """Return the least free memory of all processes, None where it is not known."""
    free = free_memory(next(trainer.model.parameters()).device)
    if not several():
        return free
    gathered: list[int | None] = [None] * dist.get_world_size()
    dist.all_gather_object(gathered, free)
    known = [size for size in gathered if size is not None]
    return min(known) if known else None


def choose(trainer: FittedTrainer, batch: TripletBatch, free: int | None, *, auto: bool) -> tuple[int | None, str]:
    """Return the chunk's tokens, None to leave them as they are, and the description of the memory.

    Raises:
        UserError: as `fit_memory`.
    """
    whole = plan_or_reason(trainer, batch)
    if free is None or isinstance(whole, str):
        return None, str(whole)
    if whole.above_model <= (ROOM if auto else 1.0) * free:
        return None, str(whole)
    if not auto:
        raise UserError(does_not_fit(trainer, batch, whole, free))
    tokens, plan = largest_chunk(trainer, batch, whole, ROOM * free)
    if plan.above_model > ROOM * free:
        if whole.above_model <= free:
            return None, str(whole)
        set_chunks(trainer, tokens)  # for the advice
        raise UserError(does_not_fit(trainer, batch, plan, free))
    reason = f"chunks of {tokens} tokens were chosen (--chunk_tokens auto)"
    return tokens, f"{plan}; {reason}: the whole batch needs {gigabytes(whole.total)}, and {gigabytes(free)} are free"


def largest_chunk(trainer: FittedTrainer, batch: TripletBatch, whole: MemoryPlan, room: float) -> tuple[int, MemoryPlan]:
    """Return about the largest chunk whose plan has room, and its plan; the smallest one where none has.

    Memory grows nearly in proportion to a chunk's tokens, so the first try lies on a line between what is kept without
    the flag and the smallest chunk.
    """
    lengths = [len(ids) for ids in batch.ids]
    kept = kept_tokens(lengths, trainer.contrastive_step)
    smallest = max(SMALLEST, *lengths)
    least = plan_chunk(trainer, batch, smallest)
    share = (room - least.above_model) / max(1, whole.above_model - least.above_model)
    tokens = int(smallest + min(share, 1.0) * (kept - smallest)) // SMALLEST * SMALLEST
    for _ in range(TRIES):
        if tokens <= smallest:
            break
        plan = plan_chunk(trainer, batch, tokens)
        if plan.above_model <= room:
            return tokens, plan
        tokens = int(tokens * 0.75) // SMALLEST * SMALLEST
    return smallest, least


def plan_chunk(trainer: FittedTrainer, batch: TripletBatch, tokens: int) -> MemoryPlan:
    """Plan a step with chunks of so many tokens; the trainer's own stay as they are."""
    before = trainer.options, trainer.contrastive_step
    set_chunks(trainer, tokens)
    try:
        return plan_training(trainer, batch)
    finally:
        trainer.options, trainer.contrastive_step = before


def set_chunks(trainer: FittedTrainer, tokens: int) -> None:
    """Give a trainer chunks of so many tokens."""
    step = trainer.contrastive_step
    trainer.options = replace(trainer.options, chunk_tokens=tokens)
    trainer.contrastive_step = replace(step, chunker=replace(step.chunker, chunk_tokens=tokens))


def does_not_fit(trainer: FittedTrainer, batch: TripletBatch, plan: MemoryPlan, free: int) -> str:
    """Return the message for a step that cannot fit: what to turn, or what else to train where the batch is not the reason."""
    trained = sum(size_of(parameter) for parameter in trainer.model.parameters() if parameter.requires_grad)
    always = trained + plan.optimizer + plan.buffers  # the gradients are as large as what is trained
    left = f"{gigabytes(free)} are free on {trainer.model.device}. The plan is {plan}"
    if always > free:
        return (
            "the weights that are trained do not fit the memory: their gradients and the optimizer's state need "
            f"{gigabytes(always)} beside the model, however small a batch is, and {left}. One of these: "
            f"{'; '.join(fewer_weights(trainer.model))}"
        )
    advice = "; ".join(remedies(batch, step=trainer.contrastive_step, args=trainer.args))
    return (
        f"a step on the longest batch does not fit the memory: beside the model it needs {gigabytes(plan.above_model)}, and "
        f"{left}. In this order: {advice}"
    )
