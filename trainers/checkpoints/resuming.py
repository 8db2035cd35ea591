"""What the output directory holds, and from where a run goes on: nothing is overwritten, and no step is lost silently."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import read_json
from model_loaders.layouts.manifest import MANIFEST
from trainers.checkpoints.run_files import CONFIG_FILE, DIVERGED_FILE, METRICS_FILE, RESULT_FILE
from trainers.checkpoints.seal import SEAL, damage, read_seal
from trainers.checkpoints.write import STAGE, STATE, checkpoints
from trainers.step.engines import Engine

# Files of base models and published adapters.
FOREIGN = ("config.json", "model*.safetensors", "pytorch_model*", "adapter_config.json", "adapter_model.*", "attn_pool.pt")
# What may change when a run goes on: how long, how often it says or saves something, where things are.
CHANGEABLE = ("max_steps", "num_train_epochs", "save_", "logging_", "log_", "eval_", "per_device_eval_", "max_eval_",
              "dataloader_", "report_to", "run_name", "disable_tqdm", "output_dir", "cache_dir", "resume_",
              "use_cpu", "ddp_timeout")  # fmt: skip
# Names of what a checkpoint knows by content (its seal, its manifest): a file may have moved, or be spelled otherwise.
BY_CONTENT = ("model_name_or_path", "dataset_name", "dataset_file_path", "dataset_config", "peft_model_name_or_path",
              "torch_dtype")  # fmt: skip


def check_output_dir(output_dir: Path, record: dict[str, Any], *, resume: str | bool | None) -> None:
    """Refuse to overwrite another run, or to go on as another one.

    Args:
        output_dir: of the run.
        record: the flags that decide this run (``train_config.json``).
        resume: whether the run shall go on, or the checkpoint that it shall go on from.
    """
    there = checkpoints(output_dir)
    adapter, ended = (output_dir / MANIFEST).exists(), (output_dir / RESULT_FILE).exists()
    if (there or adapter) and not resume:
        raise UserError(
            f"--output_dir {output_dir} already holds a run ({there[-1].name if there else MANIFEST}): add "
            "--resume_from_checkpoint true to go on, or give another directory"
        )
    # A run without checkpoints that was killed between its adapter and its result starts again.
    if adapter and not there and (ended or not (output_dir / CONFIG_FILE).is_file()):
        raise UserError(f"--output_dir {output_dir} holds a finished adapter and no checkpoint to go on from: give another one")
    foreign = [name for pattern in FOREIGN for name in sorted(output_dir.glob(pattern))]
    if foreign and not (output_dir / CONFIG_FILE).is_file():
        raise UserError(
            f"--output_dir {output_dir} holds a model that is no run of this trainer ({foreign[0].name}), which would be "
            "overwritten: give another directory"
        )
    if isinstance(resume, str):
        chosen = Path(resume)
        if not (chosen / SEAL).is_file() or not (chosen.parent / CONFIG_FILE).is_file():
            raise UserError(f"--resume_from_checkpoint {resume} is no whole checkpoint in the output directory of a run")
        check_same_run(read_json(chosen.parent / CONFIG_FILE), record, chosen.parent)
        later = [path.name for path in there if step_of(path) > step_of(chosen)]
        if later:
            raise UserError(
                f"--output_dir {output_dir} holds later checkpoints than {chosen.name} ({', '.join(later)}), which would be "
                "mixed with those to come: delete them, or give another --output_dir"
            )
    if resume and (output_dir / CONFIG_FILE).is_file():
        check_same_run(read_json(output_dir / CONFIG_FILE), record, output_dir, by_content=bool(there))


def check_same_run(before: dict[str, Any], now: dict[str, Any], output_dir: Path, *, by_content: bool = True) -> None:
    """Refuse to go on with other settings: the saved optimizer and schedule would win, and the record would be wrong.

    Args:
        before: the record of the run that is there.
        now: that of this one.
        output_dir: what an error names.
        by_content: whether there is a checkpoint whose data and weights will be compared, so that the names of files need
            not be the same.
    """
    names = changes(without_names(before), without_names(now)) if by_content else changes(before, now)
    both = {name: (before.get(name), now.get(name)) for name in names if not name.startswith(CHANGEABLE)}
    refused = [f"--{name} was {shown(was, other=value)}, is {shown(value, other=was)}" for name, (was, value) in both.items()]
    if refused:
        raise UserError(
            f"{output_dir} holds a run with other settings: {'; '.join(refused)}. A run goes on only as it was; give another "
            "--output_dir, or start from its weights with --peft_model_name_or_path"
        )


def changes(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return the names of the settings that are not what they were."""
    return [name for name in now if before.get(name) != json.loads(json.dumps(now[name], default=str))]


