"""What is chosen by a run's evaluations: when it ends, and which checkpoint becomes its adapter."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tqdm import tqdm
from transformers import TrainerCallback

from common.errors import UserError
from model_loaders.embed_model import EmbedModel
from trainers.checkpoints.load import load_checkpoint
from trainers.checkpoints.run_files import checkpoint_name
from trainers.checkpoints.seal import damage
from trainers.monitor.progress import warn
from trainers.scoring.selection import ACCURACY, LOSS, PREFIX, Evaluated, Log, Selection
from trainers.step.distributed import from_first

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState, TrainingArguments


class EndedEarly(Exception):
    """The patience of a run had ended before its next step."""


class EarlyEnd(TrainerCallback):  # type: ignore[misc]
    """Ends a run after the evaluation with which its patience ends.

    Every process has the same figures in its log, so that all of them end at the same step.
    """

    def __init__(self, selection: Selection) -> None:
        self.selection = selection

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """End a run that goes on, and was killed between its last evaluation and its end."""
        if self.selection.is_over(state.log_history):
            raise EndedEarly

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """End the run, with a checkpoint, as at its last step."""
        if not self.selection.is_over(state.log_history) or state.global_step >= state.max_steps:
            return
        control.should_training_stop = True
        control.should_save = str(getattr(args.save_strategy, "value", args.save_strategy)) != "no"
        if state.is_world_process_zero:
            best = self.selection.ranked(state.log_history)[0]
            tqdm.write(
                f"the run ends after step {state.global_step}: no better {PREFIX}{self.selection.metric} in "
                f"{self.selection.waited(state.log_history)} evaluations; the best is {best.value:.4f}, of step {best.step}"
            )


def check_compared(selection: Selection | None, earlier: Sequence[str], now: Sequence[str], checkpoint: Path) -> None:
    """Refuse to choose by losses of other held-out rows than those of the run's earlier start.

    Args:
        selection: the rule; None where nothing is chosen.
        earlier: what the checkpoint's run was evaluated on (`trainers.checkpoints.seal.RunIdentity`).
        now: what this start is evaluated on.
        checkpoint: that the run goes on from.

    Raises:
        UserError: they differ, and the rule compares them.
    """
    if selection is None or selection.metric not in (LOSS, ACCURACY) or set(earlier) <= set(now):
        return
    way_out = "leave --load_best_model_at_end and --early_stopping_patience out"
    if len(earlier) == 1:  # with several even those of before are compared with others
        way_out = f"give the --eval_dataset, --max_eval_samples and --per_device_eval_batch_size of before, or {way_out}"
    raise UserError(
        f"{PREFIX}{selection.metric} of {checkpoint} was computed on other data or in other batches, and the best checkpoint "
        f"or an early end cannot be chosen by both: {way_out}"
    )


class ChosenTrainer(Protocol):
    """The part of a trainer that the best checkpoint is loaded into."""

    model: EmbedModel
    args: TrainingArguments
    state: TrainerState
    selection: Selection | None
    chosen_step: int | None


def take_best(trainer: ChosenTrainer) -> Evaluated | None:
    """Load the weights of the best evaluation, if the run is to end with them; called on every process.

    Returns:
        The evaluation; None where the weights of the last step stay.

    Raises:
        UserError: no evaluated step has a whole checkpoint.
    """
    selection, output_dir = trainer.selection, Path(trainer.args.output_dir)
    if selection is None or not selection.load_best:
        return None
    log, last = trainer.state.log_history, trainer.state.global_step
    best = from_first(lambda: best_whole(selection, log, output_dir, last))
    if best.step != last:
        load_checkpoint(trainer.model, output_dir / checkpoint_name(best.step))
    trainer.chosen_step = best.step
    return best


def chosen(best: Evaluated | None, selection: Selection | None) -> dict[str, Any]:
    """Return the entry of ``train_result.json`` on the weights that were chosen; none where they are those of the last step."""
    if best is None or selection is None:
        return {}
    return {"best": {"step": best.step, "metric": PREFIX + selection.metric, "value": best.value}}


def best_whole(selection: Selection, log: Log, output_dir: Path, last: int) -> Evaluated:
    """Return the best evaluation whose weights are there: in a whole checkpoint, or in memory as those of the last step."""
    ranked = selection.ranked(log)
    for evaluated in ranked:
        if evaluated.step == last:
            return evaluated
        trouble = damage(output_dir / checkpoint_name(evaluated.step))
        if trouble is None:
            return evaluated
        warn(
            f"step {evaluated.step} has the better {PREFIX}{selection.metric} ({evaluated.value:.4f}), but its checkpoint is "
            f"not whole: {trouble}"
        )
    raise UserError(
        f"--load_best_model_at_end: no evaluation of this run has {PREFIX}{selection.metric} and a whole checkpoint in "
        f"{output_dir}: go on without it, and the adapter of the last step is saved"
    )
