"""Checks of an output directory before a run starts or goes on there: no other run or model is overwritten."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import read_json
from model_loaders.layouts.manifest import MANIFEST
from trainers.checkpoints.run_files import CONFIG_FILE, RESULT_FILE, SEAL_FILE, checkpoints, step_of
from trainers.flags.arguments import ContrastiveArguments, ModelArguments, ObjectiveArguments
from trainers.flags.flag import flags_of
from trainers.flags.home import without_home
from trainers.scoring.arguments import ScoringArguments

Record = Mapping[str, Any]  # the flags of a run, as in train_config.json

# Files of base models and published adapters.
FOREIGN = ("config.json", "model*.safetensors", "pytorch_model*", "adapter_config.json", "adapter_model.*", "attn_pool.pt")
# Beginnings of flags that may change when a run goes on: its length, how often it logs or saves, the places of things.
CHANGEABLE = (
    "max_steps",
    "num_train_epochs",
    "save_",
    "logging_",
    "log_",
    "eval_",
    "per_device_eval_",
    "max_eval_",
    "early_stopping_",
    "load_best_model_at_end",
    "metric_for_best_model",
    "dataloader_",
    "report_to",
    "run_name",
    "disable_tqdm",
    "output_dir",
    "cache_dir",
    "resume_",
    "use_cpu",
    "ddp_timeout",
)
# Flags whose content a checkpoint knows (its seal, its manifest): a file may have moved, or be spelled otherwise.
BY_CONTENT = (
    "model_name_or_path",
    "dataset_name",
    "dataset_file_path",
    "dataset_config",
    "dataset_config_name",
    "peft_model_name_or_path",
    "torch_dtype",
)
NAMES = ("name", "file", "config_name")  # keys of a data set of which the same is true
# Flags by which a finished run is not yet finished, where they are others than before.
LENGTH = ("max_steps", "num_train_epochs", "early_stopping_", "load_best_model_at_end", "metric_for_best_model")
OWN_GROUPS = (ContrastiveArguments, ObjectiveArguments, ScoringArguments)
MODEL_FLAGS = flags_of(ModelArguments)
DEFAULTS = flags_of(*OWN_GROUPS) | {name: MODEL_FLAGS[name] for name in ("train", "last_layers")}


def check_output_dir(output_dir: Path, record: Record, *, resume: str | bool | None) -> None:
    """Refuse to overwrite another run, or to go on as another one.

    Args:
        output_dir: of the run.
        record: the flags that decide this run (``train_config.json``).
        resume: whether the run goes on, or the checkpoint that it goes on from.
    """
    _check_empty(output_dir, resume=bool(resume))
    saved = checkpoints(output_dir)
    if isinstance(resume, str):
        _check_named(Path(resume), record, output_dir, saved)
    if resume and (output_dir / CONFIG_FILE).is_file():
        check_same_run(read_json(output_dir / CONFIG_FILE), record, output_dir, by_content=bool(saved))


def _check_empty(output_dir: Path, *, resume: bool) -> None:
    """Refuse a directory with a run that does not go on, with a finished adapter, or with another model."""
    saved, is_run = checkpoints(output_dir), (output_dir / CONFIG_FILE).is_file()
    has_adapter = (output_dir / MANIFEST).exists()
    if (saved or has_adapter) and not resume:
        raise UserError(
            f"--output_dir {output_dir} already holds a run ({saved[-1].name if saved else MANIFEST}): add "
            "--resume_from_checkpoint true to go on, or give another directory"
        )
    # A run without checkpoints that was killed between its adapter and its result starts again.
    if has_adapter and not saved and ((output_dir / RESULT_FILE).exists() or not is_run):
        raise UserError(f"--output_dir {output_dir} holds a finished adapter and no checkpoint to go on from: give another one")
    if is_run:
        return
    for pattern in FOREIGN:
        for path in sorted(output_dir.glob(pattern)):
            raise UserError(
                f"--output_dir {output_dir} holds a model that is no run of this trainer ({path.name}), which would be "
                "overwritten: give another directory"
            )


def _check_named(checkpoint: Path, record: Record, output_dir: Path, saved: list[Path]) -> None:
    """Refuse a named checkpoint that is not whole, of another run, or older than those in the output directory."""
    run = checkpoint.parent
    if not (checkpoint / SEAL_FILE).is_file() or not (run / CONFIG_FILE).is_file():
        raise UserError(f"--resume_from_checkpoint {checkpoint} is no whole checkpoint in the output directory of a run")
    check_same_run(read_json(run / CONFIG_FILE), record, run)
    later = [path.name for path in saved if step_of(path) > step_of(checkpoint)]
    if later:
        raise UserError(
            f"--output_dir {output_dir} holds later checkpoints than {checkpoint.name} ({', '.join(later)}), which would be "
            "mixed with those to come: delete them, or give another --output_dir"
        )


def check_same_run(before: Record, now: Record, output_dir: Path, *, by_content: bool = True) -> None:
    """Refuse to go on with other settings: the saved optimizer and schedule would win, and the record would be wrong.

    Args:
        before: the record of the run in the directory.
        now: that of this one.
        output_dir: for the error.
        by_content: whether there is a checkpoint whose data and weights will be compared, so that the names of files need
            not be the same.
    """
    before = without_home(before)  # an older record has whole paths
    names = changes(without_names(before), without_names(now)) if by_content else changes(before, now)
    differences = []
    for name in names:
        if not name.startswith(CHANGEABLE):
            was, value = before.get(name), now.get(name)
            differences.append(f"--{name} was {as_text(was, other=value)}, is {as_text(value, other=was)}")
    if differences:
        raise UserError(
            f"{output_dir} holds a run with other settings: {'; '.join(differences)}. A run goes on only as it was; give "
            "another --output_dir, or start from its weights with --peft_model_name_or_path"
        )


def changes(before: Record, now: Record) -> list[str]:
    """Return the names of the settings that have another value; one that an older version did not know had its default."""
    before = {name: DEFAULTS[name].default for name in now if name in DEFAULTS} | dict(before)
    return [name for name in now if before.get(name) != json.loads(json.dumps(now[name], default=str))]


def without_names(record: Record) -> dict[str, Any]:
    """Return a record without the flags that a checkpoint knows by content; how each data set is treated stays."""
    result = {name: value for name, value in record.items() if name not in BY_CONTENT}
    result["dataset_config"] = []
    for data_set in record.get("dataset_config") or []:
        result["dataset_config"].append({key: value for key, value in data_set.items() if key not in NAMES})
    result["peft_model_name_or_path"] = record.get("peft_model_name_or_path") is not None
    return result


def as_text(value: object, *, other: object) -> str:
    """Return a setting for an error; of a mapping, the part that differs from the other one."""
    if isinstance(value, dict) and isinstance(other, dict):
        value = {key: item for key, item in value.items() if key not in other or other[key] != item}
    return repr(value)


def is_finished(output_dir: Path, record: Record) -> bool:
    """Whether this very run has ended in the directory, with its adapter and its result.

    With data or a base by another name that is not known yet, and the answer is no.

    Raises:
        UserError: another run has.
    """
    before = ended_record(output_dir)
    if before is None:
        return False
    check_same_run(before, record, output_dir)
    return not any(name in BY_CONTENT or name.startswith(LENGTH) for name in changes(before, record))


def ended_record(output_dir: Path) -> dict[str, Any] | None:
    """Return the record of the run that has ended in the directory, with its adapter and its result; None without one."""
    if not all((output_dir / name).is_file() for name in (RESULT_FILE, MANIFEST, CONFIG_FILE)):
        return None
    record: dict[str, Any] = without_home(read_json(output_dir / CONFIG_FILE))
    return record


def check_later(output_dir: Path, record: Record, later: Sequence[Path]) -> None:
    """Refuse to train a stage that a later one has begun on: other weights would take the place of those that it began on.

    A stage that has ended, and whose data or base only have other names, keeps its weights.

    Args:
        output_dir: of the stage.
        record: of the stage.
        later: output directories of the stages after it.

    Raises:
        UserError: naming the stages. Nothing is changed.
    """
    begun = [folder for folder in later if (folder / CONFIG_FILE).exists() or (folder / MANIFEST).exists()]
    before = ended_record(output_dir)
    longer = [] if before is None else [f"--{name}" for name in changes(before, record) if name.startswith(LENGTH)]
    if not begun or (before is not None and not longer):
        return
    why = f"{', '.join(longer)} differ from those that it ended with" if longer else "it has not ended"
    raise UserError(
        f"the stage in {output_dir} would be trained ({why}), and later stages were trained on its weights: "
        f"{', '.join(map(str, begun))}. Give another --output_dir; to train the last stage alone further, change flags in its "
        "own entry of --stages"
    )
