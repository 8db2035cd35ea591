"""A run's evaluations are made ready: its tasks are read, and the rule of choice is fixed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from common.errors import UserError
from trainers.scoring.arguments import ScoringArguments
from trainers.scoring.evaluation import EvaluatedTrainer
from trainers.scoring.selection import Selection, metric_named

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import TrainerCallback

SHARDED = ("FSDP", "DEEPSPEED")  # engines under which no process holds the whole model and its optimizer


class AttachableTrainer(EvaluatedTrainer, Protocol):
    """A trainer before its first step."""

    accelerator: Accelerator

    def add_callback(self, callback: TrainerCallback) -> None:
        """Call the callback from now on."""


def attach_scoring(trainer: AttachableTrainer, scoring: ScoringArguments, cache_dir: str | None, *, has_loss: bool) -> None:
    """Give a trainer its tasks and its rule of choice; called on every process.

    Args:
        trainer: before its first step.
        scoring: the flags.
        cache_dir: the hub's.
        has_loss: whether the loss of held-out rows is evaluated.

    Raises:
        UserError: a task cannot be scored, the figure to choose by is unknown, or the engine cannot score tasks.
    """
    output_dir, accelerator = Path(trainer.args.output_dir), trainer.accelerator
    names: list[str] = []
    if scoring.tasks:
        engine = accelerator.distributed_type.value
        if engine in SHARDED:
            raise UserError(
                f"--eval_tasks needs the whole model on each process, and {engine} shares it out: leave the flag out and score "
                "checkpoints with run_mteb.py, or train with DDP (configs/accelerate/ddp.yaml)"
            )
        from trainers.scoring.task_scores import open_tasks  # mteb takes seconds

        trainer.task_scores = open_tasks(
            scoring.tasks, trainer.model, output_dir, cache_dir, (accelerator.process_index, accelerator.num_processes)
        )
        names = trainer.task_scores.names
    if scoring.chooses:
        trainer.selection = Selection(
            metric_named(scoring.metric_for_best_model, names, has_loss=has_loss),
            tuple(names),
            load_best=scoring.load_best_model_at_end,
            patience=scoring.early_stopping_patience,
            threshold=scoring.early_stopping_threshold,
        )
    if names:
        from trainers.scoring.curve import CURVE_FILE, CurveFile  # draws with matplotlib

        trainer.add_callback(CurveFile(output_dir / CURVE_FILE, names, trainer.selection))
