"""Checkpoints: an adapter directory beside Trainer's optimizer, scheduler and random states, whole or not at all.

Trainer writes straight into ``checkpoint-N``; a run that is killed meanwhile leaves half a checkpoint, which the next run
would pick. Here a checkpoint is

1. written into a stage directory,
2. read back, compared with the weights in memory and sealed,
3. renamed into the output directory; older checkpoints are removed after that.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from common.disk import unwritable
from common.errors import DivergedError, SharedError, UserError
from common.files import first_line
from model_loaders.embed_model import EmbedModel
from model_loaders.layouts.tensors import trained_tensors
from model_loaders.saving import save
from trainers.checkpoints.read_back import check_weights, read_back
from trainers.checkpoints.run_files import SEAL_FILE, STAGE, checkpoint_name, checkpoints, step_of
from trainers.checkpoints.seal import RunIdentity, write_seal
from trainers.step.distributed import first_trouble

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import TrainerState, TrainingArguments

    from trainers.monitor.metrics import RunningMetrics
    from trainers.scoring.selection import Selection


class CheckpointedTrainer(Protocol):
    """The part of a trainer that a checkpoint is written from.

    Attributes:
        stage: directory that Trainer's own saving writes below while it is set, instead of the output directory.
        identity: of the run.
        metrics: counts of the batches.
        selection: the rule by which the best checkpoint is known; None for none.
    """

    model: EmbedModel
    args: TrainingArguments
    state: TrainerState
    accelerator: Accelerator
    stage: str | None
    identity: RunIdentity
    metrics: RunningMetrics
    selection: Selection | None

    def save_model(self, output_dir: str | None = None) -> None:
        """Write the adapter directory; called on every process."""

    def sums(self) -> dict[str, Any]:
        """Return the sums that a run which goes on needs for its figures; called on every process."""


def save_checkpoint(model: EmbedModel, directory: Path, *, write: bool = True, step: int | None = None) -> None:
    """Write the model as an adapter directory into ``directory``; called on every process, one of which writes.

    ``step`` is that of weights that were chosen among several checkpoints.
    """
    training = model.training
    save(model, directory, write=write, step=step)
    model.train(training)


def publish_checkpoint(trainer: CheckpointedTrainer, write: Callable[[], None]) -> None:
    """Let ``write`` fill a stage directory, check it, rename its checkpoint into the output directory and drop old ones.

    Args:
        trainer: of the run.
        write: Trainer's own way of saving; called on every process.

    Raises:
        SharedError: on every process, if one of them could not write, or if the files do not read back. The stage
            is gone then, and the earlier checkpoints are as they were.
    """
    checkpoint = StagedCheckpoint(trainer)
    # All processes learn of a failure before anyone goes on.
    for action in (checkpoint.begin, write, checkpoint.check_and_seal, checkpoint.publish):
        trainer.stage = str(checkpoint.stage)
        trouble = first_trouble(attempt(action))
        trainer.stage = None
        if trouble is not None:
            checkpoint.give_up(trouble)
    selection = trainer.selection
    best = None if selection is None else selection.kept_step(trainer.state.log_history)
    checkpoint.drop_old(trainer.args.save_total_limit, best)
    trainer.accelerator.wait_for_everyone()


class StagedCheckpoint:
    """The checkpoint of the step that a trainer is at; every method is called on every process, and the first one writes."""

    def __init__(self, trainer: CheckpointedTrainer) -> None:
        self.trainer = trainer
        self.step = trainer.state.global_step
        self.is_first = trainer.args.should_save
        self.output_dir = Path(trainer.args.output_dir)
        self.stage = self.output_dir / STAGE
        self.staged = self.stage / checkpoint_name(self.step)

    def begin(self) -> None:
        """Make an empty stage."""
        if self.is_first:
            shutil.rmtree(self.stage, ignore_errors=True)
            self.staged.mkdir(parents=True)

    def check_and_seal(self) -> None:
        """Compare the written files with memory, and seal them."""
        trainer = self.trainer
        expected = trained_tensors(trainer.model.backbone, trainer.model.pooling)  # of a sharded model every process has a part
        seen, sums = trainer.metrics.whole(trainer.accelerator), trainer.sums()
        if not self.is_first:
            return
        for file in self.staged.rglob("*"):
            flush(file)
        ranks = 0 if trainer.args.save_only_model else trainer.identity.processes
        read_back(self.staged, expected, step=self.step, ranks=ranks)
        write_seal(self.staged, step=self.step, identity=trainer.identity, seen=seen, sums=sums)
        flush(self.staged / SEAL_FILE)
        flush(self.staged)

    def publish(self) -> None:
        """Rename the checkpoint into the output directory."""
        if not self.is_first:
            return
        published = self.output_dir / self.staged.name
        if published.exists():
            published.rename(self.stage / "replaced")
        self.staged.rename(published)
        flush(self.output_dir)

    def give_up(self, trouble: str) -> None:
        """Remove the stage, and raise the trouble of the first process that has any."""
        free = shutil.disk_usage(self.output_dir).free // 2**20
        if self.is_first:
            shutil.rmtree(self.stage, ignore_errors=True)
        if "NaN or infinite" in trouble:
            raise DivergedError(
                f"the run diverged: after step {self.step} {trouble.rpartition('/')[2]}. Nothing of it was saved, and earlier "
                "checkpoints are whole. The same command would diverge again: begin a new run with a lower --learning_rate "
                "or --pooling_learning_rate, in another --output_dir"
            )
        raise SharedError(
            f"the checkpoint of step {self.step} could not be written to {self.output_dir} ({free} MB free): {trouble}\n"
            f"{way_on(self.output_dir)}"
        )

    def drop_old(self, limit: int | None, best: int | None = None) -> None:
        """Remove the oldest checkpoints beyond a number, never that of the ``best`` step, and the stage."""
        if not self.is_first:
            return
        saved = checkpoints(self.output_dir)
        if limit:
            kept = kept_checkpoints(saved, limit, best)
            for old in (path for path in saved if path not in kept):
                old.rename(self.stage / old.name)  # a checkpoint is never seen half-deleted
        shutil.rmtree(self.stage, ignore_errors=True)


def kept_checkpoints(saved: list[Path], limit: int, best: int | None) -> list[Path]:
    """Return the checkpoints that stay: the newest, by which the run goes on, and that of the best step.

    Args:
        saved: those that are there, oldest first.
        limit: how many stay; of a limit of 1 two stay where the best is not the newest.
        best: the best step, None where none is better than others.
    """
    newest = saved[-limit:]
    best_of_old = [path for path in saved[:-limit] if step_of(path) == best]
    return [*best_of_old, *(newest[1:] if best_of_old and limit > 1 else newest)]


def save_final(trainer: CheckpointedTrainer, directory: Path) -> None:
    """Write the adapter where the run ends, and read it back.

    Raises:
        SharedError: on every process, if it could not be written.
    """

    def write() -> None:
        trainer.save_model(str(directory))
        expected = trained_tensors(trainer.model.backbone, trainer.model.pooling)
        if trainer.args.should_save:
            check_weights(directory, expected)

    trouble = first_trouble(attempt(write))
    if trouble:
        raise SharedError(
            f"the adapter could not be written to {directory}: {trouble}\n{way_on(Path(trainer.args.output_dir))}"
        )


def way_on(output_dir: Path) -> str:
    """Say what to do after a file could not be written: a run without a checkpoint can only begin again."""
    cause = "Once the cause is gone (a full disk: make room), the same command"
    saved = checkpoints(output_dir)
    if not saved:
        return f"There is no earlier checkpoint. {cause} begins again."
    last = saved[-1].name
    return f"Earlier checkpoints are whole. {cause} with --resume_from_checkpoint true goes on from the last one, {last}."


def attempt(action: Callable[[], None]) -> str | None:
    """Return the trouble in writing, or None."""
    try:
        action()
    except UserError as error:
        return str(error)
    except (OSError, RuntimeError) as error:  # torch.save turns a full disk into a RuntimeError
        return unwritable(error) or first_line(error)
    return None


def flush(path: Path) -> None:
    """Make sure that a file or directory is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
