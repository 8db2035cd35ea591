"""The checkpoint that a run goes on from, and the output directory as it was then: no step is lost silently."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import read_json
from common.json_text import parse_json
from trainers.checkpoints.run_files import DIVERGED_FILE, METRICS_FILE, RESULT_FILE, STAGE, STATE_FILE, checkpoints, step_of
from trainers.checkpoints.seal import RunIdentity, damage, read_seal
from trainers.step.engines import Engine

FROM_ITS_WEIGHTS = "begin a new run from these weights with --peft_model_name_or_path and another --output_dir"


def find_checkpoint(
    resume: str | bool | None, output_dir: Path, identity: RunIdentity, *, optimizer: str = Engine.optimizer_file
) -> Path | None:
    """Return the checkpoint to go on from: a named one, or with ``True`` the last whole one, if there is any.

    With ``True``, a damaged newest checkpoint is put aside under another name, and the run goes on from the one before.

    Args:
        resume: ``--resume_from_checkpoint``.
        output_dir: of the run.
        identity: of the run.
        optimizer: file of the engine's optimizer.

    Raises:
        UserError: the named one is damaged, or all of them are; or it is of another run.
    """
    if not resume:
        return None
    if resume is not True:
        checkpoint = Path(resume)
        if trouble := damage(checkpoint):
            raise UserError(f"{resume} is damaged: {trouble}. Give an earlier checkpoint, or restore the file from a copy")
        return check_resumable(checkpoint, identity, optimizer)
    saved = checkpoints(output_dir)
    if not saved:
        print(f"no checkpoint in {output_dir}: starting from the beginning")
        return None
    damages: dict[Path, str] = {}
    for checkpoint in reversed(saved):
        if trouble := damage(checkpoint):
            damages[checkpoint] = trouble
            continue
        check_resumable(checkpoint, identity, optimizer)
        for damaged, trouble in damages.items():
            aside = free_name(damaged.with_name(f"damaged-{damaged.name}"))
            damaged.rename(aside)
            print(
                f"warning: {damaged} is damaged: {trouble}. It is {aside.name} now; its steps are run again from "
                f"{checkpoint.name}"
            )
        print(f"going on from {checkpoint}")
        return checkpoint
    listed = "; ".join(f"{path.name}: {trouble}" for path, trouble in damages.items())
    raise UserError(
        f"no checkpoint in {output_dir} is whole ({listed}). Restore one from a copy; or delete {output_dir} to start from the "
        "beginning"
    )


def free_name(path: Path) -> Path:
    """Return the path, or one beside it that nothing is called yet."""
    number = 1
    while path.exists():
        number += 1
        path = path.with_name(f"{path.name.partition('.')[0]}.{number}")
    return path


def check_resumable(checkpoint: Path, identity: RunIdentity, optimizer: str = Engine.optimizer_file) -> Path:
    """Return a whole checkpoint if a run can go on from it exactly.

    Args:
        checkpoint: whose files are whole.
        identity: of the run.
        optimizer: file of the engine's optimizer.

    Raises:
        UserError: it is of another run, or has no optimizer of this engine.
    """
    seal = read_seal(checkpoint)
    if identity.start not in (None, seal.get("start", identity.start)):
        raise UserError(
            f"the run of {checkpoint} did not start from these weights: give the --peft_model_name_or_path that it was given, "
            "or another --output_dir"
        )
    if identity.dtype not in (None, seal.get("dtype", identity.dtype)):
        raise UserError(
            f"the base LLM of {checkpoint} was in {seal['dtype']}, and here it is in {identity.dtype}: --torch_dtype auto "
            f"takes the one that the device has. Give --torch_dtype {seal['dtype']}, or {FROM_ITS_WEIGHTS}"
        )
    if identity.data not in (None, seal["data"]):
        raise UserError(
            f"the training data are not those of {checkpoint}: they are others, or a file was changed since, and the "
            f"remaining steps would see other rows. Restore them, or {FROM_ITS_WEIGHTS}"
        )
    before = seal["processes"]
    if before != identity.processes:
        raise UserError(
            f"{checkpoint} is of a run with {before} processes, and this is one with {identity.processes}: a batch is that of "
            f"all processes together, and each has its own random state. Start {before}, or {FROM_ITS_WEIGHTS}"
        )
    if not (checkpoint / optimizer).is_file():
        raise UserError(
            f"{checkpoint} holds no optimizer state that this run can read (no {optimizer}): it was saved with "
            "--save_only_model, or by another engine (DDP, FSDP2 and DeepSpeed each write their own). Go on with that "
            f"engine, or {FROM_ITS_WEIGHTS}"
        )
    return checkpoint


def evaluations_of(checkpoint: Path) -> list[str]:
    """Return what the loss of a checkpoint's run was evaluated on (`RunIdentity`); empty where an older version wrote it."""
    return list(read_seal(checkpoint).get("evaluations", []))


def clear_leftovers(output_dir: Path, checkpoint: Path | None) -> None:
    """Remove leftovers that a run does not build on when it goes on: half a checkpoint, the old result, later metrics."""
    step, lines = -1, 0
    if checkpoint is not None:
        step = step_of(checkpoint)
        lines = sum(entry["step"] == step for entry in read_json(checkpoint / STATE_FILE)["log_history"])
    shutil.rmtree(output_dir / STAGE, ignore_errors=True)
    for name in (RESULT_FILE, DIVERGED_FILE):
        (output_dir / name).unlink(missing_ok=True)
    cut_later_metrics(output_dir / METRICS_FILE, step, lines)


def cut_later_metrics(path: Path, step: int, lines: int) -> None:
    """Cut the file before the first line that is written again, or that a kill cut short.

    Args:
        path: the file.
        step: after which the run goes on.
        lines: how many lines of that step the checkpoint knows. An evaluation that a stop left out, and that was made up
            for when the run went on before, is not among them.

    The summaries at the ends of earlier starts (``train_runtime``) go too: the run writes one when it ends. Cutting needs no
    room on the disk, and a kill finds the file either as it was or cut.
    """
    if not path.is_file():
        return
    size, lines_of_step = 0, 0
    with path.open("rb") as stream:
        for line in stream:
            entry = metrics_entry(line)
            if entry is None or entry["step"] > step or "train_runtime" in entry:
                break
            lines_of_step += entry["step"] == step
            if lines_of_step > lines:
                break
            size += len(line)
    os.truncate(path, size)


def metrics_entry(line: bytes) -> dict[str, Any] | None:
    """Return a whole line of metrics, or None."""
    try:
        entry = parse_json(line)
        return entry if line.endswith(b"\n") and isinstance(entry.get("step"), int) else None
    except (ValueError, AttributeError):
        return None
