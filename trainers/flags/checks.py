"""Checks of flags that depend on each other or on the machine."""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from common.errors import UserError
from model_loaders.designs import DESIGNS
from trainers.flags.arguments import (
    FROM_THE_ADAPTER,
    OF_THE_EVALUATION,
    OF_THE_POOLING,
    ModelArguments,
)
from trainers.flags.flag import Given
from trainers.flags.inherited import (
    RENAMED,
)


def _check_combinations(values: Mapping[str, Any], design: str, on_command_line: Mapping[str, Given]) -> None:
    """Refuse flags that would do nothing beside the others, or that contradict each other."""
    if values.get("peft_model_name_or_path"):
        for name in FROM_THE_ADAPTER:
            if name in values:
                raise UserError(f"--{name} comes with the adapter of --peft_model_name_or_path: leave it out")
        for name in ("load_in_4bit", "load_in_8bit"):
            if values.get(name):
                raise UserError(f"--{name} comes with the adapter of --peft_model_name_or_path (its manifest): leave it out")
    elif not values.get("model_name_or_path"):
        raise UserError("--model_name_or_path is missing: the base LLM, a hub name or a directory")
    if DESIGNS[design].pooling == "none":
        # A recipe for all designs may hold them; who types them means something by it.
        for name in OF_THE_POOLING:
            if name in on_command_line:
                raise UserError(f"--{name} does nothing for {design}, which has no trainable pooling: leave it out")
    if values.get("torch_dtype") == "float16" and not values.get("fp16"):
        raise UserError("--torch_dtype float16 without --fp16 has no loss scaling, and gradients underflow to 0: add "
                        "--fp16, or use --torch_dtype bfloat16 (or float32)")  # fmt: skip
    _check_evaluation(values, {RENAMED.get(name, name) for name in on_command_line})
    _check_length(values)
    _check_numbers(values)
    if values.get("both_directions") and values.get("in_batch_negatives") is False and not values.get("dataset_config"):
        raise UserError("--both_directions does nothing with --in_batch_negatives false: a positive has no other queries to "
                        "tell its own from; leave one of them out")  # fmt: skip
    if values.get("batching", "homogeneous") != "homogeneous":
        if values.get("dataset_config") is None:
            raise UserError("--batching says how several data sets are mixed; with one, all batches are the same: leave it out")
        if values.get("train_sampling_strategy") == "sequential":
            raise UserError("--batching mixes rows, --train_sampling_strategy sequential takes them in order: give one of them")
    lora_config = values.get("lora_config")
    if isinstance(lora_config, str) and not Path(lora_config).is_file():
        raise UserError(f"--lora_config {lora_config}: there is no such file")


def _check_evaluation(values: Mapping[str, Any], on_command_line: Collection[str]) -> None:
    """Refuse an evaluation without data, and data without an evaluation."""
    evaluates = {
        "eval_strategy": values.get("eval_strategy", "no") != "no",
        "eval_steps": values.get("eval_steps") is not None,
        "eval_on_start": bool(values.get("eval_on_start")),
    }
    if values.get("eval_dataset") is None:
        for name, is_set in evaluates.items():
            if is_set:
                raise UserError(f"--{name} does nothing without --eval_dataset: give both, or none")
        # A recipe for several runs may hold these, and the record of a run does. The published launch commands give both
        # batch sizes as the same number, and evaluate nothing.
        for name in OF_THE_EVALUATION:
            if name in on_command_line and not (
                name == "per_device_eval_batch_size" and values[name] == values.get("per_device_train_batch_size")
            ):
                raise UserError(f"--{name} does nothing without --eval_dataset: give both, or none")
    elif values.get("eval_strategy") == "no":
        raise UserError("--eval_dataset would not be used with --eval_strategy no: give epoch or steps")


# The inherited numbers that only some values make sense of: from where, and below which limit.
RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(
        ("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps"), (1, math.inf)
    ),
    **dict.fromkeys(("learning_rate", "weight_decay", "max_grad_norm", "adam_epsilon"), (0, math.inf)),
    **dict.fromkeys(("adam_beta1", "adam_beta2"), (0, 1)),
    **dict.fromkeys(("seed", "data_seed"), (0, 2**32)),
}


def _check_numbers(values: Mapping[str, Any]) -> None:
    for name, (least, limit) in RANGES.items():
        value = values.get(name)
        if value is not None and not least <= value < limit:
            below = "" if limit == math.inf else f" and below {limit:g}"
            raise UserError(f"--{name} must be a number from {least:g}{below}, got {value:g}")
    if values.get("learning_rate") == 0 and not values.get("pooling_learning_rate"):
        raise UserError("--learning_rate 0 trains nothing: give a rate above 0")


def _check_length(values: Mapping[str, Any]) -> None:
    """Refuse a run without a step: Trainer looks at the limit only after the first one."""
    steps, epochs = values.get("max_steps", -1), values.get("num_train_epochs", 1.0)
    if steps != -1 and steps < 1:
        raise UserError(f"--max_steps {steps} trains nothing: give 1 or more; -1 leaves the length to --num_train_epochs")
    if steps == -1 and not epochs > 0:
        raise UserError(f"--num_train_epochs {epochs:g} trains nothing: give a number above 0, or --max_steps")


def _check_quantisation(model: ModelArguments) -> None:
    name = "load_in_4bit" if model.load_in_4bit else "load_in_8bit" if model.load_in_8bit else None
    if name is None:
        return
    import importlib.util

    import torch

    if not torch.cuda.is_available():
        raise UserError(f"--{name} needs a GPU, and none is visible here: leave it out")
    if importlib.util.find_spec("bitsandbytes") is None:
        raise UserError(f"--{name} needs bitsandbytes, which is not installed: pip install bitsandbytes")


def _check_writable(output_dir: str) -> None:
    """Write to the output directory, or where it will be made, once: better now than after the first hours."""
    path = Path(output_dir)
    while not path.exists() and path != path.parent:  # several processes check at once: none makes or removes a directory
        path = path.parent
    try:
        with contextlib.closing(tempfile.TemporaryFile(dir=path)):
            pass
    except OSError as error:
        raise UserError(
            f"--output_dir {output_dir} cannot be written: {error.strerror or error}; give another directory"
        ) from error
