"""Sources of training data: files, folders and data sets of the hub, as rows before any check."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import datasets
import huggingface_hub

from common.errors import UserError, nearest
from common.files import first_line, neighbour
from common.lines import open_regular
from model_loaders.bundle.check import check_bundled
from model_loaders.bundle.prepared_data import prepared_folder
from model_loaders.hub import looks_local
from triplets.arguments import DataArguments
from triplets.data_sets import DataSet
from triplets.folders import data_files
from triplets.formats import PlacedRow, is_data_file, rows

logger = logging.getLogger(__name__)

HUB_TIMEOUT = 10  # seconds
DEFAULT_SPLITS = (DataArguments.dataset_split, DataArguments.eval_dataset_split)
CONFIG_FLAGS = (
    "--dataset_config_name; for --eval_dataset it is --eval_dataset_config_name, in a --dataset_config file the key config_name"
)
_LISTED_CONFIGS = re.compile(r"(?:configurations in the cache|[Aa]vailable(?: configs)?(?: in the cache)?): *\[?([^\]\n]+)")


@dataclass(frozen=True)
class DataSource:
    """Rows of a data set before any check.

    Attributes:
        name: for messages.
        fingerprint: hash of the content and its name.
        content: hash of the content alone.
        parts: the files, or the data set of the hub: each yields its rows with their places.
    """

    name: str
    fingerprint: str
    content: str
    parts: Sequence[Callable[[], Iterator[PlacedRow]]]


def locate(data_set: DataSet, cache_dir: str | Path | None) -> DataSource:
    """Find the data: an existing local path wins, then the hub."""
    name, file, split = data_set.name, data_set.file, data_set.split
    if data_set.config_name is not None:
        _check_config_is_possible(data_set)
    if name is None:
        if file is None:
            raise UserError("no data is named: give --dataset_name (hub name, local file or folder)")
        return _local(_existing(file), split)
    path = Path(name).expanduser()
    if path.is_dir() and file is not None:
        return _local(_existing(str(path / file)), split)
    if path.exists():
        if file is not None:
            raise UserError(f"--dataset_name {name} and --dataset_file_path {file} are both files: give one of them")
        return _local(path, split)
    if looks_local(name) or is_data_file(name):
        return _local(_existing(name), split)
    return _hub(name, data_set, cache_dir)


def _check_config_is_possible(data_set: DataSet) -> None:
    """Raise `UserError` for a configuration of what is no whole data set of the hub."""
    name = data_set.name or data_set.file or ""
    if data_set.file is not None or Path(name).expanduser().exists() or looks_local(name) or is_data_file(name):
        raise UserError(
            f"{data_set.file or name} is a file or folder, which has no configuration {data_set.config_name!r}: leave it out "
            f"({CONFIG_FLAGS})"
        )


def _existing(name: str) -> Path:
    path = Path(name).expanduser()
    if not path.exists():
        raise UserError(f"there is no data file or folder {name}{neighbour(path)}")
    return path


def _local(path: Path, split: str) -> DataSource:
    if path.is_file() and split not in DEFAULT_SPLITS:
        raise UserError(f"{path} is one file, in which there is no split {split!r}: leave the split out")
    files = data_files(path, split)
    check_bundled(path)
    with_names, content = hashlib.blake2b(digest_size=16), hashlib.blake2b(digest_size=16)
    for file in files:
        try:
            with open_regular(file) as stream:
                digest = hashlib.file_digest(stream, "blake2b").digest()
        except OSError as error:
            raise UserError(f"{file}: cannot be read: {error.strerror or error}") from error
        with_names.update(str(file).encode() + digest)  # the report that is kept with the prepared data names files
        content.update(digest)
    if path.is_dir():
        logger.info("%s: %d data files: %s", path, len(files), ", ".join(file.name for file in files))

    return DataSource(str(path), with_names.hexdigest(), content.hexdigest(), [partial(rows, file) for file in files])


def _hub(name: str, data_set: DataSet, cache_dir: str | Path | None) -> DataSource:
    """Load a data set of the hub through ``datasets``, after one quick question whether the hub knows it."""
    file, split, config = data_set.file, data_set.split, data_set.config_name
    check_bundled(prepared_folder(name, cache_dir))
    try:
        if not datasets.config.HF_HUB_OFFLINE:
            # load_dataset alone tries six times, half a minute, before it reports that there is no network.
            huggingface_hub.HfApi().dataset_info(name, timeout=HUB_TIMEOUT)
        cache = str(cache_dir) if cache_dir else None
        loaded = datasets.load_dataset(name, config, data_files=file, split=split, cache_dir=cache)
    except Exception as error:
        # The hub client and datasets raise many kinds (HTTP status, connection, split, format, not in the cache).
        raise UserError(_hub_problem(name, data_set, error)) from error
    prefix = f"{name}[{split}]"
    if config is not None:
        prefix = f"{name}, {config}[{split}]"

    def numbered_rows() -> Iterator[PlacedRow]:
        for number, row in enumerate(loaded, start=1):
            yield f"{prefix}:row {number}", row

    fingerprint = f"{prefix} {file} {loaded._fingerprint}"
    return DataSource(prefix, fingerprint, fingerprint, [numbered_rows])


def _hub_problem(name: str, data_set: DataSet, error: Exception) -> str:
    """Return the message for a data set that cannot be had from the hub."""
    configs = _configs_in(str(error))
    if configs and data_set.config_name is None:
        return f"{name!r} has the configurations {', '.join(configs)}: choose one with {CONFIG_FLAGS}"
    if configs:
        return (
            f"{name!r} has no configuration {data_set.config_name!r}{nearest(data_set.config_name or '', configs)}; it has "
            f"{', '.join(configs)}: choose one with {CONFIG_FLAGS}"
        )
    part = f"split {data_set.split!r}"
    if data_set.file:
        part += f", file {data_set.file}"
    if data_set.config_name:
        part += f", configuration {data_set.config_name!r}"
    hint = neighbour(Path(name)) if Path(name).parent.is_dir() else ""
    return (
        f"{name!r} is no file or folder here, and could not be had from the hub as a data set ({part}): "
        f"{first_line(error)}. Check the name and the network; if it was downloaded before, HF_HUB_OFFLINE=1 takes the "
        f"copy in the cache; or give a local file or folder as --dataset_name{hint}."
    )


def _configs_in(message: str) -> list[str]:
    """Return the configurations that an error of ``datasets`` lists."""
    match = _LISTED_CONFIGS.search(message)
    if match is None:
        return []
    names = [name.strip().strip("'\"") for name in match[1].split(",")]
    return sorted(name for name in names if name)
