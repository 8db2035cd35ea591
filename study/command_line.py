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
from study.systems import flags_of_rows


def flag_words(flags: Mapping[str, Any]) -> list[str]:
    """Return flags as words of a command line: a list's members one by one, a mapping as JSON.

    A flag with no value, or an empty list, is left out: so a setting takes back what the common flags say.

    >>> flag_words({"seeds": [1, 2], "lora_config": {"r": 4}, "eval_tasks": []})
    ['--seeds', '1', '2', '--lora_config', '{"r": 4}']
    """
    words = []
    for name, value in flags.items():
        if value is None or value == []:
            continue
        words.append(f"--{name}")
        if isinstance(value, list):
            words += map(str, value)
        elif isinstance(value, dict):
            words.append(json.dumps(value))
        else:
            words.append(str(value))
    return words


def training_words(study: Study, cell: Cell) -> list[str]:
    """Return the trainer's flags for a cell, without ``--design``; those of a system with a file stand in it."""
    words: list[str] = []
    flags: Mapping[str, Any]
    if cell.system_file:
        words, flags = ["--config", cell.system_file], flags_of_rows(study.config)
        data = "dataset_config" if "dataset_config" in study.config.training else "dataset_name"
    else:
        system = study.inputs.systems.get(cell.trained_system)
        flags = flags_of(study.config, cell.recipe, cell.design) if system is None else system.flags
        data = "dataset_config" if "dataset_config" in flags else "dataset_name"
    of_the_cell = {
        "model_name_or_path": study.inputs.bases[cell.base],
        data: study.inputs.train[cell.recipe],
        "output_dir": str(cell.adapter),
        "seed": cell.seed,
        "resume_from_checkpoint": True,
    }
    return [*words, *flag_words({**flags, **of_the_cell})]


def script_words(study: Study, cell: Cell) -> list[str]:
    """Return the arguments of ``trainers/train.py`` for a cell."""
    design = [] if cell.script_design is None else ["--design", cell.script_design]
    return [*design, *training_words(study, cell)]


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
    words = [*launcher, "trainers/train.py", *script_words(study, cell)]
    files = [system.file for system in study.inputs.systems.values()]
    places = [*study.inputs.bases.values(), *study.inputs.train.values(), *files, accelerate]
    paths = {place for place in places if place and Path(place).exists()}  # the others are names on the hub
    return shown(words, paths | {str(cell.adapter)})
