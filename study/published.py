"""Published models and adapters beside the designs of a study: loaded, not trained, and scored on the same tasks.

```yaml
published:
  NV-Embed-v2: nvidia/NV-Embed-v2
  LLM2Vec: {adapter_path: downloads/llm2vec-supervised, base_model: downloads/llm2vec-mntp}
```
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.errors import UserError, nearest
from common.file_hashes import file_hash
from common.files import read_json_or_empty, write_json
from common.hashes import digest
from model_loaders.backbone.base_files import hash_of_tensors
from study.config import StudyConfig, find_path

OPTIONS = ("adapter_path", "base_model", "design")
ABOUT_FILE = "published.json"  # in a cell's folder: the design and recipe with which the model was loaded


def find_published(config: StudyConfig, study_file: Path) -> dict[str, dict[str, str]]:
    """Return the options of ``model_loaders.load`` for each published model, by its name in the study.

    Raises:
        UserError: an entry is neither a name nor options.
    """
    systems: dict[str, dict[str, str]] = {}
    for name, entry in config.published.items():
        options = {"adapter_path": entry} if isinstance(entry, str) else entry
        if not isinstance(options, Mapping) or "adapter_path" not in options:
            raise UserError(f"published: {name}: give a hub name or folder, or a mapping with adapter_path, not {entry!r}")
        for key, value in options.items():
            if key not in OPTIONS or not isinstance(value, str):
                raise UserError(
                    f"published: {name}: {key}: {value!r}{nearest(str(key), OPTIONS)}; the keys are {', '.join(OPTIONS)}"
                )
        systems[name] = {}
        for key, value in options.items():
            systems[name][key] = value if key == "design" else find_path(value, study_file)
    return systems


def content_key(options: Mapping[str, str]) -> str:
    """Return a hash of what a published model is: the content of its folders, or its hub names."""
    facts: dict[str, Any] = {}
    for key, value in options.items():
        facts[key] = folder_key(Path(value)) if key != "design" and Path(value).is_dir() else value
    return digest(facts, 16)


def folder_key(folder: Path) -> dict[str, str]:
    """Return a hash of each file of a folder that is loaded: weights by their tensors, JSON files whole."""
    hashes = {}
    for path in sorted(folder.rglob("*.json")):
        hashes[str(path.relative_to(folder))] = str(file_hash(path))
    for path in sorted(folder.rglob("*.safetensors")):
        hashes[str(path.relative_to(folder))] = hash_of_tensors([path])
    beside = folder.with_name(f"{folder.name}attn_pool.pt")  # where the published trainers wrote a pooling
    for path in [*sorted(folder.rglob("*.pt")), *sorted(folder.rglob("*.bin")), *([beside] if beside.is_file() else [])]:
        hashes[path.name if path == beside else str(path.relative_to(folder))] = str(file_hash(path))
    return hashes


def note_model(folder: Path, design: str, recipe: dict[str, Any]) -> None:
    """Write down in a cell's folder the design and recipe with which a published model was loaded."""
    write_json({"design": design, "recipe": recipe}, folder / ABOUT_FILE)


def design_of(folder: Path) -> str | None:
    """Return the design with which a cell's published model was loaded; ``None`` for other cells, and before it was."""
    name = read_json_or_empty(folder / ABOUT_FILE).get("design")
    return None if name is None else str(name)
