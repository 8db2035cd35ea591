"""The LoRA settings of a run: what ``--lora_config`` says, a file or its content in a record, and the flags over it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import UserError, nearest

if TYPE_CHECKING:
    from trainers.flags.arguments import ModelArguments

# Flags over the file: the field of peft.LoraConfig that each stands for.
FLAGS = {"lora_r": "r", "lora_alpha": "lora_alpha", "lora_dropout": "lora_dropout"}


def resolved_lora(model: ModelArguments) -> dict[str, Any]:
    """Return the options, overridden by the flags; does not import peft, so their names are not checked.

    Raises:
        UserError: the file cannot be read, or holds no object.
    """
    given = {field: getattr(model, flag) for flag, field in FLAGS.items()}
    return _read(model.lora_config) | {field: value for field, value in given.items() if value is not None}


def lora_options(model: ModelArguments) -> dict[str, Any]:
    """Return the options for ``peft.LoraConfig``.

    Raises:
        UserError: as `resolved_lora`; or one is no field of it.
    """
    from peft import LoraConfig

    options = resolved_lora(model)
    known = [*LoraConfig.__dataclass_fields__, "peft_type", "task_type"]
    where = "" if isinstance(model.lora_config, Mapping) else f" {model.lora_config}"
    for key in options:
        if key not in known:
            raise UserError(f"--lora_config{where}: unknown key {key!r}{nearest(key, known)}")
    return options


def _read(config: str | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(config, Mapping):
        return dict(config)
    path = Path(config)
    try:
        options = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"--lora_config {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"--lora_config {path}: no valid JSON: {error}") from error
    if not isinstance(options, dict):
        raise UserError(f"--lora_config {path}: expected an object with the fields of peft.LoraConfig")
    return options
