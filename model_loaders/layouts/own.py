"""Our own layout: the manifest ``embedder.json``, LoRA as peft writes it, ``pooling.safetensors``, tokenizer files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from common.build import build
from common.errors import UserError
from model_loaders.designs import get_design
from model_loaders.layouts.manifest import MANIFEST, Manifest, read_manifest
from model_loaders.layouts.source import Asked, Layout, Source, read_lora
from model_loaders.layouts.tensors import POOLING_WEIGHTS, PUBLISHED_POOLING, check_tensors, read_tensors
from pooling import POOLINGS, Sizes, build_pooling


def recognise(directory: Path) -> bool:
    """Whether the folder has a manifest."""
    return (directory / MANIFEST).is_file()


def read(directory: Path, asked: Asked) -> Source:
    """Read an adapter directory of our layout, or a checkpoint of ours that is its own base.

    Raises:
        UserError: a file is missing, broken, not finite, or of another design; or a base is given to one that is its own.
    """
    manifest = read_manifest(directory)
    if asked.design not in (None, manifest.design):
        raise UserError(f"{directory} holds a {manifest.design} adapter, not {asked.design}: use that loader")
    if manifest.begun_on is not None and asked.base_model is not None:
        raise UserError(f"{directory} holds all weights of its model: leave base_model={asked.base_model} out")
    design = get_design(manifest.design)
    lora = read_lora(directory) if manifest.lora else None
    pooling, file = None, None
    if design.pooling == "none":
        refuse_pooling(directory, manifest.design)
    else:
        pooling, file = read_pooling(directory, design.pooling, manifest, asked.num_heads), directory / POOLING_WEIGHTS
    return Source(
        directory=directory,
        design_name=manifest.design,
        base_model=asked.base_model or manifest.base_model.name_or_path,
        recipe=manifest.recipe,
        lora=lora,
        pooling=pooling,
        pooling_file=file,
        end_token=manifest.end_token,
        tokenizer=directory,
        manifest=manifest,
        revision="" if asked.base_model else manifest.base_model.revision,
    )


def refuse_pooling(directory: Path, design: str) -> None:
    """Raise a UserError if a folder of a design without a trainable pooling holds one."""
    stray = [file for file in (PUBLISHED_POOLING, POOLING_WEIGHTS) if (directory / file).exists()]
    if stray:
        raise UserError(f"{directory} holds a trainable pooling ({stray[0]}), which {design} has none of: choose its design")


def read_pooling(directory: Path, kind: str, manifest: Manifest, num_heads: int | None) -> tuple[Sizes, dict[str, Tensor]]:
    """Read sizes and tensors of the trainable pooling ``kind``."""
    if manifest.pooling is None:
        raise UserError(f"{directory / MANIFEST}: {manifest.design} needs a pooling config")
    config = build(POOLINGS[kind].config, manifest.pooling, f"{directory / MANIFEST}: pooling")
    if config.kind != kind:
        raise UserError(
            f"{directory / MANIFEST}: {manifest.design} has the pooling {kind!r}, the config is one of {config.kind!r}"
        )
    heads = manifest.pooling.get("heads")
    if num_heads not in (None, heads):
        raise UserError(f"{directory / MANIFEST} says {heads} heads; leave num_heads={num_heads} out")
    tensors = read_tensors(directory / POOLING_WEIGHTS)
    check_sizes(config, tensors, directory / POOLING_WEIGHTS, directory / MANIFEST)
    return config, tensors


class NoInitialisation(TorchFunctionMode):
    """Leaves tensors as they are made: on the meta device, initial values would only import torch's compiler."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Skip the functions of ``torch.nn.init``."""
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


def check_sizes(config: Sizes, tensors: dict[str, Tensor], path: Path, place: Path) -> None:
    """Raise a UserError unless a pooling of these sizes has these tensors; no memory of those sizes is asked for.

    Args:
        config: the sizes.
        tensors: by name.
        path: the file that the tensors come from, for messages.
        place: the file that the sizes come from, for messages.
    """
    try:
        with torch.device("meta"), NoInitialisation():
            expected = build_pooling(config).state_dict()
    except (RuntimeError, OverflowError, MemoryError) as error:
        raise UserError(f"{place}: pooling has sizes beyond any memory, {path.name} has others") from error
    check_tensors(tensors, expected, path, f"Sizes of the pooling: {place}.")


OWN = Layout("adapter of this toolkit", MANIFEST, recognise, read)
