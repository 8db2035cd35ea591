"""Checkpoints: an adapter directory beside Trainer's optimizer, scheduler and random states, whole or not at all.

Trainer writes straight into ``checkpoint-N``; a run that is killed meanwhile leaves half a checkpoint, which the next run
would pick. Here it writes into a stage directory; what was written is read back and compared, sealed, and only then renamed.
Older checkpoints go after that.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common.errors import DivergedError, SharedError, UserError
from common.files import first_line, read_json
from model_loaders.embed_model import EmbedModel
from model_loaders.layouts.manifest import BaseModel, read_manifest
from model_loaders.layouts.tensors import (
    LORA_CONFIG,
    LORA_WEIGHTS,
    POOLING_WEIGHTS,
    check_tensors,
    copy_into,
    load_lora,
    lora_config_dict,
    read_tensors,
    trained_tensors,
)
from model_loaders.saving import save
from trainers.checkpoints.seal import SEAL, write_seal
from trainers.step.distributed import first_trouble

STAGE = ".stage"
STATE = "trainer_state.json"
TOKENIZER = "tokenizer.json"


def save_checkpoint(model: EmbedModel, directory: Path, *, write: bool = True) -> None:
    """Write the model as an adapter directory into ``directory``; called on every process, one of which writes."""
    training = model.training
    save(model, directory, write=write)
    model.train(training)


def publish_checkpoint(trainer: Any, write: Callable[[], None]) -> None:
    """Let ``write`` fill a stage directory, check it, rename its checkpoint into the output directory and drop old ones.

    Args:
        trainer: whose ``_get_output_dir`` answers ``trainer._stage`` while it is set.
        write: Trainer's own way of saving; called on every process.

    Raises:
        SharedError: on every process, if one of them could not write, or if what was written does not read back. The stage
            is gone then, and the earlier checkpoints are as they were.
    """
    output_dir, main = Path(trainer.args.output_dir), trainer.args.should_save
    step, processes = trainer.state.global_step, trainer.args.world_size
    stage = output_dir / STAGE
    staged, published = stage / f"checkpoint-{step}", output_dir / f"checkpoint-{step}"

    def begin() -> None:
        shutil.rmtree(stage, ignore_errors=True)
        staged.mkdir(parents=True)

    def check_and_seal() -> None:
        expected = trained_tensors(trainer.model.backbone, trainer.model.pooling)  # of a sharded model every process has a part
        seen = trainer.metrics.whole(trainer.accelerator)
        if not main:
            return
        for file in staged.rglob("*"):
            flush(file)
        read_back(staged, expected, step=step, ranks=0 if trainer.args.save_only_model else processes)
        write_seal(staged, step=step, processes=processes, seen=seen, **trainer.known_by)
        flush(staged / SEAL)
        flush(staged)

    def publish() -> None:
        if published.exists():
            published.rename(stage / "replaced")
        staged.rename(published)
        flush(output_dir)

    # What only the first process does, and what all do. All learn of a failure before anyone goes on.
    for action in (begin if main else nothing, write, check_and_seal, publish if main else nothing):
        trainer._stage = str(stage)
        trouble = first_trouble(attempt(action))
        trainer._stage = None
        if trouble is not None:
            free = shutil.disk_usage(output_dir).free // 2**20
            if main:
                shutil.rmtree(stage, ignore_errors=True)
            if "NaN or infinite" in trouble:
                raise DivergedError(
                    f"the run diverged: after step {step} {trouble.rpartition('/')[2]}. Nothing of it was saved, and earlier "
                    "checkpoints are whole. The same command would diverge again: begin a new run with a lower --learning_rate "
                    "or --pooling_learning_rate, in another --output_dir"
                )
            raise SharedError(
                f"the checkpoint of step {step} could not be written to {output_dir} ({free} MB free): {trouble}\n"
                "Earlier checkpoints are whole. Once the cause is gone (a full disk: make room), the same command with "
                "--resume_from_checkpoint true goes on from the last one."
            )
    if main:
        limit = trainer.args.save_total_limit
        for old in checkpoints(output_dir)[: -limit or None] if limit else []:
            old.rename(stage / old.name)  # a checkpoint is never seen half-deleted
        shutil.rmtree(stage, ignore_errors=True)
    trainer.accelerator.wait_for_everyone()


def nothing() -> None:
    """Do nothing, where another process acts."""


def attempt(action: Callable[[], None]) -> str | None:
    """Return what went wrong in writing, or None."""
    try:
        action()
    except UserError as error:
        return str(error)
    except (OSError, RuntimeError) as error:  # torch.save turns a full disk into a RuntimeError
        return first_line(error)
    return None


def read_back(directory: Path, expected: dict[str, dict[str, Tensor]], *, step: int, ranks: int) -> None:
    """Read a checkpoint that was just written, and compare its weights bit for bit with those in memory.

    Args:
        directory: the checkpoint.
        expected: `trained_tensors`.
        step: number of steps that it is of.
        ranks: how many processes have written their random state.

    The bytes mostly come from the operating system's cache: this finds what was not written, or written wrongly, not what
    the medium loses later; that is what the seal is for.

    Raises:
        UserError: naming the file.
    """
    read_manifest(directory)
    if (saved := read_json(directory / STATE).get("global_step")) != step:
        raise UserError(f"{STATE} does not read back: it says step {saved}, not {step}")
    check_weights(directory, expected)
    for rank in range(ranks):
        name = "rng_state.pth" if ranks == 1 else f"rng_state_{rank}.pth"
        if not (directory / name).is_file():
            raise UserError(f"{name} is not there: --output_dir must be on a file system that all machines share")
    for path in sorted([*directory.glob("*.pt"), *directory.glob("*.pth"), *directory.glob("*.bin")]):
        try:
            load_state(path)
        except Exception as error:  # whatever a damaged file makes torch raise
            raise UserError(f"{path.name} does not read back ({first_line(error)})") from error


def check_weights(directory: Path, expected: dict[str, dict[str, Tensor]]) -> None:
    """Compare the weights in a directory bit for bit with those in memory (`trained_tensors`)."""
    for name, tensors in expected.items():
        found = read_tensors(directory / name)
        check_tensors(found, tensors, directory / name)
        for key, tensor in tensors.items():
            if not same_bits(found[key], tensor):
                raise UserError(f"{name} does not read back: {key} differs from what is in memory")


def weights_digest(model: EmbedModel) -> str:
    """Return a hash of what training changes: its names and bytes."""
    digest = hashlib.blake2b(digest_size=16)
    for file, tensors in sorted(trained_tensors(model.backbone, model.pooling).items()):
        for name, tensor in sorted(tensors.items()):
            digest.update(f"{file} {name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            content: Any = tensor.contiguous().reshape(-1).view(torch.uint8).numpy()
            digest.update(content)
    return digest.hexdigest()


def same_bits(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same dtype, shape and bytes (unlike ``==``, to which 0.0 is -0.0)."""
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    first, second = (tensor.contiguous().reshape(-1).view(torch.uint8) for tensor in (one, other))
    return torch.equal(first, second)


