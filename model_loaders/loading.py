"""A folder of any layout becomes an ``EmbedModel`` on its base LLM."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from common.errors import UserError
from model_loaders.backbone.load import (
    DTYPES,
    choose_device,
    choose_dtype,
    embedding_rows,
    load_backbone,
    rounds_by_batch,
)
from model_loaders.backbone.lora import add_lora, check_ranks
from model_loaders.create import cast_pooling
from model_loaders.create import create as create_model
from model_loaders.designs import design_name, get_design
from model_loaders.embed_model import EmbedModel
from model_loaders.fingerprints import check_fingerprints
from model_loaders.layouts.manifest import (
    BaseModel,
    Manifest,
)
from model_loaders.layouts.source import Asked, Source, check_base, open_base, tokenizer_and_recipe
from model_loaders.layouts.table import read_source
from model_loaders.layouts.tensors import (
    LORA_CONFIG,
    LORA_WEIGHTS,
    POOLING_WEIGHTS,
    check_tensors,
    load_lora,
)
from model_loaders.options import LoadOptions
from model_loaders.saving import save
from model_loaders.version import as_computed, hash_of, lora_facts, read_lora_config
from pooling import build_pooling

# `create`, `load_design` and `save` have this import path in users' scripts.
__all__ = ["Plan", "assemble", "create", "load_design", "load_model", "plan_loading", "save", "saved_kernel"]


def load_model(
    design: str | None,
    base_model: str | Path | None,
    adapter_path: str | Path,
    options: LoadOptions,
    *,
    num_heads: int | None = None,
    trainable: bool = False,
) -> EmbedModel:
    """Load an adapter or model of any layout on its base LLM; see ``model_loaders.load_design``."""
    plan = plan_loading(design, base_model, adapter_path, options, num_heads=num_heads)
    manifest = plan.source.manifest
    backbone = load_backbone(
        plan.base_directory,
        get_design(plan.source.design_name),
        dtype=plan.dtype,
        device=plan.device,
        attn_implementation=options.attn_implementation or saved_kernel(manifest, plan.dtype, plan.device),
        quantisation=plan.base.quantisation or None,
    )
    model = assemble(plan.source, backbone, plan.base, plan.base_directory, trainable=trainable)
    model.pooling = cast_pooling(model.pooling, plan.device, None if trainable else plan.dtype)
    model.train(trainable)
    if manifest is not None:
        check_fingerprints(manifest, model, plan.source.directory)
    return model


def load_design(
    design: str | None,
    base_model: str | Path | None,
    adapter_path: str | Path,
    cache_dir: str | Path | None = None,
    *,
    num_heads: int | None = None,
    trainable: bool = False,
    **options: Any,
) -> EmbedModel:
    """Load an adapter of a given design; see ``model_loaders.load_design``, which is this function."""
    chosen = LoadOptions(cache_dir=cache_dir, **options)
    return load_model(design, base_model, adapter_path, chosen, num_heads=num_heads, trainable=trainable)


def create(
    design: str,
    base_model: str | Path,
    cache_dir: str | Path | None = None,
    *,
    lora: dict[str, Any] | None,
    **settings: Any,
) -> EmbedModel:
    """Make a new model as ``create.create`` does, with the fields of ``LoadOptions`` as keywords of their own.

    >>> create("causal_mean", base, lora=None, device="cpu", dtype="float32").dim
    32
    """
    options: dict[str, Any] = {"cache_dir": cache_dir}
    for name in LoadOptions.__dataclass_fields__:
        if name in settings:
            options[name] = settings.pop(name)
    settings.setdefault("options", LoadOptions(**options))
    return create_model(design, base_model, lora=lora, **settings)


@dataclass(frozen=True)
class Plan:
    """What will be loaded and how, known before the base LLM's weights are read.

    Attributes:
        source: the adapter, read and checked.
        base: the base LLM.
        base_directory: where that is.
        dtype: in which the model will compute.
        device: where it will be.
    """

    source: Source
    base: BaseModel
    base_directory: Path
    dtype: torch.dtype
    device: torch.device

    def version(self, notes: Path | None = None) -> str | None:
        """Return what ``version`` of the loaded model will be; ``None`` where only loading tells (a quantised base LLM).

        Args:
            notes: as ``read_lora_config`` takes it.
        """
        if self.base.quantisation:
            return None
        tokenizer, recipe = tokenizer_and_recipe(self.source, self.base_directory)
        lora, tensors = None, {}
        if self.source.lora is not None:
            config, tensors[LORA_WEIGHTS] = self.source.lora
            lora = lora_facts(read_lora_config(config, notes))
        pooling = None
        if self.source.pooling is not None:
            sizes, tensors[POOLING_WEIGHTS] = self.source.pooling
            pooling = sizes.to_dict()
        name, dtype = self.source.design_name, str(self.dtype).removeprefix("torch.")
        computed = as_computed(tensors, self.dtype)
        return hash_of(name, self.base, recipe, dtype, tokenizer.digest, lora, pooling, computed)


def plan_loading(
    design: str | None,
    base_model: str | Path | None,
    adapter_path: str | Path,
    options: LoadOptions,
    *,
    num_heads: int | None = None,
) -> Plan:
    """Find and check what ``load_model`` would load, without the base LLM's weights."""
    row = None if design is None else design_name(design)
    source = read_source(Asked(adapter_path, row, base_model, num_heads, options.cache_dir))
    manifest = source.manifest
    quantisation = "" if manifest is None else manifest.base_model.quantisation
    if options.quantisation not in ("", quantisation):
        raise UserError(f"{source.directory} was trained on a base model that is not in {options.quantisation}: leave it out")
    base_directory, base = open_base(source.base_model, options.cache_dir, quantisation, source.revision)
    check_base(source, base, base_directory)
    device, dtype = choose_device(options.device), options.dtype
    if dtype is None and manifest is not None and manifest.dtype in DTYPES:
        dtype = manifest.dtype
    return Plan(source, base, base_directory, choose_dtype(dtype, device), device)


