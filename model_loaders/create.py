"""A new, untrained model: of a design, to be trained, or a base LLM as it is, read with a named recipe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from common.errors import UserError
from model_loaders.backbone.load import choose_device, choose_dtype, embedding_rows, load_backbone
from model_loaders.backbone.lora import add_lora
from model_loaders.designs import Design, design_name, get_design
from model_loaders.embed_model import EmbedModel
from model_loaders.layouts.manifest import BaseModel
from model_loaders.layouts.source import open_base
from model_loaders.options import LoadOptions
from model_loaders.text.named import NamedRecipe, named_recipe
from model_loaders.text.recipe import Recipe
from model_loaders.text.tokenizer import TextTokenizer, load_tokenizer
from model_loaders.version import hash_of
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


@dataclass(frozen=True)
class UntrainedPlan:
    """What will be loaded and how, known before the base LLM's weights are read.

    Attributes:
        named: the recipe.
        base: the base LLM.
        base_directory: where that is.
        dtype: in which the model will compute.
    """

    named: NamedRecipe
    base: BaseModel
    base_directory: Path
    dtype: torch.dtype

    def version(self) -> str:
        """Return what ``version`` of the loaded model will be."""
        tokenizer = TextTokenizer.of(load_tokenizer(self.base_directory), self.named.recipe)
        dtype = str(self.dtype).removeprefix("torch.")
        return hash_of(self.named.design, self.base, self.named.recipe, dtype, tokenizer.digest, None, None, {})


def plan_untrained(recipe: str, base_model: str | Path | None, options: LoadOptions) -> UntrainedPlan:
    """Find and check what ``load_untrained`` would load, without the base LLM's weights."""
    named = named_recipe(recipe)
    if get_design(named.design).pooling != "none":
        raise UserError(
            f"the recipe {named.name!r} is for {named.design}, whose pooling has weights of its own: it must be trained "
            "(trainers/train.py --recipe)"
        )
    if base_model is None:
        raise UserError(f"--recipe {named.name} reads with a base LLM as it is: give it with --base_model")
    directory, base = open_base(base_model, options.cache_dir)
    return UntrainedPlan(named, base, directory, choose_dtype(options.dtype, choose_device(options.device)))


def load_untrained(recipe: str, base_model: str | Path | None, adapter_path: None = None, **options: Any) -> EmbedModel:
    """Load a base LLM with a named recipe.

    >>> load_untrained("prompteol", base, device="cpu").encode(["word1"]).shape
    (1, 32)

    Args:
        recipe: as ``named_recipe`` takes it.
        base_model: hub name or directory.
        adapter_path: none; loaders are called with one.
        options: those of ``LoadOptions``.

    Raises:
        UserError: there is no such recipe or base LLM, or the recipe's design has a trainable pooling.
    """
    plan = plan_untrained(recipe, base_model, LoadOptions(**options))
    named = plan.named
    model = create(named.design, plan.base_directory, lora=None, recipe=named.recipe, options=LoadOptions(**options))
    model.base_model = plan.base  # by the name that was given
    model.eval()
    return model
