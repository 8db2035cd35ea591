"""The files of a base LLM that are loaded, and a hash of their weights; what else lies in its folder acts on nothing."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from common.errors import UserError
from common.files import first_line, listing, read_json
from common.json_text import parse_json
from common.lines import open_regular

CONFIG = "config.json"
INDEX_ENDING = ".index.json"
# In the order in which transformers looks for them; the first one that is there is loaded.
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")


def weight_files(directory: Path) -> list[Path]:
    """Return the files of weights that transformers loads, an index included; an empty list where there are none.

    Raises:
        UserError: an index names a file that is not there, or one outside of the folder.
    """
    entry = weights_entry(directory)
    if entry is None:
        return []
    if not entry.name.endswith(INDEX_ENDING):
        return [entry]
    shards = read_json(entry).get("weight_map")
    if not isinstance(shards, dict):
        raise UserError(f"{entry} has no weight_map, which says in which file each tensor is; take a fresh copy")
    names = sorted({str(name) for name in shards.values()})
    for name in names:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            raise UserError(f"{entry} names {name}, which is not inside {directory}")
        if not (directory / name).is_file():
            raise UserError(f"{entry} names {name}, which is not in {directory}: this copy is incomplete; fetch that file")
    return [entry, *(directory / name for name in names)]


def weights_entry(directory: Path) -> Path | None:
    """Return the file or index of weights that transformers opens; ``None`` where there is none."""
    config = directory / CONFIG
    stated = read_json(config).get("transformers_weights") if config.is_file() else None
    for name in [stated] if isinstance(stated, str) else WEIGHTS:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            raise UserError(f"{config} names the weights {name}, which are not inside {directory}")
        if (directory / name).is_file():
            return directory / name
    if isinstance(stated, str):
        raise UserError(f"{config} names the weights {stated}, which are not in {directory}; it holds: {listing(directory)}")
    return None


@contextmanager
def loaded_files(directory: Path) -> Iterator[Path]:
    """Yield a folder of links to the config and the weights alone.

    transformers would act on other files of ``directory`` too: it loads an adapter that lies there, or the base LLM that
    this adapter names, instead of the weights.

    Raises:
        UserError: there are no weights.
    """
    files = weight_files(directory)
    if not files:
        raise UserError(
            f"the base model in {directory} has no weights (none of {', '.join(WEIGHTS)}); it holds: {listing(directory)}"
        )
    with tempfile.TemporaryDirectory(prefix="base-model-") as place:
        for file in (directory / CONFIG, *files):
            link = Path(place) / file.relative_to(directory)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(file.resolve())
        yield Path(place)


def weights_hash(directory: Path) -> str:
    """Return a hash of a base model's weights that does not depend on how they are sharded.

    Of every tensor it covers name, dtype, shape and four pages of its bytes: enough to tell two models apart in
    milliseconds, where a hash of all bytes would read 14 GB for a 7 B model. Empty when the weights are no safetensors.

    Raises:
        UserError: a file is cut, broken or missing.
    """
    return hash_of_tensors([file for file in weight_files(directory) if file.suffix == ".safetensors"])


def hash_of_all(directory: Path) -> str:
    """Return the hash over every safetensors file of a folder, which adapters of earlier versions hold."""
    return hash_of_tensors(sorted(directory.glob("*.safetensors")))


def hash_of_tensors(files: Sequence[Path]) -> str:
    """Return the hash of the tensors in some safetensors files; empty where there are no tensors."""
    entries: list[tuple[str, str]] = []
    for file in files:
        entries += tensor_hashes(file)
    return hashlib.sha256(json.dumps(sorted(entries)).encode()).hexdigest() if entries else ""


def tensor_shapes(directory: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor in the safetensors files that are loaded of a folder; empty for files of another kind.

    Raises:
        UserError: a file is cut, broken or missing.
    """
    shapes = {}
    for file in weight_files(directory):
        if file.suffix == ".safetensors":
            for name, tensor in tensor_table(file)[1].items():
                shapes[name] = tuple(tensor["shape"])
    return shapes


def tensor_table(file: Path) -> tuple[int, dict[str, dict[str, Any]]]:
    """Return where the values in a safetensors file begin, and dtype, shape and place (``data_offsets``) of each tensor.

    Raises:
        UserError: it is missing, or no whole safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with open_regular(file) as stream, safe_open(file, framework="pt"):  # checks the header against the file's size
            size = int.from_bytes(stream.read(8), "little")
            header = parse_json(stream.read(size))
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{file} is no readable safetensors file ({first_line(error)}); take a fresh copy") from error
    header.pop("__metadata__", None)
    return 8 + size, header


def tensor_hashes(file: Path) -> list[tuple[str, str]]:
    """Return name and hash of each tensor in a safetensors file."""
    begin, table = tensor_table(file)
    entries = []
    with file.open("rb") as stream:
        for name, tensor in table.items():
            start, end = tensor["data_offsets"]
            digest = hashlib.sha256(json.dumps([name, tensor["dtype"], tensor["shape"]]).encode())
            for quarter in range(4):
                stream.seek(begin + start + (end - start) * quarter // 4)
                digest.update(stream.read(min(4096, end - start)))
            entries.append((name, digest.hexdigest()))
    return entries
