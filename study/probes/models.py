"""The models that are probed: adapters, and beside them the same designs on the same base LLM without training."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from common.errors import UserError
from common.words import distinct
from model_loaders import LoadOptions, load
from model_loaders.create import cast_pooling, create
from model_loaders.embed_model import EmbedModel
from model_loaders.layouts.source import open_base, tokenizer_and_recipe
from model_loaders.loading import plan_loading, saved_kernel

LONGEST = 2048  # tokens a text at most, where the base LLM takes that many


@dataclass(frozen=True)
class Asked:
    """The models that the command line asks for.

    Attributes:
        adapters: directories or hub names.
        untrained: those of them whose design is probed without training too.
        base_model: the base LLM, if not where the adapters say.
        seed: of the untrained pooling's weights.
        options: of loading.
        labels: the adapters' names in the results; none for the last parts of their paths, numbered where two are alike.
    """

    adapters: list[str]
    untrained: Collection[str]
    base_model: str | None
    seed: int
    options: LoadOptions
    labels: Sequence[str] = ()

    def models(self) -> list[tuple[str, Callable[[], EmbedModel]]]:
        """Return the name of each model, and what loads it, so that one is in memory at a time.

        Loading raises a UserError where an adapter cannot be loaded, or has nothing untrained beside it.
        """
        settings: dict[str, Any] = dict(vars(self.options))
        names = self.labels or distinct([Path(adapter).name or adapter for adapter in self.adapters])
        models: list[tuple[str, Callable[[], EmbedModel]]] = []
        for name, adapter in zip(names, self.adapters, strict=True):
            models.append((name, functools.partial(load, adapter, self.base_model, **settings)))
            if adapter in self.untrained:
                models.append((f"{name}, untrained", functools.partial(untrained, adapter, self)))
        return models

    def check(self) -> None:
        """Find all adapters and their base LLMs before the first one is probed.

        Raises:
            UserError: one cannot be loaded.
        """
        for adapter in self.adapters:
            plan_loading(None, self.base_model, adapter, self.options)


def untrained(adapter: str, asked: Asked) -> EmbedModel:
    """Make an adapter's design on its base LLM as it was before training: no LoRA, fresh weights of the pooling.

    Raises:
        UserError: it is not known which base LLM that was.
    """
    plan = plan_loading(None, asked.base_model, adapter, asked.options)
    source = plan.source
    if source.lora is None and source.pooling is None and source.manifest is None:
        raise UserError(f"{adapter} holds a whole model and says no base LLM that it was trained from: leave --untrained out")
    if source.manifest is not None and source.manifest.merged:
        merged = ", ".join(part.adapter for part in source.manifest.merged)
        raise UserError(
            f"{adapter}: its base LLM holds the training of an earlier stage ({merged}), and what it was before is not saved:"
            " leave --untrained out"
        )
    sizes: dict[str, int] = {}
    if source.pooling is not None:
        for name, size in source.pooling[0].to_dict().items():
            if name not in ("hidden_size", "layers"):
                sizes[name] = size
    base_directory = plan.base_directory
    if source.manifest is not None and source.manifest.begun_on is not None:  # its own base is the trained one
        base_directory, _ = open_base(source.manifest.begun_on.name_or_path, asked.options.cache_dir)
    kernel = asked.options.attn_implementation or saved_kernel(source.manifest, plan.dtype, plan.device)
    options = LoadOptions(
        cache_dir=asked.options.cache_dir,
        device=str(plan.device),
        dtype=str(plan.dtype).removeprefix("torch."),
        attn_implementation=kernel,
        quantisation=plan.base.quantisation,
    )
    model = create(
        source.design_name,
        base_directory,
        lora=None,
        pooling_sizes=sizes,
        recipe=source.recipe,
        seed=asked.seed,
        options=options,
    )
    model.tokenizer, model.recipe = tokenizer_and_recipe(source, plan.base_directory)  # the very texts of the trained one
    model.pooling = cast_pooling(model.pooling, plan.device, plan.dtype)
    model.eval()
    return model


def max_length(model: EmbedModel, asked: int | None) -> int:
    """Return the tokens that a probed text has at most: those asked for, else 2,048 or as many as the base LLM takes."""
    if asked is not None:
        return asked
    backbone: Any = model.backbone
    limit = getattr(backbone.config.get_text_config(decoder=True), "max_position_embeddings", None)
    return min(LONGEST, int(limit)) if limit else LONGEST


def free_memory() -> None:
    """Give back a GPU's memory that nothing uses, before the next model is loaded."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
