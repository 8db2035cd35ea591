"""The table of layouts: every kind of folder that a model is loaded from. The first row that recognises a folder reads it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from common.errors import UserError
from common.files import listing
from model_loaders.hub import resolve, split_revision
from model_loaders.layouts.exported import EXPORTED
from model_loaders.layouts.known_models import as_published, system_name, with_published_recipe
from model_loaders.layouts.llm2vec import LLM2VEC
from model_loaders.layouts.nv_embed import NV_EMBED
from model_loaders.layouts.own import OWN
from model_loaders.layouts.published import PUBLISHED
from model_loaders.layouts.source import Asked, Layout, Source
from model_loaders.layouts.st_folder import ST_FOLDER
from model_loaders.layouts.whole import WHOLE_MODEL

LAYOUTS: tuple[Layout, ...] = (OWN, NV_EMBED, LLM2VEC, ST_FOLDER, EXPORTED, PUBLISHED, WHOLE_MODEL)


def open_folder(name: str | Path, cache_dir: str | Path | None) -> tuple[Path, Layout]:
    """Find the folder of an adapter or model, from the hub if need be, and its layout.

    Raises:
        UserError: there is no such folder or hub name, or the folder is of no layout of the table.
    """
    directory = resolve(name, what="adapter", cache_dir=cache_dir)
    for layout in LAYOUTS:
        if layout.recognise(directory):
            return directory, layout
    known = [f"{layout.name} ({layout.signs})" for layout in LAYOUTS]
    whole = " With config.json and no pooling it is a model of its own." if (directory / "config.json").is_file() else ""
    raise UserError(
        f"the adapter directory {name} is of no layout that can be loaded; it holds: {listing(directory)}.{whole} The layouts "
        f"are: {'; '.join(known)}."
    )


def read_source(asked: Asked) -> Source:
    """Find, recognise and read the folder that is asked for.

    Raises:
        UserError: it is not there, of no known layout, or a file in it is missing, broken, not finite, or not as asked.
    """
    directory, layout = open_folder(asked.name, asked.cache_dir)
    if layout is OWN:
        return layout.read(directory, asked)
    name, revision = split_revision(asked.name)
    asked = replace(asked, name=name, revision=revision)  # a published model is known by its name
    asked, known = as_published(asked, directory)
    source = layout.read(directory, asked)
    if layout is not PUBLISHED or known is not None:
        source = replace(source, system=system_name(asked.name))
    return source if known is None else with_published_recipe(source, known, asked.name)