def saved_kernel(manifest: Manifest | None, dtype: torch.dtype, device: torch.device) -> str | None:
    """Return the attention kernel that an adapter was trained with; ``None`` where it cannot compute so here, or is unknown."""
    name = manifest.attn_implementation if manifest is not None else ""
    known = name == "eager" or (name == "sdpa" and not rounds_by_batch(name, dtype, device))
    return name if known or (name == "flash_attention_2" and has_flash_attention(device)) else None


def has_flash_attention(device: torch.device) -> bool:
    """Whether FlashAttention is installed and computes on ``device``."""
    from transformers.utils import is_flash_attn_2_available

    return device.type == "cuda" and bool(is_flash_attn_2_available())


def assemble(source: Source, backbone: nn.Module, base: BaseModel, base_directory: Path, *, trainable: bool) -> EmbedModel:
    """Put an adapter's tensors on a loaded base model."""
    if source.lora is not None:
        config, tensors = source.lora
        check_ranks(config, tensors, str(source.directory / LORA_CONFIG))
        backbone = add_lora(backbone, config, trainable=trainable, saved=True)
        load_lora(backbone, tensors, source.directory / LORA_WEIGHTS)
    pooling = None
    if source.pooling is not None and source.pooling_file is not None:
        sizes, tensors = source.pooling
        pooling = build_pooling(sizes)
        check_tensors(tensors, pooling.state_dict(), source.pooling_file)
        layers = sizes.to_dict().get("layers")
        if sizes.hidden_size != base.hidden_size or layers not in (None, base.num_layers):
            raise UserError(
                f"{source.pooling_file} pools states of width {sizes.hidden_size} (layers: {layers or 'last'}), the base "
                f"model {base.name_or_path} has width {base.hidden_size} and {base.num_layers} layers: it is another base model"
            )
        pooling.load_state_dict(tensors)
    tokenizer, recipe = tokenizer_and_recipe(source, base_directory)
    tokenizer.check_rows(embedding_rows(backbone))
    model = EmbedModel(source.design_name, backbone, pooling, tokenizer, recipe, base)
    model.system = source.system
    said = source if source.manifest is None else source.manifest
    model.trained_dimensions = said.trained_dimensions
    return model
