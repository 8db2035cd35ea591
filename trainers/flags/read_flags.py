"""The flags of a command line and of the YAML file behind its ``--config``, as converted values by today's names."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from common.errors import UserError
from common.yaml_files import read_config
from trainers.flags.flag import Flag, FlagValue
from trainers.flags.home import with_home
from trainers.flags.inherited import GONE, REFUSED, RENAMED

# Names of a flag in other toolkits, where spelling alone would suggest another one.
SYNONYMS: dict[str, str] = {
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

# The name of the published loss; the flag that chose it is ``--loss`` here.
PUBLISHED_LOSS = "HardNegativeNLLLoss"

# Flags that name the training data.
DATA_FLAGS = ("dataset_name", "dataset_config")


@dataclass(frozen=True)
class FlagValues:
    """The flags of one command.

    Attributes:
        values: converted values of the command line and of the file that it overrides.
        command_line: the typed part, by the names that were typed.
        typed_design: ``--design`` of the command line.
        file_design: ``design`` of the file.
    """

    values: dict[str, Any]
    command_line: dict[str, FlagValue]
    typed_design: FlagValue | None
    file_design: FlagValue | None


def read_flags(argv: Sequence[str], flags: Mapping[str, Flag], *, with_design: bool) -> FlagValues:
    """Read a command line, and the file behind its ``--config``.

    Args:
        argv: the arguments without the script's name.
        flags: the valid ones, by name.
        with_design: whether ``--design`` is one too.

    Raises:
        UserError: an unknown flag or key, or a value of another type.
    """
    command_line, config_path = _read_argv(argv, flags, with_design=with_design)
    file_values = _read_file(config_path, flags) if config_path else {}
    typed_design, file_design = command_line.pop("design", None), file_values.pop("design", None)
    if any(name in command_line for name in DATA_FLAGS):  # it names the data, whichever of these the file uses
        for name in DATA_FLAGS:
            file_values.pop(name, None)
    # The command line overrides the file; old names are translated first, so that either may use either.
    values = {**converted(file_values, flags), **converted(command_line, flags)}
    return FlagValues(values, command_line, typed_design, file_design)


def converted(raw: Mapping[str, FlagValue], flags: Mapping[str, Flag]) -> dict[str, Any]:
    """Return values in the types of their flags, by today's names.

    Raises:
        UserError: a value of another type, or a flag that no longer exists.
    """
    return {name: flags[name].convert(entry.value, entry.where) for name, entry in _translate(raw, flags).items()}


def known_flag(key: str, flags: Mapping[str, Flag], where: str) -> str:
    """Return a key of a file if it is a flag.

    Raises:
        UserError: it is none; naming the nearest.
    """
    if key not in {*flags, *RENAMED, *GONE, "design", "loss_class"}:
        hint = nearest_flag(key, [*flags, *RENAMED, "design"])
        raise UserError(f"{where} is no known key (did you mean {hint!r}?); the keys are the flags")
    return key


class FlagParser(argparse.ArgumentParser):
    """argparse, whose errors are raised instead of printed below two screens of usage."""

    def error(self, message: str) -> NoReturn:
        """Raise a UserError with argparse's message."""
        raise UserError(message.replace("argument --", "--"))

    def add_switch(self, name: str) -> None:
        """Add ``--name``, with or without a value, and ``--no_name``."""
        self.add_argument(f"--{name}", nargs="?", const="true")
        self.add_argument(f"--no_{name}", dest=name, action="store_const", const="false")


def _read_argv(argv: Sequence[str], flags: Mapping[str, Flag], *, with_design: bool) -> tuple[dict[str, FlagValue], str | None]:
    """Return the values of the command line, unconverted, and the path behind ``--config``."""
    parser = FlagParser(add_help=False, allow_abbrev=False, argument_default=argparse.SUPPRESS)
    parser.add_argument("--config")
    valid = [*flags, *RENAMED, "config"]
    if with_design:
        parser.add_argument("--design")
        valid.append("design")
    for name, flag in flags.items():
        if flag.kind == "bool" or name in ("resume_from_checkpoint", "fsdp"):
            parser.add_switch(name)
        else:
            parser.add_argument(f"--{name}", nargs="+" if flag.kind == "list" else None)
    for name in (*RENAMED, *GONE, "loss_class"):
        parser.add_switch(name)
    # --max-seq-length is --max_seq_length, as with HfArgumentParser.
    namespace, unknown = parser.parse_known_args([_underscored(token) for token in argv])
    if unknown:
        _refuse_unknown(unknown[0], valid)
    texts = vars(namespace)
    config_path = texts.pop("config", None)
    return {name: FlagValue(value, f"--{name}") for name, value in texts.items()}, config_path


def _underscored(token: str) -> str:
    name, equals, value = token.partition("=")
    return name.replace("-", "_").replace("__", "--", 1) + equals + value if token.startswith("--") else token


def _read_file(path: str, flags: Mapping[str, Flag]) -> dict[str, FlagValue]:
    """Return the values of a YAML file, unconverted."""
    values = {}
    for key, entry in read_config(path).items():
        where = f"{entry.where}: {key}"
        values[known_flag(key, flags, where)] = FlagValue(with_home(entry.value), where)
    return values


def _refuse_unknown(token: str, valid: Iterable[str]) -> NoReturn:
    name = token.partition("=")[0]
    if not name.startswith("--"):
        raise UserError(f"unexpected argument {token!r}: it belongs to no flag (quote a value that has spaces)")
    if name == "--design":
        raise UserError("--design: this script stands for one design; use trainers/train.py to choose")
    hint = nearest_flag(name[2:], valid)
    raise UserError(f"unknown flag {name} (did you mean --{hint}?); --help lists ours, --help_all the inherited ones")


def nearest_flag(name: str, valid: Iterable[str]) -> str:
    """Return the flag nearest to ``name``, where the beginning of a long flag counts as near too."""
    if name in SYNONYMS:
        return SYNONYMS[name]

    def similarity(flag: str) -> float:
        whole = difflib.SequenceMatcher(None, name, flag).ratio()
        beginning = difflib.SequenceMatcher(None, name, flag[: len(name)]).ratio()
        return max(whole, beginning - 0.1)

    return max((flag for flag in valid if flag not in REFUSED), key=similarity)


def _translate(raw: Mapping[str, FlagValue], flags: Mapping[str, Flag]) -> dict[str, FlagValue]:
    """Return values under today's names; flags that no longer exist are taken out or refused."""
    result: dict[str, FlagValue] = {}
    for name, entry in raw.items():
        if name in GONE:
            harmless, advice = GONE[name]
            if str(entry.value).lower() != harmless:
                raise UserError(f"{entry.where} is not a flag any more: {advice}")
            continue
        new, value = RENAMED.get(name, name), entry.value
        if name == "warmup_ratio" and not 0.0 <= flags[new].convert(value, entry.where) < 1.0:
            raise UserError(f"{entry.where} must be in [0, 1), got {value}; a number of steps is --warmup_steps")
        if name == "loss_class":
            if value != PUBLISHED_LOSS:
                raise UserError(f"{entry.where}: the published code has one loss, {PUBLISHED_LOSS}; use --loss")
            new, value = "loss", "published"
        if new in result and str(result[new].value) != str(value):
            raise UserError(f"{entry.where} and {result[new].where} are the same setting: give one of them")
        result[new] = FlagValue(value, entry.where)
    return result
