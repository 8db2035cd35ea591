"""Systems beside the designs of a study: each is trained by a file of its own, on the study's base LLM and data.

```yaml
systems:
  llm2vec: configs/systems/small/llm2vec.yaml
  mean-rank33: {design: causal_mean, lora_r: 33, lora_alpha: 66}     # a design with other flags than those in training
```
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.yaml_files import read_yaml
from model_loaders.designs import design_name
from study.config import OF_THE_CELL, StudyConfig, find_path, flags_for
from trainers.flags.resolve import STANDARD_DESIGN

# Keys of a system's file that the study sets.
OF_THE_STUDY = (*OF_THE_CELL, "dataset_config")
# Flags in the study's ``training`` that say which rows are read: they hold for systems too, and go before a file's own.
DECIDE_ROWS = ("dataset_config_name", "dataset_split", "max_train_samples", "on_invalid_rows")
OF_THE_ROWS = (*DECIDE_ROWS, "cache_dir")


@dataclass(frozen=True)
class System:
    """A system that a study trains.

    Attributes:
        file: of the trainers' ``--config``; empty where the study file has the flags.
        design: of its last stage, which is what is scored.
        flags: in the file, without those that the study sets; and those of the study's ``training`` on rows. The file's design
            is among them where it is another than the last stage's. Without a file: those of ``training`` and its own.
    """

    file: str
    design: str
    flags: Mapping[str, Any]


def find_systems(config: StudyConfig, study_file: Path) -> dict[str, System]:
    """Read the files of a study's systems, by name.

    Raises:
        UserError: a file is missing or holds no keys, or names no design; an entry is neither a file nor flags.
    """
    systems = {}
    for name, entry in config.systems.items():
        where = f"systems: {name}"
        if isinstance(entry, dict):
            systems[name] = of_flags(config, entry, where)
            continue
        if not isinstance(entry, str):
            raise UserError(
                f"{where}: give the file of a training, such as configs/systems/small/llm2vec.yaml, or a design with flags, "
                f"such as {{design: causal_mean, lora_r: 33}}, not {entry!r}"
            )
        file = find_path(entry, study_file)
        if not Path(file).is_file():
            raise UserError(f"{where}: there is no file {entry}")
        content = read_yaml(Path(file), where)
        if not isinstance(content, dict):
            raise UserError(f"{where}: {file} holds no keys; see configs/systems/README.md")
        flags = {key: value for key, value in content.items() if key not in OF_THE_STUDY}
        design = last_design(content, f"{where}: {file}")
        if flags.get("design") == design:
            del flags["design"]  # it is known without
        systems[name] = System(file, design, {**flags, **flags_of_rows(config)})
    return systems


def of_flags(config: StudyConfig, entry: Mapping[str, Any], where: str) -> System:
    """Return a system that is a design with flags of its own over those in ``training``.

    Raises:
        UserError: the study sets one of the flags, or there is no design.
    """
    for flag in (*OF_THE_STUDY, "stages"):
        if flag in entry:
            raise UserError(
                f"{where}: {flag} is the study's, or of a file such as configs/systems/small/llm2vec.yaml: leave it out"
            )
    design = last_design(entry, where)
    own = {key: value for key, value in entry.items() if key != "design"}
    return System("", design, flags_for(design, {**config.training, **own}))


def flags_of_rows(config: StudyConfig) -> dict[str, Any]:
    """Return the flags in a study's ``training`` that say which rows are read."""
    return {name: value for name, value in config.training.items() if name in OF_THE_ROWS}


def last_design(content: Mapping[str, Any], where: str) -> str:
    """Return the design of a training's last stage.

    Raises:
        UserError: neither the stage nor the file names one, and its objective has no standard one.
    """
    stages = content.get("stages")
    if isinstance(stages, str):
        raise UserError(f"{where}: stages: write the list itself into the file of a system")
    last = stages[-1] if isinstance(stages, list) and stages and isinstance(stages[-1], dict) else {}
    design = last.get("design", content.get("design"))
    objective = last.get("objective", content.get("objective", "contrastive"))
    if design is None and objective == "contrastive":
        raise UserError(f"{where} names no design; the key is design")
    return design_name(str(design or STANDARD_DESIGN))
