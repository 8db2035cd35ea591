"""The data sets of a run and how each is treated: the file behind ``--dataset_config``, or the flags for a single one.

The file is a YAML list of data sets. The flags of the run fill in the keys that an entry leaves out.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
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
        name: hub name, file or folder; None where ``file`` alone names it.
        file: a file in it.
        config_name: the configuration of a hub data set that has several.
        split: of a hub data set, or of a folder with files named after splits.
        label: its name in logs and tables.
        repeat: number of times that an epoch sees every row; 0.5 is half of the rows in one epoch and the others in the next.
        weight: its part of an epoch's rows, beside the other data sets' weights; instead of ``repeat``.
        query_prompt: of its queries; None for the run's.
        document_prompt: of its positives and negatives; None for the run's.
        in_batch_negatives: whether other rows' documents are negatives of its queries.
        max_negatives: number of a row's negatives that are used; None for all.
        max_train_samples: number of its first triplets that are used; None for all.
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
    config_name: str | None = None


KEYS = tuple(field.name for field in fields(DataSet))
FROM_THE_FLAGS = ("split", "in_batch_negatives", "max_negatives", "max_train_samples")  # unless an entry has them
_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    **dict.fromkeys(("name", "file", "config_name", "split", "label", "query_prompt", "document_prompt"), ((str,), "a text")),
    **dict.fromkeys(("repeat", "weight"), ((int, float), "a number above 0")),
    "in_batch_negatives": ((bool,), "true or false"),
    "max_negatives": ((int,), "a whole number, 0 or more"),
    "max_train_samples": ((int,), "a whole number above 0"),
}


def resolve(config: str | Sequence[Any], defaults: DataSet) -> list[dict[str, Any]]:
    """Read and check the data sets.

    Args:
        config: the path of the YAML file, whose folder relative paths start from; or the list itself, as the record of a
            run holds it, with paths from the working directory.
        defaults: values for keys that an entry leaves out.

    Returns:
        The entries with every key (``config_name`` where there is one), ready for JSON; resolving them again returns the same.

    Raises:
        UserError: naming ``file:line``.
    """
    data_sets = []
    if isinstance(config, str):
        where = config
        folder = Path(config).expanduser().resolve().parent
        for place, entry in read_list(config, "--dataset_config"):
            data_sets.append(_data_set(place, entry, folder, defaults))
    else:
        where = "dataset_config"
        for number, content in enumerate(config, start=1):
            place = f"dataset_config, entry {number}"
            data_sets.append(_data_set(place, _entries(place, content), Path(), defaults))
    if not data_sets:
        raise UserError("--dataset_config is an empty list: it takes the path of a YAML file, see configs/data/example.yaml")
    entries = []
    for data_set in _with_labels(_with_repeats(data_sets, where), where):
        entry = asdict(data_set)
        if data_set.config_name is None:  # as in the records of runs that knew no such key
            del entry["config_name"]
        entries.append(entry)
    return entries


def _entries(place: str, content: object) -> dict[str, Entry]:
    if not isinstance(content, Mapping):
        raise UserError(f"{place}: expected keys and values, got {content!r}")
    return {str(key): Entry(value, place) for key, value in content.items()}


def _data_set(place: str, entries: Mapping[str, Entry], folder: Path, defaults: DataSet) -> DataSet:
    """Check the keys of one data set and fill in those that are left out."""
    values: dict[str, Any] = {name: getattr(defaults, name) for name in FROM_THE_FLAGS}
    for key, entry in entries.items():
        if key not in _KINDS:
            raise UserError(f"{entry.where}: there is no key {key!r}{nearest(key, KEYS)}; the keys are {', '.join(KEYS)}")
        if entry.value is not None:
            values[key] = _checked(key, entry)
    if "name" not in values:
        raise UserError(f"{place}: there is no `name` (hub name, local file or folder) in this entry")
    if "repeat" in values and "weight" in values:
        raise UserError(f"{entries['weight'].where}: repeat and weight exclude each other: give one of them")
    if not values["in_batch_negatives"] and values["max_negatives"] == 0:
        raise UserError(f"{place}: no negatives and no in-batch negatives: nothing is left to tell a positive from")
    if not values.get("label"):
        values["label"] = label_of(values["name"], values.get("file"))
    values["name"] = _located(values["name"], values.get("file"), folder, entries)
    return DataSet(**values)


def _checked(key: str, entry: Entry) -> str | float | bool:
    """Return the value of a key, if it is of the right type and in its range."""
    value = entry.value
    kinds, expected = _KINDS[key]
    fits = isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))
    if fits and not isinstance(value, str | bool):
        fits = math.isfinite(value) and (value > 0 or (key == "max_negatives" and value == 0))
    if not fits:
        raise UserError(f"{entry.where}: {key}: expected {expected}, got {value!r}")
    checked: str | float | bool = float(value) if key in ("repeat", "weight") else value
    return checked


def _located(name: str, file: str | None, folder: Path, entries: Mapping[str, Entry]) -> str:
    """Return the path that a name stands for, or the name itself if it can only be a hub name."""
    path = folder / Path(name).expanduser()
    if path.is_dir() and file is not None and not (path / file).exists():
        raise UserError(f"{entries['file'].where}: there is no {file} in {path}{neighbour(path / file)}")
    if path.exists():
        return str(path)
    if looks_local(name) or is_data_file(name):
        raise UserError(f"{entries['name'].where}: there is no data file or folder {path}{neighbour(path)}")
    return name


def label_of(name: str | None, file: str | None) -> str:
    """Return a short name: the last part of a path without its format, or the hub name."""
    if file is None and name is not None and not is_data_file(name) and not Path(name).expanduser().exists():
        return name
    last = Path(file or name or "").name
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        if last.lower().endswith(suffix):
            return last[: -len(suffix)]
    return last


def _with_repeats(data_sets: Sequence[DataSet], where: str) -> list[DataSet]:
    """Return the data sets, all with a weight or all with a repeat."""
    weighted = any(data_set.weight is not None for data_set in data_sets)
    result = []
    for data_set in data_sets:
        if weighted and data_set.weight is None:
            raise UserError(f"{where}: {data_set.label} has no weight, but others have: give all a weight, or all a repeat")
        if not weighted and data_set.repeat is None:
            result.append(replace(data_set, repeat=1.0))
        else:
            result.append(data_set)
    return result


def _with_labels(data_sets: Sequence[DataSet], where: str) -> list[DataSet]:
    """Return the data sets with different labels: equal ones are numbered."""
    counts = Counter(data_set.label for data_set in data_sets)
    numbers: Counter[str] = Counter()
    labels: set[str] = set()
    result = []
    for data_set in data_sets:
        label = data_set.label
        if counts[label] > 1:
            numbers[label] += 1
            label = f"{label}-{numbers[label]}"
        if label in labels:
            raise UserError(f"{where}: two data sets have the label {label!r}: give one of them another `label`")
        labels.add(label)
        result.append(replace(data_set, label=label))
    return result
