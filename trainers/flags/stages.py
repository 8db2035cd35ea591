"""The stages of a training: a list of flags in, the flags of each run out."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import UserError, nearest
from common.yaml_files import read_yaml
from trainers.flags.arguments import ADAPTER_FLAGS
from trainers.flags.flag import Flag, FlagValue
from trainers.flags.home import with_home
from trainers.flags.read_flags import DATA_FLAGS, converted, known_flag

STARTS = ("continued", "merged")
STAGES_FOLDER = "stages"  # of the earlier stages, in the output directory of the last one
MERGED_BASE = "base"  # in the place of a stage's name: the folder of the base LLM that it begins on
NOT_RESUMED = ("false", "none", "no")  # values of --resume_from_checkpoint
NAME = re.compile(r"[\w.-]+")
# Flags that the list of stages sets itself.
OF_THE_STAGES = ("output_dir", "resume_from_checkpoint", "peft_model_name_or_path", "stages", "dry_run")


@dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes:
        values: converted values of its flags, those of every stage included.
        own: the flags that stand in its entry alone.
        design: its design; empty for that of every stage.
        merges: adapter that is merged before it begins, and the folder for the merged base LLM; None where nothing is.
        where: its place in messages.
        start: as its entry says, in a dry run too; empty for the first.
    """

    values: dict[str, Any]
    own: dict[str, FlagValue]
    design: str
    merges: tuple[str, str] | None
    where: str
    start: str


def read_stages(stages: str | Sequence[Any], common: Mapping[str, Any], flags: Mapping[str, Flag]) -> list[Stage]:
    """Return the stages of a training in their order; the last one is the run in ``--output_dir``.

    A stage goes on from the adapter before it (``start: continued``), or begins a new one on a base LLM that the adapter before
    it was merged into (``start: merged``).

    Args:
        stages: path of a YAML file that is a list, or has the key ``stages``; or the list itself.
        common: converted values of the flags of every stage; those of a stage go before them.
        flags: the valid ones, by name.

    Raises:
        UserError: naming the stage and the key.
    """
    place, content = stage_entries(stages)
    if not common.get("output_dir"):
        raise UserError("--output_dir is missing: where checkpoints and the adapter are written")
    result: list[Stage] = []
    base, before = common.get("model_name_or_path"), ""
    for number, entry in enumerate(content, start=1):
        where = f"{place}, stage {number}"
        name, asked, own = read_stage(entry, flags, where, first=number == 1)
        start = "" if common.get("dry_run") else asked  # the stage before has not ended: each is tried on the base LLM
        folder = Path(common["output_dir"])
        if number < len(content):
            folder = folder / STAGES_FOLDER / f"{number}-{name}"
        values = {key: value for key, value in common.items() if key not in ("stages", "resume_from_checkpoint")}
        if start == "continued":  # these come with the adapter; in the stage's own entry they are refused later
            values = {key: value for key, value in values.items() if key not in ADAPTER_FLAGS}
        design = str(own.pop("design", FlagValue("", where)).value)
        values = {**without_data(values, own), **converted(own, flags)}
        merges = None
        if start == "merged":
            base = str(Path(common["output_dir"]) / STAGES_FOLDER / f"{number}-{MERGED_BASE}")
            merges = before, base
        if base is not None:
            values["model_name_or_path"] = base
        if start == "continued":
            values["peft_model_name_or_path"] = before
        values["output_dir"] = str(folder)
        resume = common.get("resume_from_checkpoint")
        if resume is not None:
            as_given = number == len(content) or str(resume).lower() in NOT_RESUMED
            values["resume_from_checkpoint"] = resume if as_given else "true"
        result.append(Stage(values, own, design, merges, where, asked))
        before = str(folder)
    return result


def stage_entries(stages: object) -> tuple[str, list[Any]]:
    """Return the place and the entries of a list of stages, given as in `read_stages`; an entry is not checked.

    Raises:
        UserError: the file cannot be read, or there is no list.
    """
    place, content = "stages", stages
    if isinstance(stages, str):
        place, content = stages, read_yaml(Path(stages).expanduser(), "--stages")
        if isinstance(content, Mapping):
            content = content.get("stages")
    if not isinstance(content, list) or not content:
        raise UserError(f"{place}: expected a list of stages, each with flags; see docs/objectives.md")
    return place, content


def without_data(values: Mapping[str, Any], own: Collection[str]) -> dict[str, Any]:
    """Return the flags of every stage without those on data, if a stage's ``own`` name data that take their place."""
    if not any(name in own for name in DATA_FLAGS):
        return dict(values)
    replaced = {*DATA_FLAGS, "dataset_file_path"}
    if "dataset_config" in own:
        replaced.add("dataset_config_name")
    return {name: value for name, value in values.items() if name not in replaced}


def read_stage(entry: object, flags: Mapping[str, Flag], where: str, *, first: bool) -> tuple[str, str, dict[str, FlagValue]]:
    """Return the name of a stage, how it starts (empty for the first) and its own flags."""
    if not isinstance(entry, Mapping):
        raise UserError(f"{where}: expected flags and their values, found {entry!r}")
    content = {str(key): value for key, value in entry.items()}
    name = content.pop("name", content.get("objective", "contrastive"))
    if name == MERGED_BASE:
        raise UserError(f"{where}: name: {name} is the name of merged base LLMs' folders: take another")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise UserError(f"{where}: name: letters, digits, '.', '_' and '-' make a folder's name, found {name!r}")
    start = content.pop("start", "" if first else "continued")
    if first and start:
        raise UserError(f"{where}: start: there is no stage before the first: leave it out")
    if not first and start not in STARTS:
        raise UserError(f"{where}: start: there is no {start!r}{nearest(str(start), STARTS)}; choose from {', '.join(STARTS)}")
    own = {}
    for key, value in content.items():
        place = f"{where}: {key}"
        if key in OF_THE_STAGES:
            raise UserError(f"{place} is set by the list of stages: leave it out")
        own[known_flag(key, flags, place)] = FlagValue(with_home(value), place)
    return name, str(start), own
