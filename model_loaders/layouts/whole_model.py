"""A whole model without a word on how it embeds: ``config.json``, weights and tokenizer of a decoder, and nothing else.

Its design comes from the table of published models (``layouts.known_models``) or from the caller.
"""

from __future__ import annotations

from pathlib import Path

from common.errors import UserError
from common.files import listing
from model_loaders.backbone.base_files import CONFIG, weights_entry
from model_loaders.designs import get_design
from model_loaders.layouts.source import Asked, Layout, Source
from model_loaders.layouts.whole import check_decoder
from model_loaders.text.recipe import Recipe


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
