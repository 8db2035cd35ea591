"""Load a checkpoint's weights into the model of a run that goes on, once it is known to be of the same run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import read_json
from model_loaders.backbone.load import trains_weights
from model_loaders.backbone.lora_targets import present
from model_loaders.embed_model import EmbedModel
from model_loaders.layouts.manifest import BaseModel, read_manifest
from model_loaders.layouts.tensors import (
    BASE_WEIGHTS,
    LORA_CONFIG,
    LORA_WEIGHTS,
    POOLING_WEIGHTS,
    check_tensors,
    copy_into,
    load_lora,
    lora_config_dict,
    read_tensors,
)
from model_loaders.text.recipe import Recipe
from trainers.checkpoints.run_files import TOKENIZER_FILE

# Names of files, the library's version: fields of a LoRA configuration that decide nothing.
LORA_NAMES = {"base_model_name_or_path", "revision", "peft_version"}


def explicit(recipe: Recipe) -> Recipe:
    """Return a recipe that says what is cut of a long text; checkpoints of older versions leave it to the default."""
    return replace(recipe, truncation=recipe.cuts)


def check_fits(model: EmbedModel, directory: Path) -> None:
    """Refuse a checkpoint of another design, base model, tokenizer, recipe, pooling or LoRA.

    Tensors alone would not show it: those of model3 and model5, or of two values of alpha, have the same names and shapes.

    Raises:
        UserError: naming the difference.
    """
    manifest = read_manifest(directory)
    pooling = None if model.pooling is None else model.pooling.config.to_dict()
    facts: dict[str, tuple[Any, Any]] = {
        "design": (manifest.design, model.design_name),
        "recipe": (explicit(manifest.recipe), explicit(model.recipe)),
        "pooling": (manifest.pooling, pooling),
        "base": (base_facts(manifest.begun_on or manifest.base_model), base_facts(model.base_model)),
        "training of the base LLM's own weights": (manifest.begun_on is not None, trains_weights(model.backbone)),
    }
    if model.has_lora:
        saved = read_json(directory / LORA_CONFIG)
        now = json.loads(json.dumps(lora_config_dict(model.backbone)))
        # A field that only one version of the library has decides nothing either.
        for name in sorted((saved.keys() & now.keys()) - LORA_NAMES):
            facts[f"LoRA's {name}"] = (saved[name], now[name])
        targets = saved.get("target_modules")
        if isinstance(targets, list):  # earlier versions saved names too that the model does not have
            facts["LoRA's target_modules"] = (present(targets, model.backbone), now["target_modules"])
    for name, (theirs, ours) in facts.items():
        if ours != theirs:
            raise UserError(f"cannot go on from {directory}: its {name} is {theirs}, this run's is {ours}")
    vocabulary = json.loads(model.tokenizer.tokenizer.backend_tokenizer.to_str())["model"].get("vocab")
    if vocabulary != read_json(directory / TOKENIZER_FILE)["model"].get("vocab"):
        raise UserError(f"cannot go on from {directory}: its tokenizer is another one than this run's")


def base_facts(base: BaseModel) -> tuple[str, ...]:
    """Return the facts that identify a base model, wherever it lies: its weights; its name if they are no safetensors."""
    return (base.model_type, base.weights or base.name_or_path, base.quantisation)


def load_checkpoint(model: EmbedModel, directory: Path) -> None:
    """Copy a checkpoint's LoRA, pooling and own weights of the base LLM into ``model``, bit for bit.

    Raises:
        UserError: as `check_fits`.
    """
    check_fits(model, directory)
    if model.has_lora:
        path = directory / LORA_WEIGHTS
        load_lora(model.backbone, read_tensors(path), path)
    if trains_weights(model.backbone):
        path = directory / BASE_WEIGHTS
        tensors = read_tensors(path)
        check_tensors(tensors, model.backbone.state_dict(), path)
        copy_into(model.backbone.state_dict(), tensors)
    if model.pooling is not None:
        path = directory / POOLING_WEIGHTS
        tensors = read_tensors(path)
        check_tensors(tensors, model.pooling.state_dict(), path)
        copy_into(model.pooling.state_dict(), tensors)