def load_state(path: Path) -> Any:
    """Read an optimizer's, a scheduler's or the random generators' state, as data only."""
    from transformers.trainer_pt_utils import safe_globals

    with safe_globals():
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)


def flush(path: Path) -> None:
    """Make sure that a file or directory is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def checkpoints(output_dir: Path) -> list[Path]:
    """Return the checkpoints in ``output_dir``, oldest first. Each was whole when it got its name."""
    found = [
        (int(match[1]), path)
        for path in output_dir.glob("checkpoint-*")
        if (match := re.fullmatch(r"checkpoint-(\d+)", path.name)) and path.is_dir()
    ]
    return [path for _, path in sorted(found)]


def check_fits(model: EmbedModel, directory: Path) -> None:
    """Refuse a checkpoint of another design, base model, tokenizer, recipe, pooling or LoRA.

    Tensors alone would not tell: those of model3 and model5, or of two values of alpha, have the same names and shapes.

    Raises:
        UserError: naming what differs.
    """
    saved = read_manifest(directory)
    pooling = None if model.pooling is None else model.pooling.config.to_dict()
    ours = {"design": model.design_name, "recipe": model.recipe, "pooling": pooling, "base": known(model.base_model)}
    theirs = {"design": saved.design, "recipe": saved.recipe, "pooling": saved.pooling, "base": known(saved.base_model)}
    if model.has_lora:
        before = read_json(directory / LORA_CONFIG)
        now = json.loads(json.dumps(lora_config_dict(model.backbone)))
        # Names of files, the library's version, and fields that only one version of it knows decide nothing.
        for name in sorted((before.keys() & now.keys()) - {"base_model_name_or_path", "revision", "peft_version"}):
            ours[f"LoRA's {name}"], theirs[f"LoRA's {name}"] = now[name], before[name]
    for what, value in ours.items():
        if value != theirs[what]:
            raise UserError(f"cannot go on from {directory}: its {what} is {theirs[what]}, this run's is {value}")
    tokens = json.loads(model.tokenizer.tokenizer.backend_tokenizer.to_str())["model"].get("vocab")
    if tokens != read_json(directory / TOKENIZER)["model"].get("vocab"):
        raise UserError(f"cannot go on from {directory}: its tokenizer is another one than this run's")


def known(base: BaseModel) -> tuple[str, ...]:
    """Return what a base model is known by, wherever it lies: its weights; its name if they are no safetensors."""
    return (base.model_type, base.weights or base.name_or_path, base.quantisation)


def load_checkpoint(model: EmbedModel, directory: Path) -> None:
    """Copy a checkpoint's LoRA and pooling into ``model``, bit for bit.

    Raises:
        UserError: as `check_fits`.
    """
    check_fits(model, directory)
    if model.has_lora:
        path = directory / LORA_WEIGHTS
        load_lora(model.backbone, read_tensors(path), path)
    if model.pooling is not None:
        path = directory / POOLING_WEIGHTS
        tensors = read_tensors(path)
        check_tensors(tensors, model.pooling.state_dict(), path)
        copy_into(model.pooling.state_dict(), tensors)
