"""``transformers.TrainingArguments``: their flags with our defaults, built from values, and back to plain values.

Imports torch and transformers, unlike the rest of ``trainers/flags/``.
"""

from __future__ import annotations

import dataclasses
import enum
import os
from typing import Any

import torch
from transformers import TrainingArguments

from common.errors import UserError
from trainers.flags.flag import Flag, flags_of
from trainers.flags.inherited import DEFAULTS, OURS, REFUSED, RENAMED, HubArguments


def inherited_flags() -> dict[str, Flag]:
    """Return TrainingArguments' flags with our defaults, without its deprecated aliases and flags of our own."""
    flags, ours = {}, {*flags_of(HubArguments), *OURS}
    for name, flag in flags_of(TrainingArguments).items():
        if name not in RENAMED and name not in ours:
            flags[name] = dataclasses.replace(flag, default=DEFAULTS.get(name, flag.default))
    return flags


def build_training_arguments(values: dict[str, Any]) -> TrainingArguments:
    """Return ``TrainingArguments`` from values of flags and our defaults.

    Raises:
        UserError: TrainingArguments itself refuses them, or they contradict the launcher's mixed precision.
    """
    values = {**DEFAULTS, **values}
    values["report_to"] = values["report_to"] or "none"  # TrainingArguments would make [None] of a YAML null
    _follow_the_launcher(values)
    has_accelerator = torch.accelerator.is_available()
    if values.get("fp16") and not has_accelerator:
        raise UserError("--fp16 needs a GPU, and none is visible here: use --bf16, or leave it out")
    several = int(os.environ.get("WORLD_SIZE") or 1) > 1
    if values.get("ddp_backend") and not several:
        raise UserError("--ddp_backend is for several processes, and this is one: leave it out, or use accelerate launch")
    # Without a GPU the CPU is meant, but TrainingArguments must be told: it refuses bf16, and several processes would not
    # find each other (accelerate would see one). Not under DeepSpeed, which brings its own CPU backend.
    if not has_accelerator and os.environ.get("ACCELERATE_USE_DEEPSPEED", "false") != "true":
        values["use_cpu"] = bool(values.get("use_cpu") or values.get("bf16") or several)
    try:
        return TrainingArguments(**values)
    except (ValueError, TypeError, OSError, ImportError) as error:
        raise UserError(f"transformers.TrainingArguments refuses this: {error}") from error


def _follow_the_launcher(values: dict[str, Any]) -> None:
    """Write the launcher's mixed precision into ``values``, as it acts on the run whatever the flags are."""
    precision = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if precision not in ("bf16", "fp16") or values.get("bf16") or values.get("fp16"):
        return
    if values.get(precision) is False:
        raise UserError(
            f"--{precision} false contradicts mixed_precision: {precision} of the accelerate config file, which would win "
            "silently: set mixed_precision: 'no' there, or launch with --mixed_precision no"
        )
    values[precision] = True


def plain_training_values(training: TrainingArguments) -> dict[str, Any]:
    """Return the inherited flags and their values, ready for JSON: enums as texts, refused flags left out."""
    values: dict[str, Any] = {}
    for name in inherited_flags():
        if name in REFUSED or name == "local_rank":
            continue
        value = getattr(training, name)
        if isinstance(value, list):
            value = [plain(item) for item in value]
        values[name] = plain(value)
    values["report_to"] = values["report_to"] or "none"
    values["debug"] = " ".join(values["debug"])
    return values


def plain(value: object) -> Any:
    """Return the value of an enum's member, and any other value as it is."""
    return value.value if isinstance(value, enum.Enum) else value
