"""A new, untrained model of a design."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from model_loaders.backbone.load import choose_device, choose_dtype, embedding_rows, load_backbone
from model_loaders.backbone.lora import add_lora
from model_loaders.designs import Design, design_name, get_design
from model_loaders.embed_model import EmbedModel
from model_loaders.layouts.manifest import BaseModel
from model_loaders.layouts.source import open_base
from model_loaders.options import LoadOptions
from model_loaders.text.recipe import Recipe
from model_loaders.text.tokenizer import TextTokenizer, load_tokenizer
from pooling import Pooling, build_pooling, new_config, size_names


def fresh_pooling(design: Design, base_model: BaseModel, sizes: Mapping[str, int]) -> Pooling | None:
    """Build the design's pooling with fresh weights, or return ``None`` if it has none.

    Args:
        design: the row of the table.
        base_model: gives width and number of layers.
        sizes: of the pooling (``pooling.size_names``), such as ``latents``; the others have the published size.
    """
    if design.pooling == "none":
        return None
    layers = base_model.num_layers if design.layers == "all" else None
    return build_pooling(new_config(design.pooling, base_model.hidden_size, layers, sizes))


def sizes_from_flags(design: Design, flags: Mapping[str, Any]) -> dict[str, int]:
    """Return the sizes that a design's pooling has, as flags set them: ``heads`` from ``pooling_heads``, and so on."""
    if design.pooling == "none":
        return {}
    sizes = {}
    for name in size_names(design.pooling):
        size = flags.get(f"pooling_{name}")
        if size is not None:
            sizes[name] = size
    return sizes


def cast_pooling(pooling: Pooling | None, device: torch.device, dtype: torch.dtype | None) -> Pooling | None:
    """Move the pooling to its device; in the compute dtype for inference, in fp32 (``None``) for training."""
    if pooling is None:
        return None
    return pooling.to(device, dtype or torch.float32).requires_grad_(dtype is None)


def create(
    design: str,
    base_model: str | Path,
    *,
    lora: dict[str, Any] | None,
    pooling_sizes: Mapping[str, int] | None = None,
    recipe: Recipe | None = None,
    seed: int = 42,
    options: LoadOptions | None = None,
) -> EmbedModel:
    """Make a new, untrained model of a design; LoRA and pooling are initialised from ``seed`` alone.

    >>> create("causal_mean", base, lora=None).encode(["word1 word2"]).shape
    (1, 32)

    Args:
        design: row of the table.
        base_model: hub name or directory.
        lora: LoRA config (``configs/lora.json``), or ``None`` for the base model as it is.
        pooling_sizes: sizes of the pooling (``pooling.size_names``); published ones by default.
        recipe: prompts and lengths that the model will carry.
        seed: of the initial weights.
        options: how the base model is loaded; LoRA and pooling are fp32 whatever its dtype.
    """
    design = design_name(design)
    row = get_design(design)
    options = options or LoadOptions()
    recipe = recipe or Recipe()
    directory, base = open_base(base_model, options.cache_dir, options.quantisation)
    device = choose_device(options.device)
    backbone = load_backbone(
        directory,
        row,
        dtype=choose_dtype(options.dtype, device),
        device=device,
        attn_implementation=options.attn_implementation,
        quantisation=options.quantisation or None,
    )
    tokenizer = TextTokenizer.of(load_tokenizer(directory), recipe)
    tokenizer.check_rows(embedding_rows(backbone))
    with seeded(seed, device):
        if lora is not None:
            backbone = add_lora(backbone, lora, trainable=True)
        pooling = fresh_pooling(row, base, pooling_sizes or {})
    pooling = cast_pooling(pooling, device, None)
    return EmbedModel(design, backbone, pooling, tokenizer, recipe, base)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Draw from a generator of ``seed`` inside the block, and leave the global one as it was."""
    kind = "cuda" if device.type == "cpu" else device.type
    with torch.random.fork_rng(devices=[] if device.type == "cpu" else [device], device_type=kind):
        torch.manual_seed(seed)
        yield
