"""A lazy adapter: its metadata at once from its files, its weights when the first text must be encoded."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import model_loaders
from common.errors import UserError
from evaluation.encode.sharded_encoder import TextEncoder
from model_loaders.create import UntrainedPlan, load_untrained, plan_untrained
from model_loaders.layouts.source import tokenizer_and_recipe
from model_loaders.loading import plan_loading
from model_loaders.options import LoadOptions
from model_loaders.version import content_hash

if TYPE_CHECKING:
    import numpy as np

    from model_loaders.embed_model import EmbedModel
    from model_loaders.encoding import Encoded
    from model_loaders.loading import Plan

Loader = Callable[..., TextEncoder]
NOTES = ".base_hashes"  # in the output directory: hashes of base LLMs' files, and peft's reading of an adapter's config


class NotLoaded(UserError):
    """The model cannot be loaded: no task can be scored."""


class LazyModel:
    """An `EmbedModel` that is loaded with the first text; its results may all be there.

    Attributes:
        design_name: row of the table of designs.
        system: as `EmbedModel.system`.
        version: the later `EmbedModel.version`.
        dtype: in which the model will compute.
        dim: width of the vectors.
        recipe: prompts and lengths.
        base_model: the base LLM.
        result_facts: facts beside the version that results depend on.
    """

    def __init__(self, plan: Plan | UntrainedPlan, version: str, loader: Callable[[], EmbedModel]) -> None:
        if isinstance(plan, UntrainedPlan):
            self.design_name, self.recipe, self.system = plan.named.design, plan.named.recipe, ""
        else:
            self.design_name, self.system = plan.source.design_name, plan.source.system
            self.recipe = tokenizer_and_recipe(plan.source, plan.base_directory)[1]
        self.version = version
        self.dtype = str(plan.dtype).removeprefix("torch.")
        self.dim = self.recipe.dimensions or plan.base.hidden_size
        self.base_model = plan.base
        self.result_facts: dict[str, str] = {}
        self._loader = loader
        self._model: EmbedModel | None = None

    def load(self) -> EmbedModel:
        """Return the model, loaded once.

        Raises:
            NotLoaded: it cannot be loaded, or its files have changed since the metadata were read.
        """
        if self._model is None:
            try:
                self._model = self._loader()
            except UserError as error:
                raise NotLoaded(str(error)) from error
            if self._model.version != self.version:
                self._model = None
                raise NotLoaded("the adapter's files changed while they were read: start again when they are whole")
        return self._model

    def encode(self, *arguments: Any, **options: Any) -> np.ndarray:
        """Encode as `EmbedModel.encode` does."""
        return self.load().encode(*arguments, **options)

    def encode_counted(self, *arguments: Any, **options: Any) -> Encoded:
        """Encode as `EmbedModel.encode_counted` does."""
        return self.load().encode_counted(*arguments, **options)


def open_adapter(loader: Loader, output_dir: Path | None, **options: Any) -> TextEncoder:
    """Return an encoder; its `result_facts` are the facts beside its version that results depend on.

    Args:
        loader: `model_loaders.load` or `load_design` of a design; another loader is called at once.
        output_dir: keeps notes of facts that take seconds to find out; None for no `result_facts`, where the first process
            has them.
        options: `base_model`, `adapter_path` (None for an untrained base LLM) and the options of `load_design`.

    Raises:
        UserError: the adapter or its base LLM is missing, broken, or of another one.
    """
    if not _is_ours(loader):
        return loader(**options)
    settings = dict(options)
    base_model, adapter_path = settings.pop("base_model", None), settings.pop("adapter_path")
    num_heads = settings.pop("num_heads", None)
    plan: Plan | UntrainedPlan
    recipe = recipe_of(loader)
    if recipe is not None:
        plan = plan_untrained(recipe, base_model, LoadOptions(**settings))
    else:
        plan = plan_loading(design_of(loader), base_model, adapter_path, LoadOptions(**settings), num_heads=num_heads)
    notes = None
    facts = {}
    if output_dir is not None:
        notes = output_dir / NOTES
        facts["base_content"] = content_hash(plan.base_directory, notes)
    version = plan.version() if isinstance(plan, UntrainedPlan) else plan.version(notes)
    encoder: LazyModel | EmbedModel
    if version is None:  # known of the loaded model alone
        encoder = cast("EmbedModel", loader(**options))
    else:
        encoder = LazyModel(plan, version, partial(cast("Callable[..., EmbedModel]", loader), **options))
    encoder.result_facts = facts  # type: ignore[union-attr]
    return encoder


def _is_ours(loader: Loader) -> bool:
    functions = (model_loaders.load_design, load_untrained)
    return loader is model_loaders.load or (isinstance(loader, partial) and loader.func in functions)


def design_of(loader: Loader) -> str | None:
    """Return the design that a loader is for; None where the adapter's manifest decides."""
    if isinstance(loader, partial) and loader.func is model_loaders.load_design:
        return str(loader.args[0])
    return None


def recipe_of(loader: Loader) -> str | None:
    """Return the name of the recipe with which a loader reads an untrained base LLM; None for another loader."""
    return str(loader.args[0]) if isinstance(loader, partial) and loader.func is load_untrained else None


def loaded(encoder: TextEncoder) -> TextEncoder:
    """Return the model of an encoder, loaded if it was not."""
    return encoder.load() if isinstance(encoder, LazyModel) else encoder
