"""An adapter on its base LLM as an evaluation takes it: known by its files at once, loaded when a text must be encoded."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import model_loaders
from common.errors import UserError

if TYPE_CHECKING:
    from model_loaders.embed_model import EmbedModel
    from model_loaders.loading import Plan

NOTES = ".base_hashes"  # in the output directory: hashes of base LLMs' files, and what peft makes of an adapter's config


class NotLoaded(UserError):
    """The model cannot be loaded: no task can be scored."""


class Unloaded:
    """What an evaluation asks of an encoder before it encodes, from the adapter's files; its results may all be there.

    Attributes:
        design_name: row of the table of designs.
        version: what `EmbedModel.version` will be.
        dtype: in which the model will compute.
        dim: width of the vectors.
        recipe: prompts and lengths.
        base_model: the base LLM.
        result_facts: what results depend on beside the version.
    """

    def __init__(self, plan: Plan, version: str, loader: Callable[[], EmbedModel]) -> None:
        from model_loaders.layouts.source import tokenizer_and_recipe

        self.design_name = plan.source.design_name
        self.version = version
        self.dtype = str(plan.dtype).removeprefix("torch.")
        self.dim = plan.base.hidden_size
        self.recipe = tokenizer_and_recipe(plan.source, plan.base_directory)[1]
        self.base_model = plan.base
        self.result_facts: dict[str, str] = {}
        self._loader = loader
        self._model: EmbedModel | None = None

    def load(self) -> EmbedModel:
        """Return the model, loaded once.

        Raises:
            NotLoaded: it cannot be loaded, or is not what its files were a moment ago.
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

    def encode(self, *arguments: Any, **options: Any) -> Any:
        """Encode as `EmbedModel.encode` does."""
        return self.load().encode(*arguments, **options)

    def encode_counted(self, *arguments: Any, **options: Any) -> Any:
        """Encode as `EmbedModel.encode_counted` does."""
        return self.load().encode_counted(*arguments, **options)


def open_adapter(loader: Callable[..., Any], output_dir: Path | None, **options: Any) -> Any:
    """Return an encoder; `result_facts` of it are what results depend on beside its version.

    Args:
        loader: `model_loaders.load` or `load_design` of a design; anything else is called, and says nothing beforehand.
        output_dir: where what takes seconds to find out is noted; None for no `result_facts`, where the first process has them.
        options: `base_model`, `adapter_path` and what `load_design` takes.

    Raises:
        UserError: the adapter or its base LLM is missing, broken, or of another one.
    """
    if not _is_ours(loader):
        return loader(**options)
    from model_loaders.loading import plan_loading
    from model_loaders.version import content_hash

    planned = {name: value for name, value in options.items() if name != "attn_implementation"}
    plan = plan_loading(design_of(loader), **planned)
    notes = output_dir / NOTES if output_dir is not None else None
    facts = {} if notes is None else {"base_content": content_hash(plan.base_directory, notes)}
    version = plan.version(notes)
    encoder: Any = Unloaded(plan, version, partial(loader, **options)) if version is not None else loader(**options)
    encoder.result_facts = facts
    return encoder


def _is_ours(loader: Callable[..., Any]) -> bool:
    return loader is model_loaders.load or (isinstance(loader, partial) and loader.func is model_loaders.load_design)


def design_of(loader: Callable[..., Any]) -> str | None:
    """Return the design that a loader is for; None where the adapter's manifest says it."""
    return str(loader.args[0]) if isinstance(loader, partial) and _is_ours(loader) else None


def loaded(encoder: Any) -> Any:
    """Return the model of an encoder, loaded if it was not."""
    return encoder.load() if isinstance(encoder, Unloaded) else encoder
