"""Command lines as words: of a cell's process, of a training run, and of the study as somebody else would type it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from comparison.places import PROJECT, from_project
from study.cells import Cell
from study.config import flags_of
from study.study import Study


def flag_words(flags: Mapping[str, Any]) -> list[str]:
    """Return flags as words of a command line: a list's members one by one, a mapping as JSON.

    >>> flag_words({"seeds": [1, 2], "lora_config": {"r": 4}})
    ['--seeds', '1', '2', '--lora_config', '{"r": 4}']
    """
    words = []
    for name, value in flags.items():
        words.append(f"--{name}")
        if isinstance(value, list):
            words += map(str, value)
        elif isinstance(value, dict):
            words.append(json.dumps(value))
        else:
            words.append(str(value))
    return words


def training_words(study: Study, cell: Cell) -> list[str]:
    """Return the trainer's flags for a cell."""
    flags = flags_of(study.config, cell.recipe, cell.design)
    data = "dataset_config" if "dataset_config" in flags else "dataset_name"
    return flag_words(
        {
            **flags,
            "model_name_or_path": study.inputs.bases[cell.base],
            data: study.inputs.train[cell.recipe],
            "output_dir": str(cell.adapter),
            "seed": cell.seed,
            "resume_from_checkpoint": True,
        }
    )


def shown(words: Sequence[str], paths: Collection[str]) -> str:
    """Return a command line as it is given in the project's folder: words that are ``paths`` count from there."""
    words = list(words)
    for place, word in enumerate(words):
        if word in paths:
            words[place] = from_project(word)
    return shlex.join(words)


def study_line(study: Study) -> str:
    """Return the command line that makes the same study."""
    overrides = dict(study.overrides)
    if Path.cwd() != PROJECT:  # a relative output_dir counts from the working directory
        overrides = {"output_dir": study.config.output_dir, **overrides}
    paths = {str(study.file), study.config.output_dir}
    for name in ("train_file", "eval_dir"):
        path = overrides.get(name)
        if path is not None and Path(path).exists():
            paths.add(path)
    return shown(["python", "run_study.py", str(study.file), *flag_words(overrides)], paths)


def training_line(study: Study, cell: Cell) -> str:
    """Return the command line that trains a cell by hand."""
    accelerate = study.inputs.accelerate
    launcher = ["accelerate", "launch", "--config_file", accelerate] if accelerate else ["python"]
    words = [*launcher, "trainers/train.py", "--design", cell.design, *training_words(study, cell)]
    places = [*study.inputs.bases.values(), *study.inputs.train.values(), accelerate]
    paths = {place for place in places if place and Path(place).exists()}  # the others are names on the hub
    return shown(words, paths | {str(cell.adapter)})
