"""Checkpoints: an adapter directory beside Trainer's optimizer, scheduler and random states, whole or not at all.

Trainer writes straight into ``checkpoint-N``; a run that is killed meanwhile leaves half a checkpoint, which the next run
would pick. Here it writes into a stage directory, which is renamed when everything is on disk.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from model_loaders import adapter
from model_loaders.embed_model import EmbedModel
from model_loaders.errors import WRITE_ERRORS, UserError
from model_loaders.loading import save
from model_loaders.manifest import read_manifest

STAGE = ".stage"
STATE = "trainer_state.json"


def save_checkpoint(model: EmbedModel, directory: Path) -> None:
    """Write the model as an adapter directory into ``directory``."""
    training = model.training
    save(model, directory)
    model.train(training)


def publish_checkpoint(trainer: Any, write: Callable[[], None]) -> None:
    """Let ``write`` fill a stage directory, then rename its checkpoint into the output directory and drop old ones.

    Args:
        trainer: whose ``_get_output_dir`` answers ``trainer._stage`` while it is set.
        write: Trainer's own way of saving; called on every process.
    """
    output_dir = Path(trainer.args.output_dir)
    stage = output_dir / STAGE
    name = f"checkpoint-{trainer.state.global_step}"
    main = trainer.args.should_save
    if main:
        shutil.rmtree(stage, ignore_errors=True)
        (stage / name).mkdir(parents=True)
    trainer.accelerator.wait_for_everyone()
    trainer._stage = str(stage)
    try:
        write()
    except (*WRITE_ERRORS, RuntimeError) as error:  # torch.save turns a full disk into a RuntimeError
        free = shutil.disk_usage(output_dir).free // 2**20
        shutil.rmtree(stage, ignore_errors=True)
        raise UserError(
            f"the checkpoint of step {trainer.state.global_step} could not be written to {output_dir} ({free} MB free): "
            f"{error}. Earlier checkpoints are whole; make room and run the same command with --resume_from_checkpoint true."
        ) from error
    finally:
        trainer._stage = None
    trainer.accelerator.wait_for_everyone()
    if main:
        for file in (stage / name).rglob("*"):
            flush(file)
        shutil.rmtree(output_dir / name, ignore_errors=True)
        (stage / name).rename(output_dir / name)
        flush(output_dir)
        shutil.rmtree(stage, ignore_errors=True)
        for old in checkpoints(output_dir)[: -trainer.args.save_total_limit or None] if trainer.args.save_total_limit else []:
            shutil.rmtree(old)
    trainer.accelerator.wait_for_everyone()


def flush(path: Path) -> None:
    """Make sure that a file or directory is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def checkpoints(output_dir: Path) -> list[Path]:
    """Return the whole checkpoints in ``output_dir``, oldest first; half-written ones are left out."""
    found = [
        (int(match[1]), path)
        for path in output_dir.glob("checkpoint-*")
        if (match := re.fullmatch(r"checkpoint-(\d+)", path.name)) and (path / STATE).is_file()
    ]
    return [path for _, path in sorted(found)]


def load_checkpoint(model: EmbedModel, directory: Path) -> None:
    """Copy a checkpoint's LoRA and pooling into ``model``, bit for bit.

    Raises:
        UserError: the checkpoint is of another design, base model, recipe or pooling. Tensors alone would not tell: those of
            model3 and model5 have the same names and shapes.
    """
    saved = read_manifest(directory)
    pooling = None if model.pooling is None else model.pooling.config.to_dict()
    ours = {"design": model.design_name, "recipe": model.recipe, "pooling": pooling, "base": model.base_model.weights}
    theirs = {"design": saved.design, "recipe": saved.recipe, "pooling": saved.pooling, "base": saved.base_model.weights}
    for what, value in ours.items():
        if value != theirs[what]:
            raise UserError(f"cannot go on from {directory}: its {what} is {theirs[what]}, this run's is {value}")
    if model.has_lora:
        path = directory / adapter.LORA_WEIGHTS
        adapter.load_lora(model.backbone, adapter.read_tensors(path), path)
    if model.pooling is not None:
        path = directory / adapter.POOLING_WEIGHTS
        tensors = adapter.read_tensors(path)
        adapter.check_tensors(tensors, model.pooling.state_dict(), path)
        model.pooling.load_state_dict(tensors)
