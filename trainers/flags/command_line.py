"""A command line, or a YAML file that the command line overrides, in; a checked `TrainConfig` out.

``parse(sys.argv[1:], design="model3")`` is all a trainer script needs. A mistake is one message on stderr and exit code 2.
"""

from __future__ import annotations

import argparse
import difflib
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from common.errors import UserError
from common.yaml_files import read_config
from model_loaders.designs import DESIGNS, get_design
from trainers.flags import help_text
from trainers.flags.arguments import (
    GROUPS,
    ContrastiveArguments,
    ModelArguments,
    RunArguments,
)
from trainers.flags.checks import _check_combinations, _check_quantisation, _check_writable
from trainers.flags.flag import Flag, Given, flags_of
from trainers.flags.inherited import (
    GONE,
    REFUSED,
    RENAMED,
    build_training_arguments,
    current_name,
    inherited_flags,
    refuse,
)
from trainers.flags.launcher import check_launcher
from trainers.flags.train_config import TrainConfig
from triplets.arguments import DataArguments

# What other toolkits call a flag, where spelling alone would suggest another one.
MEANT: dict[str, str] = {
    "lr": "learning_rate",
    "batch_size": "per_device_train_batch_size",
    "train_batch_size": "per_device_train_batch_size",
    "epochs": "num_train_epochs",
    "temperature": "loss_scale",
    "max_length": "max_seq_length",
    "dtype": "torch_dtype",
    "train_file": "dataset_name",
    "mini_batch_size": "chunk_tokens",
}


# Which data a run is trained on.
OF_THE_DATA = ("dataset_name", "dataset_config")


