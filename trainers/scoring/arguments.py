"""Flags of the scores while training, and of what is chosen by them."""

from __future__ import annotations

from dataclasses import dataclass, field

from common.errors import UserError
from common.number_check import check_positive

# Mean nothing without --eval_dataset and --eval_tasks.
EVALUATION_FLAGS = ("eval_delay", "eval_dataset_split", "per_device_eval_batch_size")
# Mean nothing without --eval_dataset.
LOSS_FLAGS = ("eval_dataset_split", "per_device_eval_batch_size")
# Choose something by the evaluations.
CHOICE_FLAGS = ("load_best_model_at_end", "early_stopping_patience", "metric_for_best_model", "early_stopping_threshold")


@dataclass
class ScoringArguments:
    """Scores while training, the best checkpoint, an early end."""

    eval_tasks: list[str] | str | None = field(
        default=None,
        metadata={
            "help": "Score these tasks at each evaluation: task folders, a folder of such folders, or names of mteb such as "
            "NanoBEIR. Evaluations come after each epoch, or as --eval_strategy and --eval_steps say."
        },
    )
    metric_for_best_model: str | None = field(
        default=None,
        metadata={
            "help": "The best checkpoint is chosen by this: mean (of the tasks' main scores), the name of a task, loss or "
            "accuracy (of --eval_dataset). Unset: mean with --eval_tasks, else loss."
        },
    )
    load_best_model_at_end: bool = field(
        default=False, metadata={"help": "The adapter that is saved at the end is that of the best checkpoint."}
    )
    early_stopping_patience: int | None = field(
        default=None, metadata={"help": "End the run after so many evaluations in a row without a better one. Unset: never."}
    )
    early_stopping_threshold: float = field(
        default=0.0, metadata={"help": "A better evaluation is better by more than this (--early_stopping_patience)."}
    )

    @property
    def tasks(self) -> tuple[str, ...]:
        """The folders and names in ``--eval_tasks``."""
        if isinstance(self.eval_tasks, str):
            return (self.eval_tasks,) if self.eval_tasks else ()
        return tuple(self.eval_tasks or ())

    @property
    def chooses(self) -> bool:
        """Whether anything is chosen by the evaluations."""
        return self.load_best_model_at_end or self.early_stopping_patience is not None

    def __post_init__(self) -> None:
        """Check each field alone.

        Raises:
            UserError: naming the flag.
        """
        check_positive(self, "early_stopping_patience")
        if self.early_stopping_threshold < 0:
            raise UserError(f"--early_stopping_threshold must be 0 or more, got {self.early_stopping_threshold}")
