"""Values of flags in, a checked `TrainConfig` out. Imports torch and transformers."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from common.errors import UserError
from model_loaders.designs import DESIGNS, PUBLISHED_SIZES, design_name
from trainers.flags.arguments import GROUPS, ContrastiveArguments, ModelArguments, ObjectiveArguments, RunArguments
from trainers.flags.checks import check_flags, check_writable
from trainers.flags.flag import FlagValue, flags_of
from trainers.flags.inherited import HubArguments
from trainers.flags.installed import check_installed
from trainers.flags.launcher import check_launcher
from trainers.flags.read_flags import DATA_FLAGS, read_flags
from trainers.flags.stages import NOT_RESUMED, Stage, read_stages
from trainers.flags.train_config import TrainConfig
from trainers.flags.training_arguments import build_training_arguments, inherited_flags
from trainers.scoring.arguments import ScoringArguments
from triplets.arguments import DataArguments

Group = TypeVar("Group")

STANDARD_DESIGN = "bidirectional_mean"  # of the objectives that LLM2Vec has before its contrastive one


def resolve(argv: Sequence[str], design: str | None, objective: str | None = None, *, needs_data: bool) -> TrainConfig:
    """Turn a command line into a checked configuration; the arguments are those of `trainers.flags.command_line.parse`.

    Raises:
        UserError: a mistake in the flags, with the place and the way out.
    """
    inherited = inherited_flags()
    flags = read_flags(argv, {**flags_of(*GROUPS), **inherited}, with_design=design is None)
    values = flags.values
    if not needs_data and not any(values.get(name) for name in (*DATA_FLAGS, "dataset_file_path")):
        values["dataset_name"] = "no data"
    take_objective(values, objective)
    fallback = FallbackDesign(design, flags.typed_design, flags.file_design)
    stages = values.get("stages")
    if stages is None:
        return resolve_values(values, fallback.design(values), typed=flags.command_line)
    configs: list[TrainConfig] = []
    for stage in read_stages(stages, values, {**flags_of(*GROUPS), **inherited}):
        chosen = design_name(stage.design) if stage.design else fallback.design(stage.values)
        config = resolve_values(stage.values, chosen, typed=stage.own)
        if configs:
            check_start(stage, config, configs[-1])
        configs.append(replace(config, merges=stage.merges))
    check_of_the_process(configs)
    earlier = [replace(config, hub=HubArguments()) for config in configs[:-1]]  # the last stage's adapter is the one to send
    return replace(configs[-1], before=tuple(earlier))


def check_start(stage: Stage, config: TrainConfig, before: TrainConfig) -> None:
    """Refuse a stage that cannot begin on the adapter of the one before, hours before it would.

    Args:
        stage: the entry.
        config: of the stage.
        before: of the stage before it.

    Raises:
        UserError: naming the stage, and the way out.
    """
    if stage.start == "merged" and DESIGNS[before.design].pooling != "none":
        raise UserError(
            f"{stage.where}: start: merging would lose the trainable pooling of {before.design}, the design of the stage "
            "before: continue it (start: continued)"
        )
    if stage.start == "merged" and (before.model.load_in_4bit or before.model.load_in_8bit):
        raise UserError(
            f"{stage.where}: start: merging would add LoRA to other weights than the rounded ones of the stage before "
            "(load_in_4bit, load_in_8bit) that it belongs to: continue it (start: continued), or leave the flag out there"
        )
    if stage.start == "continued" and config.design != before.design:
        raise UserError(
            f"{stage.where}: start: continued keeps the design of the stage before, which is {before.design}, and this stage's "
            f"is {config.design}: give both the same, or start: merged"
        )
    if stage.start == "continued" and (config.model.train == "full") != (before.model.train == "full"):
        raise UserError(
            f"{stage.where}: start: continued goes on with what the stage before trains, and that has --train "
            f"{before.model.train}, this stage --train {config.model.train}: give both the same, or start: merged"
        )


def check_of_the_process(stages: Sequence[TrainConfig]) -> None:
    """Refuse several values of a flag that PyTorch takes for the whole process: the last one would act on all stages.

    Raises:
        UserError: with the way out.
    """
    values = dict.fromkeys("unset" if stage.training.tf32 is None else str(stage.training.tf32) for stage in stages)
    if len(values) > 1:
        raise UserError(
            f"--tf32 acts on the whole process, and stages have several values of it ({', '.join(values)}): give one value for "
            "all of them, outside of the list of stages"
        )


@dataclass(frozen=True)
class FallbackDesign:
    """The design of a run whose stage names none.

    Attributes:
        script: the design that the script stands for.
        typed: ``--design`` of the command line.
        file: ``design`` of the YAML file.
    """

    script: str | None
    typed: FlagValue | None
    file: FlagValue | None

    def design(self, values: Mapping[str, Any]) -> str:
        """Return the design; objectives without pairs have a standard one."""
        standard = None if values.get("objective", "contrastive") == "contrastive" else STANDARD_DESIGN
        return chosen_design(self.script, self.typed, self.file, standard)


def resolve_values(values: dict[str, Any], design: str, *, typed: Mapping[str, FlagValue]) -> TrainConfig:
    """Make the configuration of one run.

    Args:
        values: converted values of the flags that are set.
        design: name of the design.
        typed: the flags that are meant for this very run: those among them that would do nothing are refused.
    """
    inherited = inherited_flags()
    has_gpu = torch.cuda.is_available()
    check_flags(values, design, inherited=inherited, command_line=typed, has_gpu=has_gpu)
    check_launcher(os.environ, values, has_accelerator=torch.accelerator.is_available())
    model, data = group_of(ModelArguments, {**published_sizes(design), **values}), group_of(DataArguments, values)
    contrastive, run = group_of(ContrastiveArguments, values), group_of(RunArguments, values)
    learned, scoring = group_of(ObjectiveArguments, values), group_of(ScoringArguments, values)

    training_values = {name: value for name, value in values.items() if name in inherited}
    if data.eval_dataset is not None or scoring.tasks:
        training_values.setdefault("eval_strategy", "steps" if "eval_steps" in values else "epoch")
    training_values["resume_from_checkpoint"] = checkpoint_to_resume(values.get("resume_from_checkpoint"))
    training = build_training_arguments(training_values)
    check_installed(training)
    if os.environ.get("RANK", "0") == "0":  # several would remove the directory under each other
        check_writable(training.output_dir)
    hub = group_of(HubArguments, values)
    return TrainConfig(design, model, data, contrastive, training, frozenset(values), run, learned, scoring, hub)


def group_of(kind: type[Group], values: Mapping[str, Any]) -> Group:
    """Make a group of arguments of those of the values that belong to it."""
    names = flags_of(kind)
    return kind(**{name: value for name, value in values.items() if name in names})


def published_sizes(design: str) -> dict[str, int]:
    """Return the flags of a design's pooling with their published values; other designs keep the flags' defaults."""
    sizes = PUBLISHED_SIZES.get(DESIGNS[design].pooling, {})
    return {f"pooling_{name}": size for name, size in sizes.items()}


def take_objective(values: dict[str, Any], objective: str | None) -> None:
    """Put a script's objective among the values of the flags.

    Raises:
        UserError: another one was given.
    """
    if objective is None:
        return
    given = values.setdefault("objective", objective)
    if given != objective:
        raise UserError(f"--objective {given}, but this script trains {objective}: use trainers/train.py")


def chosen_design(script: str | None, typed: FlagValue | None, file: FlagValue | None, standard: str | None = None) -> str:
    """Return the design of a run.

    Args:
        script: the design that the script stands for; None where ``--design`` chooses.
        typed: ``--design`` of the command line.
        file: ``design`` of the YAML file, which the command line overrides.
        standard: the design where none is given; None for an error then.
    """
    if script is not None:
        if file is not None and file.value != script:
            raise UserError(f"{file.where} is {file.value!r}, but this script trains {script}: use trainers/train.py")
        return script
    choice = typed or file
    if choice is None and standard is not None:
        return standard
    if choice is None:
        raise UserError(f"--design is missing; the designs are: {', '.join(DESIGNS)}")
    return design_name(str(choice.value))


def checkpoint_to_resume(value: str | None) -> str | bool | None:
    """Return the checkpoint to go on from; True is the newest in ``--output_dir``.

    Trainer takes the text "True" for a directory of that name.
    """
    if value is None or value.lower() in NOT_RESUMED:
        return None
    if value.lower() in ("true", "last", "yes"):
        return True
    if not Path(value).is_dir():
        raise UserError(
            f"--resume_from_checkpoint {value}: there is no such directory; without a value it takes the newest "
            "checkpoint of --output_dir"
        )
    return value
