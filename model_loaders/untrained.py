"""A base LLM with a named recipe, without LoRA: what a way of reading is worth before any training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from common.errors import UserError
from model_loaders.backbone.load import choose_device, choose_dtype
from model_loaders.create import create
from model_loaders.designs import get_design
from model_loaders.embed_model import EmbedModel
from model_loaders.layouts.manifest import BaseModel
from model_loaders.layouts.source import open_base
from model_loaders.options import LoadOptions
from model_loaders.text.named import NamedRecipe, named_recipe
from model_loaders.text.tokenizer import TextTokenizer, load_tokenizer
from model_loaders.version import hash_of


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
