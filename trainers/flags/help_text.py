"""The texts of ``--help`` (our flags, instantly) and ``--help_all`` (the inherited ones too)."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping

from model_loaders.designs import DESIGNS
from trainers.flags.arguments import DEFAULT_LORA_CONFIG, GROUPS
from trainers.flags.flag import Flag, flags_of
from trainers.flags.inherited import REFUSED, RENAMED

# The inherited flags of every run, so that --help need not import transformers. A test holds them against the real ones.
EVERYDAY: dict[str, str] = {
    "output_dir": "Where checkpoints and the adapter are written. Required.",
    "per_device_train_batch_size": "Queries per process and step; their texts are each other's negatives.",
    "gradient_accumulation_steps": "Batches per optimizer step; averages gradients, adds no negatives.",
    "max_steps": "Optimizer steps; overrides --num_train_epochs.",
    "num_train_epochs": "Passes over the data.",
    "learning_rate": "Peak learning rate.",
    "lr_scheduler_type": "linear, cosine, constant, constant_with_warmup, ...",
    "warmup_steps": "Warm-up in steps, or below 1 as a ratio of all steps.",
    "weight_decay": "AdamW's weight decay.",
    "max_grad_norm": "Gradient clipping.",
    "bf16": "Compute in bfloat16.",
    "gradient_checkpointing": "Recompute activations in the backward pass: less memory, more time.",
    "logging_steps": "Steps between two lines of the log.",
    "save_steps": "Steps between two checkpoints.",
    "save_total_limit": "Checkpoints to keep.",
    "eval_strategy": "no, steps or epoch, for --eval_dataset and --eval_tasks.",
    "eval_steps": "Steps between two evaluations.",
    "per_device_eval_batch_size": "As --per_device_train_batch_size, for --eval_dataset.",
    "resume_from_checkpoint": "Go on from this checkpoint; without a value from the newest of --output_dir.",
    "seed": "Seed of initialisation, data order and dropout.",
    "report_to": "tensorboard, wandb, trackio, ...; nothing unless asked for.",
}


def short(design: str | None) -> str:
    """Return our own flags and the everyday inherited ones."""
    lines = [*_head(design), *_own_flags()]
    lines += ["", "Training (transformers.TrainingArguments; all of them: --help_all):"]
    for name, text in EVERYDAY.items():
        lines += _entry(f"--{name}", text)
    return "\n".join(lines)


def full(design: str | None, inherited: Mapping[str, Flag]) -> str:
    """Return all flags, and the reason for each inherited one that is refused."""
    honoured = [flag for name, flag in inherited.items() if name not in REFUSED]
    lines = [*_head(design), *_own_flags()]
    lines += ["", "Inherited from transformers.TrainingArguments:", *table(honoured)]
    lines += ["", "Other names that are understood:"]
    for old, new in RENAMED.items():
        lines += _entry(f"--{old}", f"--{new}")
    lines += ["", "Refused, unless given with their default:"]
    for name, reason in REFUSED.items():
        lines += _entry(f"--{name}", reason)
    return "\n".join(lines)


def _head(design: str | None) -> list[str]:
    lines = ["usage: accelerate launch --config_file accelerate_config.yaml SCRIPT [--config FILE] --FLAG VALUE ...", ""]
    if design is not None:
        lines.append(f"Train {design}: {DESIGNS[design].summary}.")
    else:
        lines.append("--design NAME, one of:")
        for name, row in DESIGNS.items():
            lines += _entry(name, row.summary)
    lines += _entry("--config FILE", "A YAML file whose keys are the flags; the command line overrides it.")
    lines += _entry("--help, --help_all", "This text; all flags, the inherited ones too.")
    return lines


def _own_flags() -> list[str]:
    lines: list[str] = []
    for group in GROUPS:
        lines += ["", str(group.__doc__).strip(), *table(flags_of(group).values())]
    return lines


def table(flags: Iterable[Flag]) -> list[str]:
    """Return a line or more for each flag."""
    lines: list[str] = []
    for flag in flags:
        text = " ".join(flag.help.split())
        if flag.choices and len(flag.choices) <= 8:
            text += f" One of: {', '.join(flag.choices)}."
        if flag.default not in (None, "", [], DEFAULT_LORA_CONFIG):
            text += f" (default: {_plain(flag.default)})"
        lines += _entry(f"--{flag.name}", text)
    return lines


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(getattr(value, "value", value))


def _entry(name: str, text: str) -> list[str]:
    """Return a name and its text, wrapped in a column of its own."""
    indent = " " * 32
    wrapped = textwrap.wrap(text, 88) or [""]
    first = f"  {name:<30}"
    if len(first) > len(indent):
        return [first, *(indent + line for line in wrapped)]
    return [first + wrapped[0], *(indent + line for line in wrapped[1:])]
