"""Stop a run on a loss, vector or gradient that is not finite, before the optimizer applies it, and name the rows."""

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
SHOWN = 3  # rows and parameters that a message names; it counts the others

ADVICE = (
    "The weights are those before this step, and the last checkpoint is whole. Look at these rows. With "
    "--resume_from_checkpoint true the run goes on as it was, and probably comes here again. For a lower --learning_rate or "
    "--pooling_learning_rate, or --bf16 instead of --fp16, begin a new run in another --output_dir, from a checkpoint's "
    "weights with --peft_model_name_or_path."
)


def check_finite(
    model: nn.Module, batch: TripletBatch, result: StepResult, *, step: int, processes: int = 1, loss_scaling: bool = False
) -> None:
    """Raise on every process unless the loss, the vectors and the gradients of a step are finite on all of them.

    Costs one transfer of one number from the device, and with several processes one reduction of it.

    Args:
        model: its parameters hold the step's gradients.
        batch: this process's share.
        result: of the step.
        step: number of the step, for the message.
        processes: number of processes that share the batch.
        loss_scaling: whether gradients are multiplied by a loss scale (fp16). The scaler then searches for the scale by
            skipping steps with infinite gradients, so they are no error.

    Raises:
        DivergedError: the same on every process. It names the rows whose vectors are not finite and their process; if there
            are none, the parameters whose gradients are not finite and the rows of the batch.
    """
    gradients = {} if loss_scaling else gradients_of(model)
    # The largest value, not the sum of squares, which overflows long before a gradient does.
    largest = torch.nn.utils.get_total_norm(gradients.values(), norm_type=float("inf"))
    finite = result.loss.isfinite() & result.vectors.isfinite().all() & largest.to(result.loss.device).isfinite()
    wrong = (~finite).float()
    if processes > 1:  # otherwise one process would leave while the others wait for it
        dist.all_reduce(wrong, op=dist.ReduceOp.MAX)
    if not wrong.item():
        return
    reports = [report_failure(batch, result, gradients)]
    if processes > 1:
        reports *= processes
        dist.all_gather_object(reports, reports[0])
    raise DivergedError(f"step {step} is not finite ({describe_failure(reports)}. {ADVICE}")


def gradients_of(model: nn.Module) -> dict[str, Tensor]:
    """Return the gradients by parameter's name; of a sharded parameter this process's part."""
    gradients = {}
    for name, parameter in model.named_parameters():
        gradient = parameter.grad
        if gradient is not None:
            gradients[name.removeprefix("module.")] = gradient.to_local() if hasattr(gradient, "to_local") else gradient
    return gradients


@dataclass(frozen=True)
class FailureReport:
    """One process's view of a step that is not finite.

    Attributes:
        loss: of this process.
        cause: VECTORS, GRADIENTS, LOSS where all else is finite here, or NOTHING: another process has the cause.
        text: names the tensors that are not finite, for the message.
    """

    loss: float
    cause: int
    text: str


def describe_failure(reports: list[FailureReport]) -> str:
    """Format the loss and the most specific cause across processes.

    Vectors that are not finite make the loss and the gradients of the other processes so, too.
    """
    cause = min(report.cause for report in reports)
    ranks = [rank for rank, report in enumerate(reports) if report.cause == cause]
    if cause != VECTORS:  # gradients and losses are summed over processes, so that all see the same
        ranks = ranks[:1]
    texts = []
    for rank in ranks:
        prefix = f"process {rank}: " if len(reports) > 1 else ""
        texts.append(prefix + reports[rank].text)
    return f"loss {reports[ranks[0]].loss:.4g}): {first_few(texts, '; ')}"


def report_failure(batch: TripletBatch, result: StepResult, gradients: dict[str, Tensor]) -> FailureReport:
    """Report what is not finite on this process: vectors and their rows, else gradients, else the loss alone."""
    loss = float(result.loss)
    texts = (~result.vectors.isfinite().all(dim=1)).nonzero().flatten().tolist()
    if texts:
        queries = torch.arange(batch.queries)
        row_of_text = torch.cat([queries, queries, queries.repeat_interleave(batch.negatives)]).tolist()
        rows = sorted({row_of_text[index] for index in texts})
        return FailureReport(
            loss, VECTORS, f"not finite are vectors of {plural(len(rows), 'row')}: {describe_rows(batch, rows)}"
        )
    every_row = describe_rows(batch, range(batch.queries))
    parameters = [name for name, gradient in gradients.items() if not gradient.isfinite().all()]
    if parameters:
        count = plural(len(parameters), "parameter")
        text = f"every vector is finite, but not the gradients of {count}: {first_few(parameters)}"
        return FailureReport(loss, GRADIENTS, f"{text}; the batch's {plural(batch.queries, 'row')}: {every_row}")
    text = f"every vector is finite; is --loss_scale too large? The batch: {every_row}"
    return FailureReport(loss, NOTHING if math.isfinite(loss) else LOSS, text)


def describe_rows(batch: TripletBatch, rows: Iterable[int]) -> str:
    """Return the places of rows, and the beginnings of their queries."""
    descriptions = []
    for row in rows:
        place = f"{batch.places[row]} " if batch.places else ""
        descriptions.append(f"{place}{batch.texts[row][:60]!r}")
    return first_few(descriptions)


def first_few(names: list[str], separator: str = ", ") -> str:
    """Join the first few names, and say how many more there are."""
    more = len(names) - SHOWN
    joined = separator.join(names[:SHOWN])
    if more > 0:
        joined += f" and {more} more"
    return joined


def plural(number: int, noun: str) -> str:
    """Return ``1 row`` or ``2 rows``."""
    return f"1 {noun}" if number == 1 else f"{number} {noun}s"