def without_names(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record without what a checkpoint knows by content; of each data set, how it is treated stays."""
    kept = {name: value for name, value in record.items() if name not in BY_CONTENT}
    sets = record.get("dataset_config") or []
    kept["dataset_config"] = [{key: value for key, value in one.items() if key not in ("name", "file")} for one in sets]
    kept["peft_model_name_or_path"] = record.get("peft_model_name_or_path") is not None
    return kept


def shown(value: Any, *, other: Any) -> str:
    """Return a setting for an error; of a mapping, what the other one does not say too."""
    if isinstance(value, dict) and isinstance(other, dict):
        value = {key: one for key, one in value.items() if key not in other or other[key] != one}
    return repr(value)


def is_finished(output_dir: Path, record: dict[str, Any]) -> bool:
    """Whether this very run has ended there, with its adapter and its result.

    With data or a base by another name that is not known yet, and the answer is no.

    Raises:
        UserError: another run has.
    """
    if not all((output_dir / name).is_file() for name in (RESULT_FILE, MANIFEST, CONFIG_FILE)):
        return False
    before = read_json(output_dir / CONFIG_FILE)
    check_same_run(before, record, output_dir)
    return not {"max_steps", "num_train_epochs", *BY_CONTENT} & set(changes(before, record))


def find_checkpoint(
    asked: str | bool | None, output_dir: Path, *, processes: int = 1, optimizer: str = Engine.optimizer_file, **known_by: str
) -> Path | None:
    """Return the checkpoint to go on from: a given one, or with ``True`` the last whole one, if there is any.

    With ``True``, a damaged newest checkpoint is put aside under another name, and the run goes on from the one before.

    Raises:
        UserError: the given one is damaged, or all of them are; or it cannot be gone on from with these processes.
    """
    if not asked:
        return None
    if asked is not True:
        if trouble := damage(Path(asked)):
            raise UserError(f"{asked} is damaged: {trouble}. Give an earlier checkpoint, or restore the file from a copy")
        return check_resumable(Path(asked), processes, optimizer, **known_by)
    found = checkpoints(output_dir)
    if not found:
        print(f"no checkpoint in {output_dir}: starting from the beginning")
        return None
    damaged: dict[Path, str] = {}
    for path in reversed(found):
        if trouble := damage(path):
            damaged[path] = trouble
            continue
        check_resumable(path, processes, optimizer, **known_by)
        for lost, why in damaged.items():
            aside = free_name(lost.with_name(f"damaged-{lost.name}"))
            lost.rename(aside)
            print(f"warning: {lost} is damaged: {why}. It is {aside.name} now; its steps are run again from {path.name}")
        print(f"going on from {path}")
        return path
    listed = "; ".join(f"{path.name}: {why}" for path, why in damaged.items())
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


def check_resumable(
    checkpoint: Path,
    processes: int,
    optimizer: str = Engine.optimizer_file,
    *,
    data: str | None = None,
    start: str | None = None,
    dtype: str | None = None,
) -> Path:
    """Return a whole checkpoint if a run can go on from it exactly.

    Args:
        checkpoint: whose files are whole.
        processes: of the run.
        optimizer: file of the engine's optimizer.
        data: hash of the training data; None if they need not be the same, as for the next two.
        start: hash of the adapter that the run started from, empty without one.
        dtype: of the base LLM.
    """
    seal = read_seal(checkpoint)
    before = seal["processes"]
    if start is not None and start != seal.get("start", start):
        raise UserError(
            f"the run of {checkpoint} did not start from these weights: give the --peft_model_name_or_path that it was given, "
            "or another --output_dir"
        )
    if dtype is not None and dtype != seal.get("dtype", dtype):
        raise UserError(
            f"the base LLM of {checkpoint} was in {seal['dtype']}, and here it is in {dtype}: --torch_dtype auto takes what "
            f"the device has. Give --torch_dtype {seal['dtype']}, or begin a new run from these weights with "
            "--peft_model_name_or_path and another --output_dir"
        )
    if data is not None and data != seal["data"]:
        raise UserError(
            f"the training data are not those of {checkpoint}: they are others, or a file was changed since, and the "
            "remaining steps would see other rows. Restore them, or begin a new run from these weights with "
            "--peft_model_name_or_path and another --output_dir"
        )
    if before != processes:
        raise UserError(
            f"{checkpoint} is of a run with {before} processes, and this is one with {processes}: a batch is that of all "
            f"processes together, and each has its own random state. Start {before}, or begin a new run from these weights "
            "with --peft_model_name_or_path and another --output_dir"
        )
    if not (checkpoint / optimizer).is_file():
        raise UserError(
            f"{checkpoint} holds no optimizer state that this run can read (no {optimizer}): it was saved with "
            "--save_only_model, or by another engine (DDP, FSDP2 and DeepSpeed each write their own). Go on with that "
            "engine, or begin a new run from its weights with --peft_model_name_or_path and another --output_dir"
        )
    return checkpoint


def step_of(checkpoint: Path) -> int:
    """Return the step of a checkpoint from its directory's name."""
    number = checkpoint.name.rpartition("-")[2]
    return int(number) if number.isdigit() else -1


def clear_leftovers(output_dir: Path, checkpoint: Path | None) -> None:
    """Remove what a run that goes on from there does not build on: half a checkpoint, the old result, later metrics."""
    step, lines = -1, 0
    if checkpoint is not None:
        step = step_of(checkpoint)
        lines = sum(entry["step"] == step for entry in read_json(checkpoint / STATE)["log_history"])
    shutil.rmtree(output_dir / STAGE, ignore_errors=True)
    for ended in (RESULT_FILE, DIVERGED_FILE):
        (output_dir / ended).unlink(missing_ok=True)
    forget_later_metrics(output_dir / METRICS_FILE, step, lines)


def forget_later_metrics(path: Path, step: int, lines: int) -> None:
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
    kept, of_step = 0, 0
    with path.open("rb") as stream:
        for line in stream:
            entry = parsed(line)
            if entry is None or entry["step"] > step or "train_runtime" in entry:
                break
            of_step += entry["step"] == step
            if of_step > lines:
                break
            kept += len(line)
    os.truncate(path, kept)


def parsed(line: bytes) -> dict[str, Any] | None:
    """Return a whole line of metrics, or None."""
    try:
        entry = json.loads(line)
        return entry if line.endswith(b"\n") and isinstance(entry.get("step"), int) else None
    except (ValueError, AttributeError):
        return None
