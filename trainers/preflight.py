"""What is checked before a run starts or goes on: processes, engine, and what the output directory holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_loaders.errors import UserError
from model_loaders.locations import read_json
from model_loaders.manifest import MANIFEST
from trainers.checkpoints import STATE, checkpoints

if TYPE_CHECKING:
    from trainers.rows import TripletRows

CONFIG_FILE = "train_config.json"
# Files of base models and published adapters.
FOREIGN = ("config.json", "model*.safetensors", "pytorch_model*", "adapter_config.json", "adapter_model.*", "attn_pool.pt")


def check_processes(world_size: int, environment: Mapping[str, str]) -> None:
    """Refuse to train alone where the launcher meant several processes.

    ``accelerate launch --cpu --num_processes 2`` starts one process and says nothing: it sets MASTER_ADDR, as for several,
    and no WORLD_SIZE. Each would train on its own batch, with a part of the negatives.
    """
    for name in ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS"):
        meant = int(environment.get(name) or 1)
        if meant > world_size:
            raise UserError(
                f"the environment says {meant} processes ({name}), but accelerate sees {world_size}. On the CPU start with "
                "accelerate launch --config_file configs/accelerate/cpu.yaml --num_processes N."
            )
    launched = "ACCELERATE_MIXED_PRECISION" in environment
    if launched and world_size == 1 and "MASTER_ADDR" in environment and "WORLD_SIZE" not in environment:
        raise UserError(
            "accelerate was told to launch several processes and started only one (as it does for --cpu without "
            "--multi_gpu). Start with accelerate launch --config_file configs/accelerate/cpu.yaml --num_processes N."
        )


def check_gpus(visible: int) -> None:
    """Refuse one process for several GPUs: Trainer would wrap the model in DataParallel."""
    if visible > 1:
        raise UserError(
            f"{visible} GPUs are visible and one process would drive them all, which is slow and not exact. Start one "
            "process a GPU (accelerate launch --config_file accelerate_config.yaml ...), or choose one: CUDA_VISIBLE_DEVICES=0"
        )


def check_negatives(rows: TripletRows, queries: int, *, homogeneous: bool) -> None:
    """Refuse batches of one query whose rows have no negatives: there is nothing to tell the positive from.

    Args:
        rows: the triplets.
        queries: of a batch that are compared with each other's documents.
        homogeneous: whether all batches are of one data set.
    """
    for part, share in zip(rows.parts, rows.shares, strict=True):
        largest = min(queries, share.taken) if homogeneous or len(rows.parts) == 1 else queries
        if largest == 1 and not part.has_negatives():
            raise UserError(
                f"{part.label}: every batch has one query and no negatives, so its loss is always 0: raise "
                "--per_device_train_batch_size, give the rows negatives, or mix small data sets with --batching blended"
            )


def check_positions(model: Any) -> str:
    """Compare the longest text with the base model's positions.

    Returns:
        What a run should say of itself: texts may be longer than those that a base model with computed positions (rotary,
        ALiBi) has learned from; it encodes them, less well. Empty if they are not.

    Raises:
        UserError: the base model has a table of positions, and longer texts would end in an index error when they come.
    """
    longest, known = max(model.recipe.length("query"), model.recipe.length("document")), positions(model)
    if known is None or longest <= known:
        return ""
    told = f"texts of up to {longest} tokens, {model.base_model.name_or_path} knows {known} positions"
    tables = ("wpe", "embed_positions", "position_embeddings")
    if any(name.endswith(tables) and hasattr(module, "num_embeddings") for name, module in model.backbone.named_modules()):
        raise UserError(f"{told}: lower --max_seq_length and --query_max_length to {known} at most")
    return f"{told}: what it makes of later ones is not what it has learned"


def positions(model: Any) -> int | None:
    """Return how many positions the base model was made for, or None where its config has no such number."""
    number: int | None = getattr(model.backbone.config, "max_position_embeddings", None)
    return number


def check_output_dir(output_dir: Path, record: dict[str, Any], *, resume: str | bool | None) -> None:
    """Refuse to overwrite another run, or to go on as another one.

    Args:
        output_dir: of the run.
        record: the flags that decide this run (``train_config.json``).
        resume: whether the run shall go on, or the checkpoint that it shall go on from.
    """
    whole = checkpoints(output_dir)
    finished = (output_dir / MANIFEST).exists()
    if (whole or finished) and not resume:
        raise UserError(
            f"--output_dir {output_dir} already holds a run ({whole[-1].name if whole else MANIFEST}): add "
            "--resume_from_checkpoint true to go on, or give another directory"
        )
    if finished and not whole:
        raise UserError(f"--output_dir {output_dir} holds a finished adapter and no checkpoint to go on from: give another one")
    foreign = [name for pattern in FOREIGN for name in sorted(output_dir.glob(pattern))]
    if foreign and not (output_dir / CONFIG_FILE).is_file():
        raise UserError(
            f"--output_dir {output_dir} holds a model that is no run of this trainer ({foreign[0].name}), which would be "
            "overwritten: give another directory"
        )
    if isinstance(resume, str):
        if not (Path(resume) / STATE).is_file() or not (Path(resume).parent / CONFIG_FILE).is_file():
            raise UserError(f"--resume_from_checkpoint {resume} is no whole checkpoint in the output directory of a run")
        check_same_run(read_json(Path(resume).parent / CONFIG_FILE), record, Path(resume).parent)
    if resume and (output_dir / CONFIG_FILE).is_file():
        check_same_run(read_json(output_dir / CONFIG_FILE), record, output_dir)


# What may change when a run goes on: how long, how often it says or saves something, where things are.
CHANGEABLE = ("max_steps", "num_train_epochs", "save_", "logging_", "log_", "eval_", "per_device_eval_", "max_eval_",
              "dataloader_", "report_to", "run_name", "disable_tqdm", "output_dir", "cache_dir", "resume_",
              "use_cpu")  # fmt: skip


def check_same_run(before: dict[str, Any], now: dict[str, Any], output_dir: Path) -> None:
    """Refuse to go on with other settings: the saved optimizer and schedule would win, and the record would be wrong."""
    changed = [name for name in now if before.get(name) != json.loads(json.dumps(now[name], default=str))]
    refused = [f"--{name} was {before.get(name)!r}, is {now[name]!r}" for name in changed if not name.startswith(CHANGEABLE)]
    if refused:
        raise UserError(
            f"{output_dir} holds a run with other settings: {'; '.join(refused)}. A run goes on only as it was; give another "
            "--output_dir, or start from its weights with --peft_model_name_or_path"
        )


def find_checkpoint(asked: str | bool | None, output_dir: Path) -> Path | None:
    """Return the checkpoint to go on from: a given one, or with ``True`` the last whole one, if there is any."""
    if not asked:
        return None
    if asked is not True:
        return Path(asked)
    found = checkpoints(output_dir)
    if not found:
        print(f"no whole checkpoint in {output_dir}: starting from the beginning")
        return None
    print(f"going on from {found[-1]}")
    return found[-1]


def forget_later_metrics(path: Path, step: int) -> None:
    """Drop the lines after ``step``, whose steps are run again, and a last line that a kill cut short."""
    if path.is_file():
        kept = [line for line in path.read_text(encoding="utf-8").splitlines() if 0 <= step_of(line) <= step]
        path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")


def step_of(line: str) -> int:
    """Return the step of a line of metrics, -1 if it is no whole line."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return -1
