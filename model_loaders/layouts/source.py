"""Reads an adapter directory of either layout and checks it, before the base model is touched."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from common.build import build
from common.errors import UserError
from common.files import read_json
from model_loaders.backbone.base_config import load_config
from model_loaders.backbone.base_files import hash_of_all, weights_hash
from model_loaders.designs import Design, get_design
from model_loaders.hub import resolve
from model_loaders.layouts.manifest import MANIFEST, BaseModel, Manifest, read_manifest
from model_loaders.layouts.published import read_published_pooling
from model_loaders.layouts.tensors import (
    LORA_CONFIG,
    LORA_WEIGHTS,
    POOLING_WEIGHTS,
    PUBLISHED_POOLING,
    check_tensors,
    read_tensors,
)
from model_loaders.text.recipe import Recipe
from model_loaders.text.tokenizer import TextTokenizer, load_tokenizer
from pooling import POOLINGS, Sizes, build_pooling


@dataclass(frozen=True)
class Source:
    """What an adapter directory says, read and checked before the base model is touched.

    Attributes:
        directory: of the adapter.
        design_name: row of the table.
        manifest: ``None`` for the published layout.
        lora: peft's config and tensors, or ``None``.
        pooling: sizes and tensors of the trainable pooling, or ``None``.
        pooling_file: where those came from, for messages.
    """

    directory: Path
    design_name: str
    manifest: Manifest | None
    lora: tuple[dict[str, Any], dict[str, Tensor]] | None
    pooling: tuple[Sizes, dict[str, Tensor]] | None
    pooling_file: Path | None


def read_source(directory: Path, design_name: str | None, num_heads: int | None) -> Source:
    """Read an adapter directory in our layout or in the published one.

    Raises:
        UserError: a file is missing, broken, not finite, or of another design.
    """
    manifest = read_manifest(directory) if (directory / MANIFEST).is_file() else None
    if manifest is None and design_name is None:
        raise UserError(
            f"{directory} has no {MANIFEST}, so it does not say its design: load it by design (for example with "
            f"model_loaders.model3, --loader model3) or convert it once: python -m model_loaders.convert {directory} OUT "
            "--design model3 --base_model BASE"
        )
    if manifest is not None and design_name not in (None, manifest.design):
        raise UserError(f"{directory} holds a {manifest.design} adapter, not {design_name}: use that loader")
    name = manifest.design if manifest is not None else str(design_name)
    design = get_design(name)
    has_lora = manifest is None or manifest.lora
    lora = None
    if has_lora:
        config = read_json(directory / LORA_CONFIG)
        lora = config, read_tensors(directory / LORA_WEIGHTS)
    pooling, file = read_pooling(directory, design, name, manifest, num_heads)
    return Source(directory, name, manifest, lora, pooling, file)


def read_pooling(
    directory: Path, design: Design, name: str, manifest: Manifest | None, num_heads: int | None
) -> tuple[tuple[Sizes, dict[str, Tensor]] | None, Path | None]:
    """Read the trainable pooling's sizes, tensors and file, or ``None`` for a design without one."""
    if design.pooling == "none":
        stray = [file for file in (PUBLISHED_POOLING, POOLING_WEIGHTS) if (directory / file).exists()]
        if stray:
            raise UserError(f"{directory} holds a trainable pooling ({stray[0]}), which {name} has none of: choose its design")
        return None, None
    if manifest is None:
        published, tensors, path = read_published_pooling(directory, design, num_heads)
        return (published, tensors), path
    if manifest.pooling is None:
        raise UserError(f"{directory / MANIFEST}: {name} needs a pooling config")
    config = build(POOLINGS[design.pooling].config, manifest.pooling, f"{directory / MANIFEST}: pooling")
    if config.kind != design.pooling:
        raise UserError(
            f"{directory / MANIFEST}: {name} has the pooling {design.pooling!r}, the config is one of {config.kind!r}"
        )
    heads = manifest.pooling.get("heads")
    if num_heads not in (None, heads):
        raise UserError(f"{directory / MANIFEST} says {heads} heads; leave num_heads={num_heads} out")
    path = directory / POOLING_WEIGHTS
    tensors = read_tensors(path)
    check_sizes(config, tensors, directory)
    return (config, tensors), path


