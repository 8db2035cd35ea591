"""``embedder.json``: what an adapter directory is, so that it loads the same way on any machine, or says why not."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from common.build import build
from common.errors import UserError
from common.files import read_json
from model_loaders.text.recipe import Recipe

MANIFEST = "embedder.json"
FORMAT = 1
LIBRARIES = ("torch", "transformers", "peft", "tokenizers")
# Short, long, another script, code: what these give must not change between saving and loading.
PROBE_TEXTS = (
    "What is the capital of France?",
    "A decoder reads its text from left to right; an embedder may look both ways. " * 4,
    "Γειά σου Κόσμε — 你好，世界",
    "def mean(values):\n    return sum(values) / len(values)",
)


@dataclass(frozen=True)
class BaseModel:
    """Which base LLM an adapter belongs to.

    Attributes:
        name_or_path: hub name or directory, as it was given.
        model_type: the family, such as ``mistral``.
        hidden_size: width of the states.
        num_layers: decoder layers.
        revision: commit of a hub snapshot, or empty.
        weights: ``backbone.load.weights_hash`` of its directory.
        quantisation: empty, ``4bit`` or ``8bit``.
    """

    name_or_path: str
    model_type: str
    hidden_size: int
    num_layers: int
    revision: str = ""
    weights: str = ""
    quantisation: str = ""


@dataclass(frozen=True)
class MergedAdapter:
    """An adapter that was merged into a base LLM.

    Attributes:
        adapter: name of its folder.
        weights: SHA-256 of its file of LoRA tensors.
        base: hash of the weights that it was merged into.
    """

    adapter: str
    weights: str
    base: str


@dataclass(frozen=True)
class Manifest:
    """The content of ``embedder.json``.

    Attributes:
        design: row of the table of designs.
        base_model: the base LLM.
        pooling: sizes of the trainable pooling, ``None`` for designs without one.
        recipe: prompts and lengths.
        end_token: the token that is last in every text; empty for none.
        dtype: dtype in which the fingerprints were computed.
        fingerprints: vectors of ``PROBE_TEXTS``, one list of ``dim`` floats a text, computed as the loader computes.
        lora: whether the directory holds a LoRA adapter (an untrained mean-pooled base has none).
        versions: of the libraries that wrote it; recorded and compared, not enforced.
        format: of this file.
        attn_implementation: the attention kernel of training and fingerprints; empty in older manifests.
        noise: how far rounding moves the fingerprints (``fingerprints.rounding_noise``); ``None`` in older manifests.
        lora_effect: how far LoRA moves them (``fingerprints.lora_effect``); ``None`` in older manifests.
        trained_dimensions: widths that the vectors were trained to be cut to (Matryoshka), the widest first.
        merged: adapters that were merged into the base LLM, in their order.
        step: of the training, where the weights were chosen among several checkpoints; ``None`` for those of its end.
        begun_on: the base LLM that training began on, where it changed that LLM's own weights. The folder then holds them all
            (``config.json``, ``model.safetensors``), and ``base_model`` is the folder's own decoder.
        base_relative: where the base LLM lies from the adapter's folder: of one in the user's home, which ``base_model`` names
            by ``~``, and of one in an offline bundle.
    """

    design: str
    base_model: BaseModel
    pooling: dict[str, Any] | None
    recipe: Recipe
    end_token: str
    dtype: str
    fingerprints: list[list[float]]
    lora: bool = True
    versions: dict[str, str] = field(default_factory=dict)
    format: int = FORMAT
    attn_implementation: str = ""
    noise: float | None = None
    lora_effect: float | None = None
    base_relative: str = ""
    trained_dimensions: tuple[int, ...] = ()
    merged: tuple[MergedAdapter, ...] = ()
    step: int | None = None
    begun_on: BaseModel | None = None

    def write(self, directory: Path) -> None:
        """Write ``embedder.json`` into ``directory``."""
        content = asdict(self) | {"recipe": self.recipe.to_dict()}
        for name in ("trained_dimensions", "merged", "begun_on", "step"):
            if not content[name]:
                del content[name]
        text = json.dumps(content, indent=2, ensure_ascii=False)
        (directory / MANIFEST).write_text(text + "\n", encoding="utf-8")


def read_manifest(directory: Path) -> Manifest:
    """Read and check ``embedder.json``.

    Raises:
        UserError: it is no JSON, of another format, or has missing or unknown keys, or values of another type.
    """
    path = directory / MANIFEST
    data = read_json(path)
    if data.get("format") != FORMAT:
        raise UserError(f"{path} has format {data.get('format')!r}; this version of the toolkit reads format {FORMAT}")
    manifest = build(Manifest, data, str(path))
    if manifest.begun_on is not None:  # it is its own base, wherever it lies
        return replace(manifest, base_model=replace(manifest.base_model, name_or_path=str(directory.resolve())))
    return with_local_base(manifest, directory)


def with_local_base(manifest: Manifest, directory: Path) -> Manifest:
    """Return a manifest whose base LLM has the directory where it lies here: in the user's home, or beside the adapter."""
    name, places = manifest.base_model.name_or_path, []
    if name.startswith("~"):
        places.append(Path(name).expanduser())
    if manifest.base_relative:
        places.append(directory.resolve() / manifest.base_relative)
    for place in places:
        if place.is_dir():
            return replace(manifest, base_model=replace(manifest.base_model, name_or_path=str(place.resolve())))
    return manifest


def without_home(base: BaseModel, directory: Path) -> tuple[BaseModel, str]:
    """Return what an adapter in ``directory`` says of its base LLM: a path in the user's home is named by ``~``.

    Returns:
        The base model, and its place from the adapter's folder if both are in that home; else an empty string.
    """
    home, place = Path.home().resolve(), Path(base.name_or_path)
    if home == Path(home.anchor) or not place.is_absolute() or not place.is_relative_to(home):
        return base, ""
    adapter = directory.resolve()
    relative = os.path.relpath(place, adapter) if adapter.is_relative_to(home) else ""
    return replace(base, name_or_path=f"~/{place.relative_to(home).as_posix()}"), relative


def library_versions() -> dict[str, str]:
    """Return the installed versions of the libraries that decide a vector."""
    return {name: metadata.version(name) for name in LIBRARIES}
