"""Checkpoints that hold a whole model: its decoder's tensors are all there, of the right shapes, and no others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from common.errors import UserError
from model_loaders.backbone.base_config import load_config
from model_loaders.backbone.base_files import tensor_shapes
from model_loaders.layouts.own import NoInitialisation

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