def parse(argv: Sequence[str], *, design: str | None = None, needs_data: bool = True) -> TrainConfig:
    """Turn a command line into a checked configuration.

    Args:
        argv: the arguments without the script's name.
        design: the row of the table of designs that the script stands for; None adds the flag ``--design``.
        needs_data: False for a command that reads no triplets: data may be given and need not.

    Raises:
        SystemExit: with 0 after ``--help``; with 2 after one message on stderr when the arguments are wrong.
    """
    if "--help_all" in argv or "--help-all" in argv:
        _show(help_text.full(design, inherited_flags()))
    if "--help" in argv or "-h" in argv:
        _show(help_text.short(design))
    try:
        return _parse(argv, design, needs_data)
    except UserError as error:
        if os.environ.get("LOCAL_RANK", "0") != "0":
            # The machine's first process says the same, and the launcher ends the others when it exits. Leaving before
            # it would have the launcher end it before it has spoken. If it found no mistake, this one is ours to tell.
            time.sleep(30)
        print(f"{Path(sys.argv[0]).name}: error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def _show(text: str) -> NoReturn:
    """Print a help text and leave; whoever reads it may stop in the middle (``--help | head``)."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise SystemExit(0)


def _parse(argv: Sequence[str], design: str | None, needs_data: bool) -> TrainConfig:
    own = {name: flag for group in GROUPS for name, flag in flags_of(group).items()}
    inherited = inherited_flags()
    values, command_line, of_design = read_values(argv, {**own, **inherited}, with_design=design is None)
    if not needs_data and not any(values.get(name) for name in (*OF_THE_DATA, "dataset_file_path")):
        values["dataset_name"] = "no data"
    chosen = _design(design, *of_design)
    refuse(values, inherited)
    _check_combinations(values, chosen, on_command_line=command_line)

    model = ModelArguments(**{name: values[name] for name in flags_of(ModelArguments) if name in values})
    data = DataArguments(**{name: values[name] for name in flags_of(DataArguments) if name in values})
    contrastive = ContrastiveArguments(**{name: values[name] for name in flags_of(ContrastiveArguments) if name in values})
    run = RunArguments(**{name: values[name] for name in flags_of(RunArguments) if name in values})
    if not values.get("output_dir"):
        raise UserError("--output_dir is missing: where checkpoints and the adapter are written")
    _check_quantisation(model)
    training_values = {name: value for name, value in values.items() if name in inherited}
    if data.eval_dataset is not None:
        training_values.setdefault("eval_strategy", "steps" if "eval_steps" in values else "epoch")
    training_values["resume_from_checkpoint"] = _resume(values.get("resume_from_checkpoint"))
    import torch

    check_launcher(os.environ, values, has_accelerator=torch.accelerator.is_available())
    training = build_training_arguments(training_values)
    if os.environ.get("RANK", "0") == "0":  # several would remove the directory under each other
        _check_writable(training.output_dir)
    return TrainConfig(chosen, model, data, contrastive, training, frozenset(values), run)


def read_values(
    argv: Sequence[str], flags: Mapping[str, Flag], *, with_design: bool
) -> tuple[dict[str, Any], dict[str, Given], tuple[Given | None, Given | None]]:
    """Read a command line, and the file behind its ``--config``.

    Args:
        argv: the arguments without the script's name.
        flags: those that there are, by name.
        with_design: whether ``--design`` is one too.

    Returns:
        The converted values of what is given; what stands on the command line; the design, given there and in the file.

    Raises:
        UserError: an unknown flag or key, or a value of another type.
    """
    command_line, config_path = _read_argv(argv, flags, with_design=with_design)
    config = read_config(config_path) if config_path else {}
    config_given = {key: Given(entry.value, f"{entry.where}: {key}") for key, entry in config.items()}
    _check_known(config_given, flags)
    designs = command_line.pop("design", None), config_given.pop("design", None)
    if any(name in command_line for name in OF_THE_DATA):  # it names the data, whichever of these the file uses
        config_given = {name: entry for name, entry in config_given.items() if name not in OF_THE_DATA}
    # The command line overrides the file; old names are translated first, so that either may use either.
    given = {**_translate(config_given, flags), **_translate(command_line, flags)}
    return {name: flags[name].convert(entry.value, entry.where) for name, entry in given.items()}, command_line, designs


class _Parser(argparse.ArgumentParser):
    """argparse, whose errors are raised instead of printed below two screens of usage."""

    def error(self, message: str) -> NoReturn:
        raise UserError(message.replace("argument --", "--"))


def _read_argv(argv: Sequence[str], flags: Mapping[str, Flag], *, with_design: bool) -> tuple[dict[str, Given], str | None]:
    """Return what the command line gives, unconverted, and the path behind ``--config``."""
    parser = _Parser(add_help=False, allow_abbrev=False, argument_default=argparse.SUPPRESS)
    parser.add_argument("--config")
    if with_design:
        parser.add_argument("--design")
    for name, flag in flags.items():
        if flag.kind == "bool" or name in ("resume_from_checkpoint", "fsdp"):
            parser.add_argument(f"--{name}", nargs="?", const="true")
            parser.add_argument(f"--no_{name}", dest=name, action="store_const", const="false")
        else:
            parser.add_argument(f"--{name}", nargs="+" if flag.kind == "list" else None)
    for name in (*RENAMED, *GONE, "loss_class"):
        if name not in flags:
            parser.add_argument(f"--{name}", nargs="?", const="true")
            parser.add_argument(f"--no_{name}", dest=name, action="store_const", const="false")
    # --max-seq-length is --max_seq_length, as with HfArgumentParser.
    spelled = [_underscored(token) for token in argv]
    namespace, unknown = parser.parse_known_args(spelled)
    if unknown:
        _unknown_argument(unknown[0], [*flags, *RENAMED, "config", *(["design"] if with_design else [])])
    found = vars(namespace)
    config_path = found.pop("config", None)
    return {name: Given(value, f"--{name}") for name, value in found.items()}, config_path


def _underscored(token: str) -> str:
    name, equals, value = token.partition("=")
    return name.replace("-", "_").replace("__", "--", 1) + equals + value if token.startswith("--") else token


def _unknown_argument(token: str, valid: Iterable[str]) -> NoReturn:
    name = token.partition("=")[0]
    if not name.startswith("--"):
        raise UserError(f"unexpected argument {token!r}: it belongs to no flag (quote a value that has spaces)")
    if name == "--design":
        raise UserError("--design: this script stands for one design; use trainers/train.py to choose")
    hint = _nearest_flag(name[2:], valid)
    raise UserError(f"unknown flag {name} (did you mean --{hint}?); --help lists ours, --help_all the inherited ones")


def _nearest_flag(name: str, valid: Iterable[str]) -> str:
    """Return the flag nearest to ``name``, where the beginning of a long flag counts as near too."""
    if name in MEANT:
        return MEANT[name]

    def similarity(flag: str) -> float:
        whole, beginning = (difflib.SequenceMatcher(None, name, text).ratio() for text in (flag, flag[: len(name)]))
        return max(whole, beginning - 0.1)

    return max((flag for flag in valid if flag not in REFUSED), key=similarity)


def _check_known(config: Mapping[str, Given], flags: Mapping[str, Flag]) -> None:
    known = {*flags, *RENAMED, *GONE, "design", "loss_class"}
    for key, entry in config.items():
        if key not in known:
            hint = _nearest_flag(key, [*flags, *RENAMED, "design"])
            raise UserError(f"{entry.where} is no known key (did you mean {hint!r}?); the keys are the flags")


def _design(fixed: str | None, flag: Given | None, key: Given | None) -> str:
    if fixed is not None:
        if key is not None and key.value != fixed:
            raise UserError(f"{key.where} is {key.value!r}, but this script trains {fixed}: use trainers/train.py")
        return fixed
    given = flag or key
    if given is None:
        raise UserError(f"--design is missing; the designs are: {', '.join(DESIGNS)}")
    get_design(str(given.value))
    return str(given.value)


def _translate(given: Mapping[str, Given], flags: Mapping[str, Flag]) -> dict[str, Given]:
    """Return ``given`` under today's names, the flags that are gone taken out or refused."""
    result: dict[str, Given] = {}
    for name, entry in given.items():
        if name in GONE and name not in flags:
            harmless, advice = GONE[name]
            if str(entry.value).lower() not in harmless:
                raise UserError(f"{entry.where} is not a flag any more: {advice}")
            continue
        new, value = current_name(name, flags), entry.value
        if name == "warmup_ratio" and new != name and not 0.0 <= flags[new].convert(value, entry.where) < 1.0:
            raise UserError(f"{entry.where} must be in [0, 1), got {value}; a number of steps is --warmup_steps")
        if name == "loss_class":
            if value != "HardNegativeNLLLoss":
                raise UserError(f"{entry.where}: the published code has one loss, HardNegativeNLLLoss; use --loss")
            new, value = "loss", "published"
        if new in result and str(result[new].value) != str(value):
            raise UserError(f"{entry.where} and {result[new].where} are the same setting: give one of them")
        result[new] = Given(value, entry.where)
    return result


def _resume(value: str | None) -> str | bool | None:
    """Return the checkpoint to go on from; True is the newest in ``--output_dir``.

    Trainer takes the text "True" for a directory of that name.
    """
    if value is None or value.lower() in ("false", "none", "no"):
        return None
    if value.lower() in ("true", "last", "yes"):
        return True
    if not Path(value).is_dir():
        raise UserError(
            f"--resume_from_checkpoint {value}: there is no such directory; without a value it takes the newest "
            "checkpoint of --output_dir"
        )
    return value
