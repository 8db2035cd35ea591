"""Which data sets a run trains on, and how each is treated: the file behind ``--dataset_config``, or the flags of a single one.

The file is a YAML list; each entry is one data set. What an entry does not say is what the flags of the run say.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from common.errors import UserError, nearest
from common.files import neighbour
from common.yaml_files import Entry, read_list
from model_loaders.hub import looks_local
from triplets.formats import SUFFIXES, is_data_file


@dataclass(frozen=True)
class DataSet:
    """One data set of a run.

    Attributes:
        name: hub name, file or folder; None where ``file`` alone says it.
        file: a file in it.
        split: of a hub data set, or of a folder with files named after splits.
        label: what logs and tables call it.
        repeat: how often an epoch sees every row; 0.5 is half of the rows in one epoch and the others in the next.
        weight: its part of an epoch's rows, beside the other data sets' weights; instead of ``repeat``.
        query_prompt: of its queries; None for the run's.
        document_prompt: of its positives and negatives; None for the run's.
        in_batch_negatives: whether other rows' documents are negatives of its queries.
        max_negatives: negatives of a row that are used; None for all.
        max_train_samples: its first N triplets; None for all.
    """

    name: str | None
    file: str | None = None
    split: str = "train"
    label: str = ""
    repeat: float | None = None
    weight: float | None = None
    query_prompt: str | None = None
    document_prompt: str | None = None
    in_batch_negatives: bool = True
    max_negatives: int | None = None
    max_train_samples: int | None = None


KEYS = tuple(field.name for field in fields(DataSet))
FROM_THE_FLAGS = ("split", "in_batch_negatives", "max_negatives", "max_train_samples")  # where an entry does not say them
_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    **dict.fromkeys(("name", "file", "split", "label", "query_prompt", "document_prompt"), ((str,), "a text")),
    **dict.fromkeys(("repeat", "weight"), ((int, float), "a number above 0")),
    "in_batch_negatives": ((bool,), "true or false"),
    "max_negatives": ((int,), "a whole number, 0 or more"),
    "max_train_samples": ((int,), "a whole number above 0"),
}


def resolve(given: str | Sequence[Any], defaults: DataSet) -> list[dict[str, Any]]:
    """Read and check the data sets.

    Args:
        given: the path of the YAML file, whose folder relative paths are taken from; or the list itself, as a recipe of the
            run holds it, with paths from the working directory.
        defaults: what holds for an entry that does not say it.

    Returns:
        The entries with every key, ready for JSON; given again, they are returned as they are.

    Raises:
        UserError: naming ``file:line``.
    """
    if isinstance(given, str):
        folder = Path(given).expanduser().resolve().parent
        entries = [_read(where, entry, folder, defaults) for where, entry in read_list(given, "--dataset_config")]
    else:
        entries = [_read(f"dataset_config, entry {number}", _inline(number, one), Path(), defaults)
                   for number, one in enumerate(given, start=1)]  # fmt: skip
    if not entries:
        raise UserError("--dataset_config is an empty list: it takes the path of a YAML file, see configs/data/example.yaml")
    where = given if isinstance(given, str) else "dataset_config"
    if any(one.weight is not None for one in entries):
        for one in entries:
            if one.weight is None:
                raise UserError(f"{where}: {one.label} has no weight, but others have: give all a weight, or all a repeat")
    else:
        entries = [DataSet(**{**asdict(one), "repeat": 1.0 if one.repeat is None else one.repeat}) for one in entries]
    return [asdict(one) for one in _labelled(entries, where)]


def _inline(number: int, entry: Any) -> dict[str, Entry]:
    where = f"dataset_config, entry {number}"
    if not isinstance(entry, Mapping):
        raise UserError(f"{where}: expected keys and values, got {entry!r}")
    return {str(key): Entry(value, where) for key, value in entry.items()}


def _read(where: str, entry: Mapping[str, Entry], folder: Path, defaults: DataSet) -> DataSet:
    """Check one entry and fill in what it does not say."""
    values: dict[str, Any] = {name: getattr(defaults, name) for name in FROM_THE_FLAGS}
    for key, one in entry.items():
        if key not in _KINDS:
            raise UserError(f"{one.where}: there is no key {key!r}{nearest(key, KEYS)}; the keys are {', '.join(KEYS)}")
        if one.value is None:
            continue
        kinds, expected = _KINDS[key]
        fits = isinstance(one.value, kinds) and (bool in kinds or not isinstance(one.value, bool))
        if fits and not isinstance(one.value, str | bool):
            fits = math.isfinite(one.value) and (one.value > 0 or (key == "max_negatives" and one.value == 0))
        if not fits:
            raise UserError(f"{one.where}: {key}: expected {expected}, got {one.value!r}")
        values[key] = one.value
    if "name" not in values:
        raise UserError(f"{where}: there is no `name` (hub name, local file or folder) in this entry")
    for key in ("repeat", "weight"):
        values[key] = None if values.get(key) is None else float(values[key])
    if values["repeat"] is not None and values["weight"] is not None:
        raise UserError(f"{entry['weight'].where}: repeat and weight exclude each other: give one of them")
    if not values["in_batch_negatives"] and values["max_negatives"] == 0:
        raise UserError(f"{where}: no negatives and no in-batch negatives: nothing is left to tell a positive from")
    if not values.get("label"):
        values["label"] = label_of(values["name"], values.get("file"))
    values["name"] = _located(values["name"], values.get("file"), folder, entry)
    return DataSet(**values)


def _located(name: str, file: str | None, folder: Path, entry: Mapping[str, Entry]) -> str:
    """Return the path that a name stands for, or the name itself if it can only be meant as a hub name."""
    path = folder / Path(name).expanduser()
    if path.is_dir() and file is not None and not (path / file).exists():
        raise UserError(f"{entry['file'].where}: there is no {file} in {path}{neighbour(path / file)}")
    if path.exists():
        return str(path)
    if looks_local(name) or is_data_file(name):
        raise UserError(f"{entry['name'].where}: there is no data file or folder {path}{neighbour(path)}")
    return name


def label_of(name: str | None, file: str | None) -> str:
    """Return a short name: of a path its last part without the format, of the hub its own."""
    if file is None and name is not None and not is_data_file(name) and not Path(name).expanduser().exists():
        return name
    last = Path(file or name or "").name
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        if last.lower().endswith(suffix):
            return last[: -len(suffix)]
    return last


def _labelled(entries: Sequence[DataSet], where: str) -> list[DataSet]:
    """Return the data sets with labels of which none is there twice."""
    counts = Counter(one.label for one in entries)
    seen: Counter[str] = Counter()
    result = []
    for one in entries:
        seen[one.label] += 1
        label = one.label if counts[one.label] == 1 else f"{one.label}-{seen[one.label]}"
        result.append(DataSet(**{**asdict(one), "label": label}))
    twice = [label for label, count in Counter(one.label for one in result).items() if count > 1]
    if twice:
        raise UserError(f"{where}: two data sets have the label {twice[0]!r}: give one of them another `label`")
    return result
