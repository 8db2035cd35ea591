"""The facts that decide the weights and the scores of a cell: where they change, it is made anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from common.errors import UserError
from common.file_hashes import file_hash
from common.files import read_json
from common.hashes import digest
from common.json_text import json_fault, parse_json
from common.printable import shown
from common.yaml_files import read_yaml
from model_loaders.designs import PUBLISHED_SIZES, get_design
from study.config import ROOT, StudyConfig
from study.inputs import Inputs

# Flags that do not affect the trained weights.
WITHOUT_EFFECT = ("save_", "logging_", "log_", "dataloader_", "report_to", "run_name", "disable_tqdm", "cache_dir")


def evaluation_key(config: StudyConfig, inputs: Inputs) -> str:
    """Return a hash of everything that decides the scores of given weights."""
    facts = {
        "tasks": inputs.tasks,
        "headline": config.headline,
        "max_length": config.max_length,
        "prompts": hash_of_file(inputs.prompts) or config.eval_prompts,
    }
    return digest(facts, 16)


def flags_of(config: StudyConfig, recipe: str, design: str) -> dict[str, Any]:
    """Return the trainers' flags for a design, without those of the pooling that it does not have."""
    flags, pooling = config.flags(recipe), get_design(design).pooling
    if pooling == "none":
        return {name: value for name, value in flags.items() if not name.startswith("pooling_")}
    if "latents" not in PUBLISHED_SIZES[pooling]:
        flags.pop("pooling_latents", None)
    return flags


def training_key(flags: dict[str, Any]) -> dict[str, Any]:
    """Return what decides the weights: flags that have an effect, and the LoRA settings themselves, not their file's name.

    The data's content has a key of its own, also that of the files behind ``dataset_config``.
    """
    key = {}
    for name, value in flags.items():
        if name != "dataset_config" and not name.startswith(WITHOUT_EFFECT):
            key[name] = value
    lora = key.pop("lora_config", str(ROOT / "configs" / "lora.json"))
    if isinstance(lora, str) and Path(lora).is_file():
        lora = read_json(Path(lora))
    if isinstance(lora, str) and lora.lstrip().startswith("{"):
        try:
            lora = parse_json(lora)
        except ValueError as error:
            raise UserError(f"training: lora_config is no valid JSON: {json_fault(error)}") from error
    return {**key, "lora": lora}


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


def hash_of_file(path: str | None) -> str | None:
    """Return a hash of a small file's bytes."""
    return None if path is None else file_hash(Path(path))
