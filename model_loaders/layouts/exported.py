"""Folders that ``model_loaders.export`` wrote, read without running the code in them.

``merged`` and ``peft`` folders have ``embedding.json``, which says design and recipe. A folder for sentence-transformers says
them in that library's files; its trainable pooling is read by `st_folder` with this file's help.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from common.build import build
from common.errors import UserError
from common.files import read_json
from model_loaders.designs import DESIGNS, design_name, get_design
from model_loaders.layouts.own import check_sizes
from model_loaders.layouts.source import Asked, Layout, Source, base_named, read_lora
from model_loaders.layouts.tensors import LORA_CONFIG, read_tensors
from model_loaders.layouts.whole import check_decoder
from model_loaders.text.recipe import Recipe
from pooling import POOLINGS, Sizes

ABOUT, POOLING_FOLDER = "embedding.json", "pooling"
FORMAT = 1
CONFIG, WEIGHTS = "config.json", "model.safetensors"
OWN_POOLING = "trainable_pooling.TrainablePooling"  # the module's name in modules.json
TRAINED_DIMENSIONS = "trained_dimensions"  # widths, the widest first; left out where the vectors were trained whole alone
KEYS = {"kind", "layers", "tokens", "sizes", "unpooled_token_ids"}


@dataclass(frozen=True)
class ExportedPooling:
    """A trainable pooling of an exported folder.

    Attributes:
        layers: field of the design.
        tokens: field of the design.
        sizes: of the pooling.
        tensors: its weights.
        unpooled_token_ids: field of the recipe.
        file: of the weights, for messages.
    """

    layers: str
    tokens: str
    sizes: Sizes
    tensors: dict[str, Tensor]
    unpooled_token_ids: tuple[int, ...]
    file: Path

    def design(self, attention: str) -> str:
        """Return the row of the table of designs with this pooling.

        Raises:
            UserError: there is none.
        """
        for name, row in DESIGNS.items():
            if (row.attention, row.layers, row.tokens, row.pooling) == (attention, self.layers, self.tokens, self.sizes.kind):
                return name
        raise UserError(f"{self.file.parent}: there is no {attention} design that pools like this ({self.sizes.kind})")


def read_exported_pooling(folder: Path) -> ExportedPooling:
    """Read a trainable pooling.

    Raises:
        UserError: a file is missing or broken, or sizes and weights do not fit.
    """
    place = folder / CONFIG
    config = read_json(place)
    unknown = sorted(KEYS ^ set(config))
    kind, ids = config.get("kind"), config.get("unpooled_token_ids")
    if unknown or kind not in POOLINGS or not isinstance(ids, list) or not all(type(value) is int for value in ids):
        raise UserError(f"{place} describes no pooling of this toolkit ({', '.join(unknown) or kind}); take a fresh copy")
    sizes = build(POOLINGS[kind].config, config["sizes"], f"{place}: sizes")
    if sizes.kind != kind:
        raise UserError(f"{place} is of the pooling {kind!r}, its sizes of {sizes.kind!r}; take a fresh copy")
    tensors = read_tensors(folder / WEIGHTS)
    check_sizes(sizes, tensors, folder / WEIGHTS, place)
    return ExportedPooling(config["layers"], config["tokens"], sizes, tensors, tuple(ids), folder / WEIGHTS)


def recognise(directory: Path) -> bool:
    """Whether the folder has the file that an export writes."""
    return (directory / ABOUT).is_file()


def read(directory: Path, asked: Asked) -> Source:
    """Read an exported checkpoint of transformers, or exported LoRA.

    Raises:
        UserError: a file is missing or broken, or the folder is of another design than asked for.
    """
    about = read_json(directory / ABOUT)
    name, recipe = said(directory / ABOUT, about)
    if asked.design not in (None, name):
        raise UserError(f"{directory} holds a {name} model, not {asked.design}: leave the design out")
    lora, base = None, str(directory)
    if (directory / LORA_CONFIG).is_file():
        lora = read_lora(directory)
        base = str(asked.base_model or base_named(lora[0]))
    elif asked.base_model is not None:
        raise UserError(f"{directory} holds all weights of its model: leave base_model={asked.base_model} out")
    elif (directory / "onnx").is_dir():
        raise UserError(f"{directory} holds an ONNX graph, which is not read here: load the adapter that it was made of")
    else:
        check_decoder(directory, ("model.", ""))
    pooling = None if get_design(name).pooling == "none" else read_exported_pooling(directory / POOLING_FOLDER)
    return Source(
        directory=directory,
        design_name=name,
        base_model=base,
        recipe=recipe,
        lora=lora,
        pooling=None if pooling is None else (pooling.sizes, pooling.tensors),
        pooling_file=None if pooling is None else pooling.file,
        end_token=about["end_token"] or None,
        tokenizer=directory,
        trained_dimensions=trained_dimensions(directory / ABOUT, about),
    )


def trained_dimensions(place: Path, content: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the widths that vectors were trained to be cut to, as the file ``place`` says them; empty where it says none.

    Raises:
        UserError: they are no widths.
    """
    widths = content.get(TRAINED_DIMENSIONS, [])
    if not isinstance(widths, list) or not all(type(width) is int and width > 0 for width in widths):
        raise UserError(f"{place}: {TRAINED_DIMENSIONS} are {widths!r}, not a list of widths; take a fresh copy")
    return tuple(widths)


def said(place: Path, about: Mapping[str, Any]) -> tuple[str, Recipe]:
    """Return the design and the recipe that ``embedding.json`` says.

    Raises:
        UserError: it is of another format, or lacks one of them.
    """
    if about.get("format") != FORMAT:
        raise UserError(f"{place} has format {about.get('format')!r}; this version of the toolkit reads format {FORMAT}")
    missing = [key for key in ("design", "recipe", "end_token") if key not in about]
    if missing:
        raise UserError(f"{place} has no {missing[0]}; take a fresh copy")
    return design_name(str(about["design"])), build(Recipe, about["recipe"], f"{place}: recipe")


EXPORTED = Layout("export of this toolkit", ABOUT, recognise, read)
