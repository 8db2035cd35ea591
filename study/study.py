"""A study as it is run: its file, its keys, its inputs and its cells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from study.cells import Cell, make_cells
from study.config import StudyConfig, read_study_config
from study.inputs import Inputs, prepare
from triplets.arguments import DataArguments
from triplets.dataset import TripletRows
from triplets.read import read_triplets

# Flags of the trainers that say which triplets are trained on.
TRAINING_FLAGS = {field.name for field in fields(DataArguments)} - {
    "eval_dataset",
    "eval_dataset_config_name",
    "eval_dataset_split",
    "max_eval_samples",
}


@dataclass(frozen=True)
class Study:
    """Everything that decides what is trained, scored and compared.

    Attributes:
        file: the study file.
        config: its keys.
        inputs: base models, data and tasks, with hashes.
        cells: in the order of the study.
        overrides: keys that were given on the command line, which go before those of the file.
    """

    file: Path
    config: StudyConfig
    inputs: Inputs
    cells: list[Cell]
    overrides: Mapping[str, Any] = field(default_factory=dict)

    @property
    def output_dir(self) -> Path:
        """The folder that gets everything."""
        return Path(self.config.output_dir)

    @property
    def title(self) -> str:
        """The title of the report: by default the file's name."""
        return self.config.title or self.file.stem.replace("_", " ")


def read_study(file: Path, overrides: Mapping[str, Any] | None = None, *, look_up: bool = False) -> Study:
    """Read a study file, find and hash what it names, and list its cells.

    Args:
        file: the study file.
        overrides: keys that go before those in the file.
        look_up: ask the hub for base models that are not in its cache.

    Raises:
        UserError: the file has a mistake, or something that it names is missing.
    """
    overrides = overrides or {}
    config = read_study_config(file, overrides)
    inputs = prepare(config, file, look_up=look_up)
    return Study(file, config, inputs, make_cells(config, inputs), overrides)


def training_rows(study: Study, recipe: str) -> TripletRows:
    """Return the triplets that the designs are trained on with a name under ``recipes``, read as training reads them.

    Raises:
        UserError: they cannot be read, as training would say.
    """
    flags = study.config.flags(recipe)
    arguments = {name: value for name, value in flags.items() if name in TRAINING_FLAGS}
    arguments["dataset_config" if "dataset_config" in arguments else "dataset_name"] = study.inputs.train[recipe]
    return read_triplets(DataArguments(**arguments), cache_dir=flags.get("cache_dir"))
