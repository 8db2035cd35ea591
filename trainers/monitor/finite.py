"""A loss, a vector or a gradient that is not finite stops the run before the optimizer applies it, and names the rows."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from common.errors import DivergedError
from trainers.step.batch import TripletBatch
from trainers.step.contrastive import StepResult

VECTORS, GRADIENTS, LOSS, NOTHING = range(4)  # the nearer to the cause, the smaller
SHOWN = 3  # rows and parameters that a message names; of the others it says how many there are

ADVICE = (
    "The weights are those before this step, and the last checkpoint is whole. Lower --learning_rate or "
    "--pooling_learning_rate, use --bf16 instead of --fp16, look at these rows; then start again, or go on from the last "
    "checkpoint with --resume_from_checkpoint true."
)


def check_finite(
    model: nn.Module, batch: TripletBatch, result: StepResult, *, step: int, processes: int = 1, loss_scaling: bool = False
) -> None:
    """Raise unless loss, vectors and gradients of a step are finite; on every process alike.

    Costs one transfer of one number from the device, and with several processes one reduction of it.

    Args:
        model: whose parameters hold the step's gradients.
        batch: this process's share.
        result: of the step.
        step: its number, for the message.
        processes: how many share the batch.
        loss_scaling: whether gradients are multiplied by a loss scale (fp16). Infinite ones are part of how the scale is
            found then: the scaler sees them and leaves that step out.

    Raises:
        DivergedError: the same on every process, naming the rows whose vectors are not finite, and which process has them; if
            there are none, the parameters whose gradients are not, and the rows of the batch.
    """
    gradients = {} if loss_scaling else gradients_of(model)
    # The largest value, not the sum of squares, which overflows long before a gradient does.
    largest = torch.nn.utils.get_total_norm(gradients.values(), norm_type=float("inf"))
    finite = result.loss.isfinite() & result.vectors.isfinite().all() & largest.to(result.loss.device).isfinite()
    wrong = (~finite).float()
    if processes > 1:  # or one process would leave and the others wait for it
        dist.all_reduce(wrong, op=dist.ReduceOp.MAX)
    if not wrong.item():
        return
    found = [trouble_of(batch, result, gradients)]
    if processes > 1:
        found *= processes
        dist.all_gather_object(found, found[0])
    raise DivergedError(f"step {step} is not finite ({told(found)}. {ADVICE}")


def gradients_of(model: nn.Module) -> dict[str, Tensor]:
    """Return the gradients by parameter's name; of a sharded parameter this process's part."""
    found = {name.removeprefix("module."): p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {name: getattr(gradient, "to_local", lambda g=gradient: g)() for name, gradient in found.items()}


@dataclass(frozen=True)
class Trouble:
    """What one process sees of a step that is not finite.

    Attributes:
        loss: its own.
        cause: VECTORS, GRADIENTS, LOSS where all else is finite here, or NOTHING: the trouble is another process's.
        text: what is not finite, for the message.
    """

    loss: float
    cause: int
    text: str


def told(found: list[Trouble]) -> str:
    """Return the loss, and what is nearest to the cause: bad vectors make the other processes' loss and gradients bad too."""
    cause = min(one.cause for one in found)
    whose = [rank for rank, one in enumerate(found) if one.cause == cause]
    if cause != VECTORS:  # summed over processes, so that all see the same
        whose = whose[:1]
    texts = [found[rank].text if len(found) == 1 else f"process {rank}: {found[rank].text}" for rank in whose]
    return f"loss {found[whose[0]].loss:.4g}): {some(texts, '; ')}"


def trouble_of(batch: TripletBatch, result: StepResult, gradients: dict[str, Tensor]) -> Trouble:
    """Return what this process sees: bad vectors and their rows, else bad gradients, else a bad loss alone."""
    loss = float(result.loss)
    texts = (~result.vectors.isfinite().all(dim=1)).nonzero().flatten().tolist()
    if texts:
        owners = torch.arange(batch.queries)
        owner_of = torch.cat([owners, owners, owners.repeat_interleave(batch.negatives)]).tolist()
        rows = sorted({owner_of[index] for index in texts})
        return Trouble(loss, VECTORS, f"not finite are vectors of {counted(len(rows), 'row')}: {named(batch, rows)}")
    parameters = [name for name, gradient in gradients.items() if not gradient.isfinite().all()]
    if parameters:
        text = f"every vector is finite, but not the gradients of {counted(len(parameters), 'parameter')}: {some(parameters)}"
        rows_here = f"the batch's {counted(batch.queries, 'row')}: {named(batch, range(batch.queries))}"
        return Trouble(loss, GRADIENTS, f"{text}; {rows_here}")
    text = f"every vector is finite; is --loss_scale too large? The batch: {named(batch, range(batch.queries))}"
    return Trouble(loss, NOTHING if math.isfinite(loss) else LOSS, text)


def named(batch: TripletBatch, rows: Iterable[int]) -> str:
    """Return where rows stand, and how their queries begin."""
    return some([f"{batch.places[row] + ' ' if batch.places else ''}{batch.texts[row][:60]!r}" for row in rows])


def some(names: list[str], between: str = ", ") -> str:
    """Return the first few names, and how many more there are."""
    more = len(names) - SHOWN
    return between.join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def counted(number: int, noun: str) -> str:
    """Return ``1 row`` or ``2 rows``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
