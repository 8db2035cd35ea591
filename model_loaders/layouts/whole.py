"""Checkpoints that hold a whole model: its decoder's tensors are all there, of the right shapes, and no others.

The last part is the layout of a folder that holds nothing else: ``config.json``, weights and tokenizer of a decoder, and no
word on how it embeds. Its design comes from the table of published models (``layouts.known_models``) or from the caller.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from common.errors import UserError
from common.files import listing, write_json
from model_loaders.backbone.base_config import load_config
from model_loaders.backbone.base_files import CONFIG, tensor_shapes, weights_entry
from model_loaders.designs import get_design
from model_loaders.layouts.own import NoInitialisation
from model_loaders.layouts.source import Asked, Layout, Source
from model_loaders.text.recipe import Recipe

Shapes = Mapping[str, tuple[int, ...]]
# What folders of decoders hold beside them: the language-model head, and constants of rotary positions in older files.
BESIDE = ("lm_head.",)
CONSTANTS = ("rotary_emb.inv_freq", "masked_bias", "attn.bias")


def check_decoder(directory: Path, prefixes: tuple[str, ...], others: tuple[str, ...] = BESIDE) -> None:
    """Compare names and shapes of a checkpoint's tensors with its decoder's, from the files' headers.

    transformers would leave out what it does not know, and say so in a line among others.

    Args:
        directory: ``config.json`` and weights. Files that are no safetensors are not compared.
        prefixes: what may stand before the names of the decoder's tensors; the first one that any name has.
        others: what names of tensors begin with that are not the decoder's and are read elsewhere, or not at all.

    Raises:
        UserError: it names the first tensor that is missing, unknown or of another shape.
    """
    found = tensor_shapes(directory)
    if not found:
        return
    prefix = next((prefix for prefix in prefixes if any(name.startswith(prefix) for name in found)), prefixes[-1])
    decoder = {}
    for name, shape in found.items():
        if name.startswith(others) or name.endswith(CONSTANTS):
            continue
        decoder[name] = shape
    expected = {f"{prefix}{name}": shape for name, shape in decoder_shapes(directory).items()}
    compare(decoder, expected, directory)


def decoder_shapes(directory: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the tensors that a decoder of a folder's config has; no memory of those sizes is asked for."""
    from transformers import AutoModel

    config = load_config(directory)
    try:
        with torch.device("meta"), NoInitialisation():
            model = AutoModel.from_config(config, trust_remote_code=False)
    except (ValueError, TypeError, RuntimeError, OverflowError, ZeroDivisionError) as error:
        raise UserError(f"{directory / 'config.json'} describes no model that can be built: {error}") from error
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def compare(found: Shapes, expected: Shapes, directory: Path) -> None:
    """Raise a UserError unless both have the same names and shapes."""
    for names, what in (
        (expected.keys() - found.keys(), "lack {count} tensors that its config.json asks for, such as {name}"),
        (found.keys() - expected.keys(), "hold {count} tensors that belong to no part of the model, such as {name}"),
    ):
        if names:
            words = what.format(count=len(names), name=min(names))
            raise UserError(f"the weights in {directory} {words}. Give weights and config.json of one model.")
    for name, shape in expected.items():
        if found[name] != shape:
            raise UserError(
                f"the weights in {directory}: {name} is {found[name]}, its config.json asks for {shape}. Give weights and "
                "config.json of one model."
            )


def write_config(backbone: nn.Module, folder: Path) -> None:
    """Write ``config.json`` beside a decoder's own weights: that of its base LLM, with the attention that it has now.

    Args:
        backbone: without LoRA, loaded from a folder that is still there.
        folder: to write into.
    """
    config: Any = backbone.config
    content = load_config(Path(config._name_or_path)).to_dict()
    content |= {
        "architectures": [type(backbone).__name__.removeprefix("FSDP")],
        "dtype": str(config.dtype).removeprefix("torch."),
        "is_causal": config.is_causal,
    }
    for name in ("_name_or_path", "quantization_config"):
        content.pop(name, None)
    write_json(content, folder / CONFIG)


def recognise(directory: Path) -> bool:
    """Whether the folder has a config and weights."""
    return (directory / CONFIG).is_file() and weights_entry(directory) is not None


def read(directory: Path, asked: Asked) -> Source:
    """Read a whole model whose design is asked for.

    Raises:
        UserError: no design is asked for, or one whose pooling has weights, which such a folder does not hold.
    """
    if asked.base_model is not None:
        raise UserError(f"{directory} holds all weights of its model: leave base_model={asked.base_model} out")
    if asked.design is None:
        raise UserError(
            f"the directory {directory} is of no layout that can be loaded; it holds: {listing(directory)}. With config.json "
            "and no pooling it is a model of its own, and nothing in it says how it embeds: give a published name, or a recipe "
            "(--recipe NAME --base_model FOLDER), or train a design on it."
        )
    if get_design(asked.design).pooling != "none":
        raise UserError(f"{directory} is a model of its own and holds no pooling, which {asked.design} needs")
    check_decoder(directory, ("model.", ""))
    return Source(directory=directory, design_name=asked.design, base_model=str(directory), recipe=Recipe())


WHOLE_MODEL = Layout("whole model", "config.json and weights", recognise, read)
