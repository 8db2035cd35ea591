"""LoRA alone in peft's layout, beside the name of the base LLM."""

from __future__ import annotations

import json
from pathlib import Path

from common.errors import UserError
from common.files import read_json, write_json
from model_loaders.export.limits import STOCK_POOLINGS, is_bidirectional, refused_model, refused_pooling, refused_recipe
from model_loaders.export.reader import write_about
from model_loaders.export.request import Check, Format, Request
from model_loaders.export.tokenizer_files import write_tokenizer
from model_loaders.hub import looks_local, split_revision
from model_loaders.layouts.tensors import LORA_CONFIG, LORA_WEIGHTS, lora_config_dict, lora_tensors, write_tensors


def refuses(request: Request) -> list[str]:
    """Return the reasons why LoRA alone does not hold the model."""
    model = request.model
    reasons = refused_recipe(model) + refused_pooling(model) + refused_model(model)
    if not model.has_lora:
        reasons.append("it has no LoRA")
    if model.pooling is not None:
        reasons.append("its pooling has weights, for which the layout has no place")
    if is_bidirectional(model):
        reasons.append("its attention is bidirectional, which the layout cannot say: whoever loads it would attend causally")
    return reasons


def write(request: Request, folder: Path, notes: list[str]) -> Check:
    """Write the folder; returns how it is verified."""
    write_adapter(request, folder)
    write_tokenizer(request.model.tokenizer, folder, request.model.recipe.max_length)
    write_about(request, folder)
    notes.append(f"the layout does not say the pooling ({STOCK_POOLINGS[request.model.design.tokens]}): embedding.json does")
    return Check("reader_vectors", relinked=relinked(request, folder))


def write_adapter(request: Request, folder: Path) -> None:
    """Write LoRA as peft reads it, on the base LLM's name.

    Raises:
        UserError: the base LLM is a folder of this machine, and no name was given for it.
    """
    name, commit = base_of(request)
    if not request.base_name and (looks_local(name) or Path(name).expanduser().is_dir()):
        raise UserError(
            "unmerged LoRA is read beside its base LLM, and the adapter names that by a folder of this machine: give the name "
            "that others find it by (--base_name OWNER/NAME), or merge LoRA (--lora merged)"
        )
    config = lora_config_dict(request.model.backbone)
    config |= {"base_model_name_or_path": name, "revision": commit or None, "task_type": "FEATURE_EXTRACTION"}
    write_json(config, folder / LORA_CONFIG)
    write_tensors(lora_tensors(request.model.backbone), folder / LORA_WEIGHTS)


def base_of(request: Request) -> tuple[str, str]:
    """Return the base LLM's name on the hub, and its commit there; that is empty where it is not known."""
    base = request.model.base_model
    name, revision = split_revision(request.base_name or base.name_or_path)
    return name, revision or (base.revision if name == base.name_or_path else "")


def relinked(request: Request, folder: Path) -> dict[str, str]:
    """Return the files in which the base LLM's name is its folder here, so that verifying needs no network."""
    here = {"base_model_name_or_path": str(request.base_directory), "revision": None}  # a folder has no commits
    return {LORA_CONFIG: json.dumps(read_json(folder / LORA_CONFIG) | here)}


FORMAT = Format(
    "peft",
    "LoRA alone in peft's layout, for causal designs without trainable pooling",
    {"peft and transformers": "tried", "vLLM": "documented: LoRA of embedding models"},
    refuses,
    write,
)
