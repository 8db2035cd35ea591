"""The LoRA settings of a run: those of ``--lora_config`` (a file, or its content in a record), and the flags over them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import UserError, nearest
from common.json_text import json_fault, parse_json
from common.lines import read_bytes
from trainers.flags.ranges import check_finite_options

if TYPE_CHECKING:
    from trainers.flags.arguments import ModelArguments

# Flags over the file, and their fields in peft.LoraConfig.
FIELD_OF_FLAG = {"lora_r": "r", "lora_alpha": "lora_alpha", "lora_dropout": "lora_dropout"}


def resolved_lora(model: ModelArguments) -> dict[str, Any]:
    """Return the options, overridden by the flags; does not import peft, so their names are not checked.

    Raises:
        UserError: the file cannot be read, or holds no object.
    """
    options = _read(model.lora_config)
    for flag, field in FIELD_OF_FLAG.items():
        value = getattr(model, flag)
        if value is not None:
            options[field] = value
    return options


def lora_options(model: ModelArguments) -> dict[str, Any]:
    """Return the options for ``peft.LoraConfig``.

    Raises:
        UserError: as `resolved_lora`; or an option is no field of it.
    """
    from peft import LoraConfig

    options = resolved_lora(model)
    fields = [*LoraConfig.__dataclass_fields__, "peft_type", "task_type"]
    place = "--lora_config" if isinstance(model.lora_config, Mapping) else f"--lora_config {model.lora_config}"
    for key in options:
        if key not in fields:
            raise UserError(f"{place}: unknown key {key!r}{nearest(key, fields)}")
    return options


def _read(config: str | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(config, Mapping):
        check_finite_options(config, "--lora_config")
        return dict(config)
    path = Path(config)
    try:
        options = parse_json(read_bytes(path))
    except OSError as error:
        raise UserError(f"--lora_config {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"--lora_config {path}: no valid JSON: {json_fault(error)}") from error
    if not isinstance(options, dict):
        raise UserError(f"--lora_config {path}: expected an object with the fields of peft.LoraConfig")
    check_finite_options(options, f"--lora_config {path}")
    return options
