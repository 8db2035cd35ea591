"""A model becomes an adapter directory, or a checkpoint of its own where training changed the base LLM's weights."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

from model_loaders.backbone.base_files import weights_hash
from model_loaders.embed_model import EmbedModel
from model_loaders.fingerprints import as_loaded, lora_effect, rounding_noise
from model_loaders.layouts.manifest import (
    MANIFEST,
    BaseModel,
    Manifest,
    library_versions,
    without_home,
)
from model_loaders.layouts.merged_base import merged_into
from model_loaders.layouts.tensors import (
    BASE_WEIGHTS,
    LORA_CONFIG,
    lora_config_dict,
    trained_tensors,
    write_tensors,
)
from model_loaders.layouts.whole import write_config


def save(model: EmbedModel, directory: Path, *, write: bool = True, step: int | None = None) -> None:
    """Write a whole adapter directory: LoRA, pooling, tokenizer, manifest with fingerprints.

    Where training changes the base LLM's own weights, all of these are in it too, with ``config.json``: it is its own base.

    Where the parameters are sharded (FSDP2) every process must call this, and one of them writes.

    ``step`` is the training step of weights that were chosen among several checkpoints.

    Everything is written to a directory inside it and moved out file by file, the manifest last: a directory with a
    manifest is whole.
    """
    tensors = trained_tensors(model.backbone, model.pooling)
    with as_loaded(model):  # every process: a forward pass gathers what is sharded
        fingerprints = model.fingerprints()
        noise, effect = rounding_noise(model, fingerprints), lora_effect(model, fingerprints)
    if not write:
        return
    base, relative = without_home(model.base_model, directory)
    stage = directory / ".partial"
    shutil.rmtree(stage, ignore_errors=True)
    stage.mkdir(parents=True)
    try:
        for name, content in tensors.items():
            write_tensors(content, stage / name)
        if model.has_lora:
            config = lora_config_dict(model.backbone) | {"base_model_name_or_path": base.name_or_path}
            (stage / LORA_CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        model.tokenizer.save(stage)
        begun_on: BaseModel | None = None
        if BASE_WEIGHTS in tensors:
            write_config(model.backbone, stage)
            begun_on, base = base, replace(base, name_or_path=".", revision="", weights=weights_hash(stage))
            relative = ""
        Manifest(
            design=model.design_name,
            base_model=base,
            base_relative=relative,
            pooling=None if model.pooling is None else model.pooling.config.to_dict(),
            recipe=model.recipe,
            end_token=model.tokenizer.end_token,
            dtype=model.dtype,
            fingerprints=[[round(float(value), 7) for value in row] for row in fingerprints],
            lora=model.has_lora,
            versions=library_versions(),
            attn_implementation=model.attn_implementation,
            noise=float(f"{noise:.3g}"),
            lora_effect=float(f"{effect:.3g}"),
            trained_dimensions=model.trained_dimensions,
            merged=merged_into(model.base_model.name_or_path),
            step=step,
            begun_on=begun_on,
        ).write(stage)
    except BaseException:  # a full disk: half an adapter is of no use
        shutil.rmtree(stage, ignore_errors=True)
        raise
    (directory / MANIFEST).unlink(missing_ok=True)
    for file in sorted(stage.iterdir(), key=lambda file: file.name == MANIFEST):
        file.replace(directory / file.name)
    stage.rmdir()
