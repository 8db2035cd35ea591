"""Keys of what decides results, which cells are named by: flags of a training with the content of files, data sets, tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.file_hashes import FileHashes, file_hash
from common.files import read_json
from common.hashes import digest
from common.json_text import json_fault, parse_json
from common.printable import shown
from common.yaml_files import read_yaml
from evaluation.tasks.find import TaskSpec
from evaluation.tasks.local_folder import LocalFolder
from study.config import ROOT
from trainers.flags.stages import stage_entries
from triplets.arguments import DataArguments

# Flags that do not affect the trained weights.
WITHOUT_EFFECT = ("save_", "logging_", "log_", "dataloader_", "report_to", "run_name", "disable_tqdm", "cache_dir")
FILES_OF_WEIGHTS = ("recipe", "peft_model_name_or_path", "dataset_file_path")  # flags whose files decide the weights
FILES_OF_CHOICE = ("eval_dataset", "eval_tasks")  # the same, where a checkpoint is chosen by them


def training_key(flags: dict[str, Any]) -> dict[str, Any]:
    """Return what decides the weights: flags that have an effect, and the LoRA settings themselves, not their file's name.

    The data's content has a key of its own, also that of the files behind ``dataset_config``.
    """
    key = {}
    for name, value in flags.items():
        if name != "dataset_config" and not name.startswith(WITHOUT_EFFECT):
            key[name] = value
    if "stages" in key:
        key["stages"] = stages_key(key["stages"])
    lora = key.pop("lora_config", str(ROOT / "configs" / "lora.json"))
    return {**with_contents(key), "lora": lora_settings(lora)}


def with_contents(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Return flags with the content of files that decide the weights instead of their names."""
    key = dict(flags)
    names = list(FILES_OF_WEIGHTS)
    if key.get("load_best_model_at_end") or key.get("early_stopping_patience") is not None:
        names += FILES_OF_CHOICE
    for name in names:
        if name in key:
            key[name] = content_of(key[name])
    return key


def lora_settings(value: Any) -> Any:
    """Return the settings in a file or a JSON text of ``lora_config``; any other value as it is.

    Raises:
        UserError: the file or the text is no JSON.
    """
    if isinstance(value, str) and not value.lstrip().startswith("{") and Path(value).expanduser().is_file():
        return read_json(Path(value).expanduser())
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            return parse_json(value)
        except ValueError as error:
            raise UserError(f"training: lora_config is no valid JSON: {json_fault(error)}") from error
    return value


def stages_key(stages: object) -> list[Any]:
    """Return what decides the weights of a training in stages: their flags, and the content of data files that they name.

    Raises:
        UserError: the file of stages cannot be read.
    """
    place, content = stage_entries(stages)
    if not all(isinstance(stage, dict) for stage in content):
        raise UserError(f"{place} holds no list of stages; see docs/objectives.md")
    key = []
    for stage in content:
        facts = with_contents(stage)
        mix = facts.get("dataset_config")
        if "dataset_name" in facts:
            facts["dataset_name"] = content_of(facts["dataset_name"])
        if "lora_config" in facts:
            facts["lora_config"] = lora_settings(facts["lora_config"])
        if isinstance(mix, str) and Path(mix).expanduser().is_file():
            facts["dataset_config"] = hash_mix(str(Path(mix).expanduser()), FileHashes())[1]
        key.append(facts)
    return key


def content_of(value: Any) -> Any:
    """Return a hash of the content of a file or folder that a flag names; of a list, of each; any other value as it is."""
    if isinstance(value, list):
        return [content_of(each) for each in value]
    if not isinstance(value, str):
        return value
    path = Path(value).expanduser()
    if path.is_file():
        return file_hash(path)
    return FileHashes().hash_of(path) if path.is_dir() else value


def launch_key(path: str | None) -> dict[str, Any]:
    """Return what of an accelerate file decides the weights: the processes that share a batch, and the precision."""
    if path is None:
        return {}
    content = read_yaml(path, "accelerate_config:")
    if not isinstance(content, dict):
        return {}
    processes = content.get("num_processes")
    if processes is not None and (type(processes) is not int or processes < 1):
        raise UserError(f"{path}: num_processes is {shown(processes)}, not a whole number above 0")
    return {name: content.get(name) for name in ("distributed_type", "num_processes", "mixed_precision")}


def hash_mix(path: str, hashes: FileHashes) -> tuple[dict[str, str], str]:
    """Return the data sets behind ``dataset_config`` with their hashes, and a hash of how they are mixed and treated."""
    entries: Any = DataArguments(dataset_config=path).dataset_config
    files = {}
    for entry in entries:
        place = Path(entry["name"])
        if entry.get("file") and place.is_dir():
            place /= entry["file"]
        files[str(place)] = hashes.hash_of(place)
        entry["name"] = files[str(place)]
        entry["file"] = entry.get("file") if not place.exists() else None
    return files, digest(entries)


def key_of_task(spec: TaskSpec, hash_of: Callable[[Path], str]) -> str:
    """Return what decides the scores of given vectors on a task: its data, how they are read, and parts that are named."""
    key = f"mteb:{spec.name}" if spec.local is None else key_of_folder(spec.local, hash_of) + spec.reading
    if spec.subsets or spec.splits:
        return digest([key, spec.subsets, spec.splits])
    return key


def key_of_folder(folder: LocalFolder, hash_of: Callable[[Path], str]) -> str:
    """Return a hash of a local task's data, whatever its folder is called."""
    return digest([[path.name, hash_of(path)] for path in folder.content])
