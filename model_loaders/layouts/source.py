"""Read and check what a folder of any layout says of a model, before the base LLM is touched."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from common.errors import UserError
from common.files import read_json
from model_loaders.backbone.base_config import load_config
from model_loaders.backbone.base_files import hash_of_all, weights_hash
from model_loaders.hub import at_revision, resolve, split_revision
from model_loaders.layouts.manifest import BaseModel, Manifest
from model_loaders.layouts.tensors import LORA_CONFIG, LORA_WEIGHTS, read_tensors
from model_loaders.text.recipe import Recipe
from model_loaders.text.tokenizer import TextTokenizer, load_tokenizer
from pooling import Sizes

logger = logging.getLogger(__name__)
Lora = tuple[dict[str, Any], dict[str, Tensor]]


@dataclass(frozen=True)
class Asked:
    """What the caller asks for.

    Attributes:
        name: hub name or directory of the adapter or model.
        design: row of the table of designs; ``None`` for the one that the folder says.
        base_model: hub name or directory; ``None`` for the one that the folder says.
        num_heads: heads of a published pooling, whose files do not say them.
        cache_dir: hub cache; ``None`` for the default one.
        revision: branch, tag or commit of ``name`` on the hub; empty where none is asked for.
    """

    name: str | Path
    design: str | None = None
    base_model: str | Path | None = None
    num_heads: int | None = None
    cache_dir: str | Path | None = None
    revision: str = ""

    @property
    def whole(self) -> str:
        """Name of a checkpoint that is its own base LLM: at the revision that its other parts are read at."""
        return at_revision(str(self.name), self.revision)


@dataclass(frozen=True)
class Source:
    """What a folder says of a model, read and checked.

    Attributes:
        directory: the folder.
        design_name: row of the table of designs.
        base_model: hub name or directory of the base LLM; a checkpoint that holds all weights names its own folder.
        recipe: how texts become vectors.
        lora: peft's config and tensors, or ``None``.
        pooling: sizes and tensors of the trainable pooling, or ``None``.
        pooling_file: where those came from, for messages.
        end_token: the token that ends every text; ``None`` for the one that the recipe says.
        tokenizer: folder of the tokenizer; ``None`` for the base LLM's.
        manifest: what our own layout knows of the model that was saved, to be compared with; ``None`` in the others.
        skips_pad: whether the pooling leaves out the pad token's id (published design 5).
        revision: commit of the base LLM on the hub that the adapter was made with; empty where none is known.
        system: name of a published model or a foreign folder, for results; empty for adapters of the designs.
        trained_dimensions: widths that an exported folder says its vectors were trained to be cut to; our own layout has them
            in its manifest.
    """

    directory: Path
    design_name: str
    base_model: str | Path
    recipe: Recipe
    lora: Lora | None = None
    pooling: tuple[Sizes, dict[str, Tensor]] | None = None
    pooling_file: Path | None = None
    end_token: str | None = None
    tokenizer: Path | None = None
    manifest: Manifest | None = None
    skips_pad: bool = False
    revision: str = ""
    system: str = ""
    trained_dimensions: tuple[int, ...] = ()


@dataclass(frozen=True)
class Layout:
    """A kind of folder that a model is loaded from; ``layouts.table`` has them all.

    Attributes:
        name: for messages.
        signs: the files that such a folder is known by, for messages.
        recognise: whether a folder is of this kind; reads small JSON files at most.
        read: reads and checks the folder. Raises a UserError for what is missing, broken, not finite, or not as asked.
    """

    name: str
    signs: str
    recognise: Callable[[Path], bool]
    read: Callable[[Path, Asked], Source]


def read_lora(directory: Path) -> Lora:
    """Read peft's config and tensors of an adapter directory."""
    return read_json(directory / LORA_CONFIG), read_tensors(directory / LORA_WEIGHTS)


def base_named(config: Mapping[str, Any]) -> str:
    """Return the base LLM that peft's config names, with the commit if it says one; empty where it names none.

    These folders keep no hash of the base LLM's weights, so that another commit could not be told from the right one.
    """
    return at_revision(str(config.get("base_model_name_or_path") or ""), str(config.get("revision") or ""))


def open_base(
    base_model: str | Path, cache_dir: str | Path | None, quantisation: str = "", revision: str = ""
) -> tuple[Path, BaseModel]:
    """Resolve a base model's name to its directory, and describe it.

    Args:
        base_model: hub name, with or without ``@REVISION``, or directory.
        cache_dir: hub cache; ``None`` for the default one.
        quantisation: as in ``BaseModel``.
        revision: commit that an adapter was made with.
    """
    directory = find_base(base_model, cache_dir, revision)
    config = load_config(directory)
    local = Path(base_model).expanduser()
    return directory, BaseModel(
        name_or_path=str(local.resolve()) if local.is_dir() else split_revision(base_model)[0],
        model_type=config.model_type,
        hidden_size=config.hidden_size,
        num_layers=config.num_hidden_layers,
        revision="" if local.is_dir() else directory.name,
        weights=weights_hash(directory),
        quantisation=quantisation,
    )


def find_base(base_model: str | Path, cache_dir: str | Path | None, revision: str = "") -> Path:
    """Return the directory of a base model, at the commit ``revision`` where that can be had.

    Otherwise, as without a network where the cache has another commit, the one that can be had is taken: ``check_base``
    compares its weights.

    Raises:
        UserError: it cannot be had.
    """
    name = at_revision(str(base_model), revision)
    if name != str(base_model):
        try:
            return resolve(name, what="base model", cache_dir=cache_dir, needs="config.json")
        except UserError as error:
            logger.info("%s; another commit is looked for", error)
    return resolve(base_model, what="base model", cache_dir=cache_dir, needs="config.json")


def check_base(source: Source, base: BaseModel, directory: Path) -> None:
    """Raise a UserError if the adapter was saved with another base model than ``base``."""
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


def tokenizer_and_recipe(source: Source, base_directory: Path) -> tuple[TextTokenizer, Recipe]:
    """Return a model's tokenizer and recipe."""
    raw, recipe = load_tokenizer(source.tokenizer or base_directory), source.recipe
    if source.skips_pad and raw.pad_token_id is not None:
        recipe = replace(recipe, unpooled_token_ids=(raw.pad_token_id,))
    return TextTokenizer.of(raw, recipe, source.end_token), recipe
