"""One hash of everything that decides a vector, of a model in memory or of files that are not loaded.

Results are filed under it (``evaluation``). Both ways give the same hash, so that an evaluation whose results are there
need not load a base LLM to know that.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common.file_hashes import Notes, file_hash, file_state
from model_loaders.backbone.base_files import CONFIG, weight_files
from model_loaders.layouts.manifest import BaseModel
from model_loaders.layouts.tensors import plain
from model_loaders.text.recipe import Recipe

# Of peft's config: where it came from, how it was initialised and trained. Which modules it acts on, the tensors' names say.
NOT_DECISIVE = (
    "auto_mapping",
    "base_model_name_or_path",
    "inference_mode",
    "lora_dropout",
    "peft_version",
    "revision",
    "runtime_config",
    "target_modules",
    "task_type",
)
# Initialisations that draw A and B alone. The others (pissa, olora, …) change the base's weights too, each time peft adds LoRA.
DRAWN = (True, False, None, "gaussian", "orthogonal", "eva")


def hash_of(
    design_name: str,
    base_model: BaseModel,
    recipe: Recipe,
    dtype: str,
    tokenizer: str,
    lora: Mapping[str, Any] | None,
    pooling: Mapping[str, Any] | None,
    tensors: Mapping[str, Mapping[str, Tensor]],
) -> str:
    """Return 16 hexadecimal digits.

    Args:
        design_name: row of the table of designs.
        base_model: the base LLM; where it lies does not matter.
        recipe: prompts and lengths.
        dtype: in which the model computes.
        tokenizer: ``TextTokenizer.digest``.
        lora: ``lora_facts``, ``None`` without LoRA.
        pooling: sizes of the pooling, ``None`` without one.
        tensors: what training changes, by file and by name in the file.
    """
    base = asdict(base_model) | {"name_or_path": ""}
    about = [design_name, base, recipe.facts(), dtype, tokenizer, lora, pooling]
    digest = hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode())
    for file in sorted(tensors):
        for name, tensor in sorted(tensors[file].items()):
            digest.update(f"{file}\0{name}\0{tuple(tensor.shape)}\0".encode())
            digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def lora_facts(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a ``peft.LoraConfig``, given as a dictionary, decides a vector, as JSON values."""
    found = {name: plain(value) for name, value in config.items() if name not in NOT_DECISIVE}
    if found.get("init_lora_weights") in DRAWN:
        del found["init_lora_weights"]
    return {name: value for name, value in found.items() if value not in (None, False, {}, [])}


def read_lora_config(content: Mapping[str, Any], notes: Path | None = None) -> dict[str, Any]:
    """Return peft's own view of an ``adapter_config.json``, in which keys that the file leaves out have their defaults.

    Args:
        content: of the file.
        notes: a file that remembers this, since peft takes seconds to import.
    """
    from model_loaders.backbone.lora import lora_config

    noted = Notes(notes)
    key = f"peft {metadata.version('peft')}|{json.dumps(content, sort_keys=True)}"
    with contextlib.suppress(ValueError):
        found = json.loads(noted.get(key) or "null")
        if isinstance(found, dict):
            return found
    whole = lora_config(dict(content), trainable=False).to_dict()
    text = json.dumps({name: plain(value) for name, value in whole.items()}, default=str)
    noted.add({key: text})
    return dict(json.loads(text))


def as_computed(tensors: Mapping[str, Mapping[str, Tensor]], dtype: torch.dtype) -> dict[str, dict[str, Tensor]]:
    """Return the tensors of files as a model of ``dtype`` that is loaded for inference holds them."""
    return {file: {name: tensor.to(dtype) for name, tensor in of_file.items()} for file, of_file in tensors.items()}


def content_hash(directory: Path, notes: Path | None = None) -> str:
    """Return a hash of every byte of the weights that are loaded of a base model, and of its ``config.json``.

    Args:
        directory: of the base model.
        notes: a file that remembers hashes by path, size, inode and times of change, so that 14 GB are read once.
    """
    noted = Notes(notes)
    weights = [path for path in weight_files(directory) if path.suffix != ".json"]  # an index only says where tensors are
    files = sorted([directory / CONFIG, *weights])
    known = {path: noted.get(file_state(path)) for path in files}
    missing = [path for path in files if known[path] is None]
    with ThreadPoolExecutor(max_workers=8) as threads:  # hashing lets other threads run
        known.update(zip(missing, threads.map(file_hash, missing), strict=True))
    noted.add({file_state(path): str(known[path]) for path in missing})
    return hashlib.sha256(json.dumps([[path.name, known[path]] for path in files]).encode()).hexdigest()[:16]
