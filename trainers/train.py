"""Train a design on triplets; ``trainers/model1_trainer.py`` … ``model5_trainer.py`` call this with their design.

One GPU or the CPU::

    python trainers/train.py --design model3 --model_name_or_path BASE --dataset_name triplets.jsonl --output_dir runs/model3

Several GPUs::

    accelerate launch --config_file accelerate_config.yaml trainers/train.py --design model3 ...

``--help`` shows the flags of the toolkit, ``--help_all`` those of ``transformers.TrainingArguments`` too, and
``--config file.yaml`` takes them from a file.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a script's own folder is on sys.path, the root is not

from common.errors import DivergedError, SharedError, UserError
from trainers.checkpoints.run_files import CONFIG_FILE, DIVERGED_FILE, RESULT_FILE
from trainers.flags.command_line import parse
from trainers.run.build import build_trainer, recorded
from trainers.run.stopping import Stopped, stop_requests

if TYPE_CHECKING:
    from model_loaders.embed_model import EmbedModel
    from trainers.flags.train_config import TrainConfig
    from trainers.run.stopping import StopRequest


def main(argv: Sequence[str] | None = None, *, design: str | None = None) -> int:
    """Parse the arguments and train; returns the exit status."""
    rank = os.environ.get("RANK", "0")
    try:
        with stop_requests():
            config = parse(sys.argv[1:] if argv is None else argv, design=design)
        train(config)
    except Stopped as stopped:
        if rank == "0":
            print(f"\n{stopped}", file=sys.stderr)
        return stopped.exit_code
    except KeyboardInterrupt:
        print("\nstopped; go on from the last checkpoint with --resume_from_checkpoint true", file=sys.stderr)
        return 130
    except (UserError, OSError) as error:
        if rank == "0" or not isinstance(error, SharedError):
            print(f"{f'process {rank}: ' if rank != '0' else ''}error: {error}", file=sys.stderr)
        return 1
    return 0


def train(config: TrainConfig) -> None:
    """Run one training from its resolved configuration to an adapter directory in ``--output_dir``.

    Raises:
        UserError: the run cannot start, go on or be written.
        Stopped: a signal asked for it; what was trained so far is in a checkpoint.
    """
    with stop_requests() as stop:
        _train(config, stop)


def _train(config: TrainConfig, stop: StopRequest) -> None:
    from trainers.checkpoints.resuming import clear_leftovers, find_checkpoint, is_finished
    from trainers.checkpoints.write import check_fits
    from trainers.monitor.metrics import truncation_warning
    from trainers.run.checkpoint_callback import CheckpointFlow
    from trainers.run.progress import say, show_progress
    from trainers.step.distributed import from_first

    output_dir, world_size = Path(config.training.output_dir), config.training.world_size  # starts the process group
    if config.run.dry_run:
        from trainers.run.dry_run import dry_run

        dry_run(config)
        return
    asked = config.training.resume_from_checkpoint
    if asked and from_first(lambda: is_finished(output_dir, recorded(config))):
        if config.training.process_index == 0:
            print(f"the run in {output_dir} is finished, and its adapter is there; raise --max_steps or --num_train_epochs to "
                  "train it further")  # fmt: skip
        return
    trainer = build_trainer(config)
    optimizer = trainer.contrastive_step.engine.optimizer_file
    resume = from_first(
        lambda: find_checkpoint(asked, output_dir, processes=world_size, optimizer=optimizer, **trainer.known_by)
    )
    model: EmbedModel = trainer.model
    if resume is not None:
        check_fits(model, resume)  # before anything in the output directory is touched
    before = model.fingerprints()
    if trainer.accelerator.is_main_process:
        output_dir.mkdir(parents=True, exist_ok=True)
        clear_leftovers(output_dir, resume)
        write_json(recorded(config), output_dir / CONFIG_FILE)
    trainer.add_callback(CheckpointFlow(stop, trainer.evaluate))
    progress = show_progress(trainer)
    try:
        steps, metrics = trainer.train_from(resume)
    except DivergedError as error:
        if trainer.accelerator.is_main_process:
            write_json({"reason": str(error)}, output_dir / DIVERGED_FILE)
        raise
    finally:
        progress.close()  # or an error's message would stand behind the bar
    if stop.agreed:
        raise Stopped(stop.agreed, f"after step {steps}, which is saved in {output_dir / f'checkpoint-{steps}'}; the same "
                                   "command with --resume_from_checkpoint true goes on from there")  # fmt: skip
    after = model.fingerprints()
    moved = float(1.0 - (after * before).sum(axis=1).min())
    if resume is None and steps > 0 and (after == before).all():
        raise UserError("training changed nothing: the probe texts' vectors are those of the untrained model. Is the learning "
                        "rate 0, or --max_steps within the warm-up?")  # fmt: skip
    trainer.save_final(output_dir)
    truncated = trainer.metrics.truncated(trainer.accelerator)
    if trainer.accelerator.is_main_process:
        summary = {"steps": steps, "largest_cosine_change_of_a_probe_text": moved, **truncated, **metrics}
        write_json(summary, output_dir / RESULT_FILE)
        cut = "; cut were {truncated_queries:.1%} of the queries, {truncated_documents:.1%} of the documents"
        print(
            f"saved {model.design_name} to {output_dir} after {steps} steps; "
            f"probe texts moved by up to {moved:.3f} in cosine{cut.format(**truncated) if truncated else ''}"
        )
        if warning := truncation_warning(truncated, model.recipe):
            say(f"warning: {warning}")


def write_json(data: Any, path: Path) -> None:
    """Write JSON whole or not at all."""
    temporary = path.with_suffix(".partial")
    temporary.write_text(json.dumps(data, indent=2, default=str) + "\n", encoding="utf-8")
    temporary.replace(path)


if __name__ == "__main__":
    sys.exit(main())
