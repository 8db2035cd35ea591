"""Published models by name: what their folders do not say. ``configs/published/*.yaml`` has a file for each recipe.

A model is known by its hub name, by its folder in the hub's cache, and by a folder whose last two parts are the hub name, such
as ``/models/nvidia/NV-Embed-v2``. A folder of any other name is read by its files alone.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from common.build import build
from common.errors import UserError
from common.yaml_files import read_yaml
from model_loaders.designs import get_design
from model_loaders.layouts.source import Asked, Source
from model_loaders.layouts.tensors import LORA_CONFIG
from model_loaders.text.recipe import Recipe, described

FOLDER = Path(__file__).resolve().parents[2] / "configs" / "published"
CACHE_PREFIX = "models--"  # of the folders in the hub's cache
SHOWN: set[str] = set()  # names whose recipe this process has printed


@dataclass(frozen=True)
class ModelFacts:
    """Facts of one model of a file; they decide nothing but ``base_model``.

    Attributes:
        licence: of its weights, by the name that the hub uses; empty where it is not known.
        dimensions: numbers in a vector; ``None`` where it is not known.
        base_model: hub name of what an adapter stands on, where its own files name something else; empty otherwise.
    """

    licence: str = ""
    dimensions: int | None = None
    base_model: str = ""


@dataclass(frozen=True)
class PublishedModel:
    """A file of ``configs/published``: models that share a recipe.

    Attributes:
        models: facts by hub name.
        layout: name of the layout of ``layouts.table``.
        design: row of the table of designs.
        summary: one line.
        source: where the facts come from.
        recipe: fields of ``Recipe`` that go over those that the folder says.
        prompts: instructions by name or mteb's type of a task, as a prompts file has them; before mteb's own.
        notes: what a user should know.
    """

    models: dict[str, ModelFacts]
    layout: str
    design: str
    summary: str
    source: list[str]
    recipe: dict[str, Any] = field(default_factory=dict)
    prompts: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        get_design(self.design)
        known = {entry.name for entry in fields(Recipe)}
        for name in self.recipe:
            if name not in known:
                raise UserError(f"recipe: there is no field {name!r}; the fields are {', '.join(sorted(known))}")

    def recipe_over(self, recipe: Recipe) -> Recipe:
        """Return ``recipe`` with the fields of the file over it."""
        content = recipe.to_dict() | self.recipe
        if self.prompts:
            content["task_instructions"] = instructions(self.prompts)
        return build(Recipe, {name: listed(value) for name, value in content.items()}, "configs/published")


def listed(value: object) -> object:
    """Return tuples, also inner ones, as lists: what a JSON file would hold."""
    return [listed(item) for item in value] if isinstance(value, tuple | list) else value


def instructions(prompts: Mapping[str, Any]) -> list[list[str]]:
    """Return prompts by task as ``Recipe.task_instructions`` holds them: task, side and instruction."""
    entries = []
    for task, sides in prompts.items():
        if isinstance(sides, str):
            entries.append([task, "query", sides])
            continue
        for side, instruction in sides.items():
            entries.append([task, side, instruction])
    return entries


@functools.cache
def published_models() -> dict[str, PublishedModel]:
    """Read all files; returns them by hub name.

    Raises:
        UserError: a file is malformed, or a name stands in two of them.
    """
    by_name: dict[str, PublishedModel] = {}
    for path in sorted(FOLDER.glob("*.yaml")):
        model = build(PublishedModel, read_yaml(path, "the file of a published model"), str(path))
        for name in model.models:
            if name in by_name:
                raise UserError(f"{path}: {name} stands in another file too")
            by_name[name] = model
    return by_name


def known_name(name: str | Path) -> str | None:
    """Return the hub name of a published model that ``name`` is, or ``None``.

    >>> known_name("/models/nvidia/NV-Embed-v2")
    'nvidia/NV-Embed-v2'
    >>> known_name("runs/model3") is None
    True
    """
    parts = Path(str(name).rstrip("/")).parts
    candidates = ["/".join(parts[-2:])]
    for part in parts:
        if part.startswith(CACHE_PREFIX):
            candidates.append(part.removeprefix(CACHE_PREFIX).replace("--", "/"))
    for candidate in candidates:
        if candidate in published_models():
            return candidate
    return None


def system_name(name: str | Path) -> str:
    """Return the name under which a published model or a folder of another toolkit is scored.

    >>> (scratch / "llm2vec" / "second").mkdir(parents=True)
    >>> system_name(scratch / "llm2vec" / "second"), system_name("GritLM/GritLM-7B")
    ('llm2vec/second', 'GritLM/GritLM-7B')

    Returns:
        The hub name, also of a folder in the hub's cache; else the folder's name behind that of the folder it lies in.
    """
    place = Path(name).expanduser()
    if not place.exists():
        return str(name)
    for part in place.absolute().parts:
        if part.startswith(CACHE_PREFIX):
            return part.removeprefix(CACHE_PREFIX).replace("--", "/")
    return "/".join(place.resolve().parts[-2:]).strip("/")


def as_published(asked: Asked, directory: Path) -> tuple[Asked, PublishedModel | None]:
    """Fill in what the table knows of the model that is asked for; what the caller says goes before it.

    Args:
        asked: by the caller.
        directory: the model's folder; one without an adapter is whole and has no base model.
    """
    name = known_name(asked.name)
    if name is None:
        return asked, None
    model = published_models()[name]
    base = asked.base_model
    if base is None and (directory / LORA_CONFIG).is_file():
        base = beside(asked.name, model.models[name].base_model) or None
    return replace(asked, design=asked.design or model.design, base_model=base), model


def beside(folder: str | Path, base_model: str) -> str | Path:
    """Return the folder of ``base_model``, a hub name, if it lies where ``folder`` lies; else the hub name."""
    place = Path(folder).expanduser()
    if not base_model or not place.is_dir():
        return base_model
    neighbour = place.absolute().parent / base_model.rsplit("/", 1)[-1]
    return neighbour if neighbour.is_dir() else base_model


def with_published_recipe(source: Source, model: PublishedModel, name: str | Path) -> Source:
    """Return a source whose recipe is that of the table, and print it, once a process."""
    recipe = model.recipe_over(source.recipe)
    known = known_name(name)
    if known is not None and known not in SHOWN and os.environ.get("RANK", "0") == "0":
        SHOWN.add(known)
        print(words(known, model.models[known], source.design_name, recipe), file=sys.stderr, flush=True)
    return replace(source, recipe=recipe)


def words(name: str, facts: ModelFacts, design: str, recipe: Recipe) -> str:
    """Return the lines that say how a model is used: licence, design, and every field of its recipe."""
    licence = facts.licence or "not known"
    head = f"{name}: design {design} ({get_design(design).summary}), licence {licence}, read with the recipe"
    return "\n  ".join([head, *described(recipe)])
