"""The time of a checkpoint: after everything else of its step, and when the run is told to stop."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from trainers.run.stopping import StopRequest
from trainers.scoring.evaluation import was_evaluated
from trainers.step.distributed import Largest

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState, TrainingArguments


class CheckpointCallback(TrainerCallback):  # type: ignore[misc]
    """Puts a step's checkpoint last, and stops all processes after the same step.

    Trainer logs and evaluates for the end of an epoch after it has saved the epoch's last step. A run that is killed in
    between would go on with the next epoch and never come back to that; here such a checkpoint waits.

    Args:
        stop: set by the signal handlers.
        evaluate: computes and logs the figures of an evaluation.
    """

    def __init__(self, stop: StopRequest, evaluate: Callable[[], object]) -> None:
        self.stop, self.evaluate = stop, evaluate
        self.waiting = False  # a checkpoint, for the end of the epoch

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Make the evaluation that a stopped run has left out, so as to save in time."""
        self.largest = Largest()
        if state.global_step > 0:
            args.eval_on_start = False  # this is no start
        due = state.global_step > 0 and evaluation_due(args, state)
        if due and not was_evaluated(state.log_history, state.global_step):
            self.evaluate()
        self.stop.phase = "training"

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Agree whether to stop here, and see whether the epoch ends with this step."""
        number = self.largest(self.stop.requested)
        if number and state.global_step < state.max_steps:  # after the last step the run ends anyway
            self.stop.agreed = number
            control.should_save = control.should_training_stop = True
            control.should_evaluate = False
            args.save_only_model = False  # without the optimizer the run could not go on
        ends = control.should_training_stop or is_whole(state.epoch)
        self.waiting = control.should_save and ends
        control.should_save = control.should_save and not ends

    def on_epoch_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Save the checkpoint that waits. A run that stops within an epoch is not at its end: nothing of that is logged."""
        if self.stop.agreed:
            control.should_evaluate = False
            control.should_log = control.should_log and is_whole(state.epoch)
        control.should_save = control.should_save or self.waiting
        self.waiting = False

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Ignore signals from here on: the rest of the run is short."""
        self.stop.phase = "ending"


def evaluation_due(args: TrainingArguments, state: TrainerState) -> bool:
    """Whether the evaluation strategy asks for an evaluation after this step."""
    strategy = str(getattr(args.eval_strategy, "value", args.eval_strategy))
    if strategy == "steps":
        return bool(state.global_step >= args.eval_delay and state.global_step % state.eval_steps == 0)
    return strategy == "epoch" and is_whole(state.epoch) and bool(state.epoch >= args.eval_delay)


def is_whole(epoch: float | None) -> bool:
    """Whether an epoch has just been completed."""
    return epoch is not None and float(epoch).is_integer()