class NoInitialisation(TorchFunctionMode):
    """Leaves tensors as they are made: on the meta device, initial values would only import torch's compiler."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Skip the functions of ``torch.nn.init``."""
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


def check_sizes(config: Sizes, tensors: dict[str, Tensor], directory: Path) -> None:
    """Raise a UserError unless a pooling of these sizes has these tensors; no memory of those sizes is asked for."""
    path = directory / POOLING_WEIGHTS
    try:
        with torch.device("meta"), NoInitialisation():
            expected = build_pooling(config).state_dict()
    except (RuntimeError, OverflowError, MemoryError) as error:
        raise UserError(f"{directory / MANIFEST}: pooling has sizes beyond any memory, {path.name} has others") from error
    check_tensors(tensors, expected, path, f"Sizes of the pooling: {directory / MANIFEST}.")


def open_base(base_model: str | Path, cache_dir: str | Path | None, quantisation: str = "") -> tuple[Path, BaseModel]:
    """Resolve a base model's name to its directory, and describe it."""
    directory = resolve(base_model, what="base model", cache_dir=cache_dir, needs="config.json")
    config = load_config(directory)
    local = Path(base_model).expanduser()
    return directory, BaseModel(
        name_or_path=str(local.resolve()) if local.is_dir() else str(base_model),
        model_type=config.model_type,
        hidden_size=config.hidden_size,
        num_layers=config.num_hidden_layers,
        revision="" if local.is_dir() else directory.name,
        weights=weights_hash(directory),
        quantisation=quantisation,
    )


def check_base(source: Source, base: BaseModel, directory: Path) -> None:
    """Raise a UserError if the adapter was made with another base model than ``base``."""
    if source.manifest is None:
        return
    saved = source.manifest.base_model
    for what in ("model_type", "hidden_size", "num_layers"):
        if getattr(saved, what) != getattr(base, what):
            raise UserError(
                f"the adapter {source.directory} belongs to the base model {saved.name_or_path} ({what} "
                f"{getattr(saved, what)}), not to {base.name_or_path} ({what} {getattr(base, what)})"
            )
    if saved.weights and base.weights and saved.weights not in (base.weights, hash_of_all(directory)):
        raise UserError(
            f"the adapter {source.directory} was trained on {saved.name_or_path}; {base.name_or_path} is of the same sizes but "
            "has other weights (or another dtype on disk). Give the base model that it was trained on."
        )


def adapter_needs(path: Path) -> str:
    """Return the file that makes ``path`` an adapter directory."""
    return MANIFEST if (path / MANIFEST).is_file() else LORA_CONFIG


def tokenizer_and_recipe(source: Source, base_directory: Path) -> tuple[TextTokenizer, Recipe]:
    """Return an adapter's tokenizer and recipe."""
    has_tokenizer = source.manifest is not None or (source.directory / "tokenizer_config.json").is_file()
    raw = load_tokenizer(source.directory if has_tokenizer else base_directory)
    recipe = source.manifest.recipe if source.manifest else published_recipe(get_design(source.design_name), raw.pad_token_id)
    return TextTokenizer.of(raw, recipe, source.manifest.end_token if source.manifest else None), recipe


def published_recipe(design: Design, pad_token_id: int | None) -> Recipe:
    """Return the recipe of the published code: no prompts, 512 tokens, and a mean that skips the pad token's id."""
    skipped = design.layers == "all" and design.tokens == "mean" and pad_token_id is not None
    return Recipe(unpooled_token_ids=(pad_token_id,) if skipped and pad_token_id is not None else ())
