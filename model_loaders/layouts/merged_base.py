"""A base LLM with a LoRA adapter merged into it in fp32: the base that a later stage of training begins on.

Tensors are read, changed and written one file at a time. `MERGED_FILE` beside them lists what was merged, by hash.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from common.build import build
from common.disk import as_os_error, unwritable
from common.errors import UserError
from common.file_hashes import file_hash
from common.files import first_line, read_json, write_json
from model_loaders.backbone.base_files import CONFIG, weight_files, weights_hash
from model_loaders.layouts.manifest import Manifest, MergedAdapter, read_manifest
from model_loaders.layouts.source import Lora, open_base, read_lora
from model_loaders.layouts.stacked_lora import Map, maps_of
from model_loaders.layouts.tensors import BASE_WEIGHTS, LORA_WEIGHTS

MERGED_FILE = "merged.json"
# Files of a base LLM beside its weights that are copied; of a checkpoint of ours that is its own base, these alone.
COPIED = ("*.json", "*.model", "*.txt", "*.tiktoken", "*.jinja", "LICENSE*")
COPIED_OF_OURS = (CONFIG, "tokenizer*", "special_tokens_map.json", "*.jinja")


@dataclass(frozen=True)
class MergedFile:
    """The content of ``merged.json``.

    Attributes:
        merged: adapters in the order in which they were merged.
    """

    merged: list[MergedAdapter]


def merged_into(base: str | Path) -> tuple[MergedAdapter, ...]:
    """Return the adapters that were merged into a base LLM in a local folder, in their order; none for any other."""
    path = Path(base).expanduser() / MERGED_FILE
    return tuple(build(MergedFile, read_json(path), str(path)).merged) if path.is_file() else ()


def merge_adapter(
    adapter: Path, target: Path, cache_dir: str | Path | None = None, check: Callable[[Path], None] | None = None
) -> bool:
    """Write the base LLM of an adapter with the adapter merged into it, whole and checked or not at all.

    Weights that LoRA changes become fp32; others are copied as they are, the language-model head among them. A checkpoint that
    is its own base is copied without what makes it an embedder. A folder that holds this very merge is left as it is.

    Args:
        adapter: a directory of our layout, whose design has no pooling weights.
        target: folder to write.
        cache_dir: of hub names.
        check: is called with the folder that was written, before it gets its name; what it raises leaves nothing behind.

    Returns:
        Whether it was written now.

    Raises:
        UserError: the adapter has a pooling, which would be lost; its base LLM was quantised; or LoRA acts on what the files do
            not hold by its name.
    """
    manifest = read_manifest(adapter)
    if manifest.pooling is not None:
        raise UserError(f"{adapter} has a trainable pooling, which a merged base would lose: continue it (start: continued)")
    if manifest.base_model.quantisation:
        raise UserError(
            f"{adapter} was trained on a base LLM in {manifest.base_model.quantisation}: LoRA belongs to those rounded "
            "weights, and merging would add it to others; continue it (start: continued)"
        )
    directory, _ = open_base(manifest.base_model.name_or_path, cache_dir, revision=manifest.base_model.revision)
    lora, merged = changes_of(adapter, manifest, directory)
    content = MergedFile([*merged_into(directory), merged])
    if (target / MERGED_FILE).is_file() and merged_into(target) == tuple(content.merged):
        return False
    maps = {} if lora is None else maps_of(lora, adapter)
    places = places_of(maps, names_in(weight_files(directory)), directory)
    stage = target.with_name(f".{target.name}.partial")
    shutil.rmtree(stage, ignore_errors=True)
    try:
        stage.mkdir(parents=True)
        write_merged(directory, places, COPIED if lora is not None else COPIED_OF_OURS, stage)
        write_json({"merged": [vars(entry) for entry in content.merged]}, stage / MERGED_FILE)
        if check is not None:
            check(stage)
        shutil.rmtree(target, ignore_errors=True)
        stage.rename(target)
    except (OSError, SafetensorError) as error:
        reason = unwritable(error if isinstance(error, OSError) else as_os_error(error), [target.parent])
        raise UserError(
            f"the base LLM with {adapter} merged into it could not be made in {target}: {reason or first_line(error)}. Once "
            "the cause is gone (a full disk: make room), the same command with --resume_from_checkpoint true goes on from here"
        ) from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    return True


def write_merged(directory: Path, places: Mapping[str, Map], copied: Sequence[str], stage: Path) -> None:
    """Write a base LLM's files with LoRA merged into its tensors.

    Args:
        directory: of the base LLM.
        places: each LoRA by the name of the tensor that it changes.
        copied: patterns of the files beside the weights that are copied.
        stage: folder to write into.

    Raises:
        UserError: weights that are no safetensors, or no config.
    """
    files = weight_files(directory)
    for pattern in copied:
        for file in directory.glob(pattern):
            if file not in files or file.suffix == ".json":
                shutil.copyfile(file, stage / file.name)
    for file in files:
        if file.suffix == ".safetensors":
            save_file(merged_tensors(file, places), str(stage / file.name), metadata={"format": "pt"})
        elif not file.name.endswith(".json"):
            raise UserError(f"{file} is no safetensors: merging reads and writes safetensors alone")
    if not (stage / CONFIG).is_file():
        raise UserError(f"{directory} has no {CONFIG}")


def changes_of(adapter: Path, manifest: Manifest, base: Path) -> tuple[Lora | None, MergedAdapter]:
    """Return the LoRA of an adapter, ``None`` where it holds the base LLM's own weights, and the entry for ``merged.json``.

    Raises:
        UserError: training changed a pooling alone.
    """
    if manifest.begun_on is not None:
        return None, MergedAdapter(adapter.name, file_hash(adapter / BASE_WEIGHTS), manifest.begun_on.weights)
    if not manifest.lora:
        raise UserError(f"{adapter} changes nothing of its base LLM: there is nothing to merge")
    return read_lora(adapter), MergedAdapter(adapter.name, file_hash(adapter / LORA_WEIGHTS), weights_hash(base))


def names_in(files: Sequence[Path]) -> list[str]:
    """Return the names of all tensors in safetensors files."""
    names: list[str] = []
    for file in files:
        if file.suffix == ".safetensors":
            with safe_open(str(file), framework="pt") as opened:
                names += opened.keys()
    return names


def places_of(maps: Mapping[str, Map], names: Sequence[str], directory: Path) -> dict[str, Map]:
    """Return each LoRA by the name of the tensor that it changes.

    Raises:
        UserError: a module has no tensor, or several, by its name.
    """
    places = {}
    for module, its_map in maps.items():
        ending = re.compile(rf"(^|\.){re.escape(module)}\.weight$")
        matching = [name for name in names if ending.search(name)]
        if len(matching) != 1:
            raise UserError(
                f"the files in {directory} hold {len(matching)} tensors for {module}, which LoRA changes: this base LLM cannot "
                "be merged file by file; continue the adapter instead (start: continued)"
            )
        places[matching[0]] = its_map
    return places


def merged_tensors(file: Path, places: Mapping[str, Map]) -> dict[str, Tensor]:
    """Return the tensors of a file, those that LoRA changes in fp32."""
    tensors: dict[str, Any] = {}
    with safe_open(str(file), framework="pt") as opened:
        for name in opened.keys():  # noqa: SIM118  # no mapping
            tensor = opened.get_tensor(name)
            if name in places:
                update = places[name].up @ places[name].down
                if update.shape != tensor.shape:
                    raise UserError(f"{file}: {name} has the shape {tuple(tensor.shape)}, LoRA {tuple(update.shape)}")
                tensor = tensor.to(torch.float32) + update
            tensors[name] = tensor
    return tensors
