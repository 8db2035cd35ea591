"""One evaluation of a run: the loss of held-out rows and the scores of tasks, in one line of the log."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from model_loaders.embed_model import EmbedModel
from trainers.monitor.metrics import RunningMetrics
from trainers.scoring.selection import ACCURACY, LOSS, MEAN, SECONDS, Selection
from trainers.step.distributed import from_first
from triplets.dataset import TripletRows

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState, TrainingArguments
    from transformers.trainer_callback import CallbackHandler


class Stop(Protocol):
    """A request to stop the run, as `trainers.run.stopping.StopRequest`."""

    requested: int
    agreed: int


class Scores(Protocol):
    """The scores of tasks, as `trainers.scoring.task_scores.TaskScores`."""

    names: list[str]
    folder: Path
    stop: Stop | None

    def score(self, model: EmbedModel, step: int, *, may_stop: bool) -> dict[str, float] | None:
        """Return each task's score, None where the run was told to stop meanwhile."""

    def check_data(self, *, goes_on: bool) -> None:
        """Compare the tasks' data with those of the run's earlier start."""


class EvaluatedTrainer(Protocol):
    """The part of a trainer that an evaluation needs.

    Attributes:
        task_scores: None where no task is scored.
        selection: None where nothing is chosen by the evaluations.
    """

    objective: str
    eval_dataset: TripletRows
    model: EmbedModel
    args: TrainingArguments
    state: TrainerState
    control: TrainerControl
    callback_handler: CallbackHandler
    metrics: RunningMetrics
    task_scores: Scores | None
    selection: Selection | None

    def held_out(self, rows: TripletRows) -> tuple[float, float]:
        """Return the loss and the accuracy of rows."""

    def log(self, logs: dict[str, float]) -> None:
        """Log a line."""


def evaluate_run(trainer: EvaluatedTrainer, rows: TripletRows, prefix: str) -> dict[str, float]:
    """Compute and log the figures of one evaluation; called on every process, and all have the same figures.

    The clock of the training's own figures stands still meanwhile.

    Args:
        trainer: of the run.
        rows: to compute the loss of; there may be none.
        prefix: of the figures' names.

    Returns:
        The figures; none where the run was told to stop while tasks were scored. Nothing is logged then, the run saves and
        stops at this step, and evaluates it when it goes on.
    """
    began = time.monotonic()
    figures: dict[str, float] = {}
    if len(rows):
        own = trainer.held_out(rows)  # on every process: a sharded model computes on all of them
        figures[LOSS], figures[ACCURACY] = from_first(lambda: own)  # others may differ in the last bit, and end elsewhere
    if trainer.task_scores is not None:
        step, last = trainer.state.global_step, trainer.state.max_steps
        scores = trainer.task_scores.score(trainer.model, step, may_stop=step < last)
        if scores is None:
            trainer.args.save_only_model = False  # without the optimizer the run could not go on
            trainer.control.should_save = trainer.control.should_training_stop = True
            return {}
        figures |= {**scores, MEAN: sum(scores.values()) / len(scores), SECONDS: round(time.monotonic() - began, 3)}
    trainer.metrics.since += time.monotonic() - began
    named = {f"{prefix}_{name}": value for name, value in figures.items()}
    trainer.log(named)
    trainer.control = trainer.callback_handler.on_evaluate(trainer.args, trainer.state, trainer.control, named)
    return named


def was_evaluated(log: Sequence[Mapping[str, Any]], step: int, prefix: str = "eval_") -> bool:
    """Whether a run's log has an evaluation of a step."""
    names: list[str] = []
    for line in log:
        if line["step"] == step:
            names += line
    return any(name.startswith(prefix) for name in names)


def evaluations_of(args: TrainingArguments, steps: int, steps_of_epoch: int) -> int:
    """Return how often a run of so many steps is evaluated."""
    strategy = str(getattr(args.eval_strategy, "value", args.eval_strategy))
    every = steps_of_epoch
    if strategy == "steps":
        every = int(args.eval_steps) if args.eval_steps >= 1 else max(1, math.ceil(steps * args.eval_steps))
    return math.ceil(steps / every) + bool(args.eval_on_start)


def loss_evaluations(trainer: EvaluatedTrainer) -> tuple[str, ...]:
    """Return what decides the loss of evaluation rows: their content, and how many make a batch; nothing without any."""
    rows = trainer.eval_dataset
    if not len(rows):
        return ()
    size = "" if trainer.objective == "mntp" else f" in batches of {trainer.args.per_device_eval_batch_size}"
    return (f"{rows.content}{size}",)
