"""Checks of flags that depend on each other, on the design or on the machine.

The place of the next check:

1. One field alone (a range, a list of valid values): ``__post_init__`` of its dataclass. A number: `trainers.flags.ranges`.
2. An inherited flag that cannot be honoured: the tables of `trainers.flags.inherited`.
3. Two flags together, a flag and the design, a flag and the machine: a function here, called by `check_flags`.
   Those of evaluations: `trainers.scoring.checks`.
4. The launcher's environment: `trainers.flags.launcher`.
5. Flags together with the data or the model, once they are read: `trainers.run.preflight`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.errors import UserError
from model_loaders.designs import DESIGNS, PUBLISHED_SIZES
from trainers.checkpoints.run_files import CONFIG_FILE
from trainers.flags.arguments import ADAPTER_FLAGS, MASKING_FLAGS, POOLING_FLAGS, VECTOR_FLAGS
from trainers.flags.flag import Flag, FlagValue
from trainers.flags.inherited import REFUSED, REFUSED_VALUES, RENAMED
from trainers.flags.ranges import check_ranges
from trainers.flags.stages import NOT_RESUMED
from trainers.scoring.checks import check_evaluation

Values = Mapping[str, Any]


def check_flags(
    values: Values, design: str, *, inherited: Mapping[str, Flag], command_line: Mapping[str, FlagValue], has_gpu: bool
) -> None:
    """Refuse flags that contradict each other, or that would do nothing.

    Args:
        values: converted values of the flags that are set, by today's names.
        design: name of the design.
        inherited: the flags of ``TrainingArguments``.
        command_line: the part that was typed. A recipe file for several runs may hold flags that do nothing in this one.
        has_gpu: whether a CUDA GPU is visible.

    Raises:
        UserError: naming the flag, and the way out.
    """
    typed = {RENAMED.get(name, name) for name in command_line}
    _check_refused(values, inherited)
    _check_model(values)
    _check_quantisation(values, has_gpu=has_gpu)
    _check_train(values, typed, design)
    _check_pooling(values, typed, design)
    check_evaluation(values, typed)
    _check_length(values)
    _check_numbers(values)
    _check_loss(values)
    _check_objective(values, typed, design)
    _check_batching(values)
    _check_hub(values)
    if not goes_on(values):
        _check_idle(values, typed)
    if not values.get("output_dir"):
        raise UserError("--output_dir is missing: where checkpoints and the adapter are written")


def goes_on(values: Values) -> bool:
    """Whether a run that has begun is taken up: it keeps the flags that it was given, also those that a new run is refused."""
    resume = values.get("resume_from_checkpoint")
    if resume is None or str(resume).lower() in NOT_RESUMED:
        return False
    folders = (Path(str(values.get("output_dir"))), Path(str(resume)).parent)
    return any((folder / CONFIG_FILE).is_file() for folder in folders)


def _check_idle(values: Values, typed: set[str]) -> None:
    """Refuse flags of a new run that would do nothing beside others."""
    if values.get("distillation") and values.get("distillation_share", 1.0) == 1.0:
        for name, idle in (("similarity_margin", None), ("both_directions", False), ("loss", "default")):
            value = values.get(name, idle)
            if value is not None and value != idle:
                raise UserError(f"--{name} is of the contrastive loss: give --distillation_share below 1, or leave it out")
    if values.get("lr_scheduler_type") == "constant" and float(values.get("warmup_steps") or 0) > 0:
        raise UserError(
            "--warmup_steps does nothing with --lr_scheduler_type constant: give --lr_scheduler_type constant_with_warmup, or "
            "--warmup_steps 0"
        )
    if values.get("objective") == "mntp" and "packing" in typed and values["packing"] != "auto":
        raise UserError("--packing does nothing with --objective mntp, whose rows have no padding: leave it out")
    options = values.get("activation_checkpointing_kwargs")
    if isinstance(options, str):
        with contextlib.suppress(ValueError):
            options = json.loads(options)
    if isinstance(options, dict) and options.keys() - {"use_reentrant"}:
        others = ", ".join(sorted(options.keys() - {"use_reentrant"}))
        raise UserError(f"--gradient_checkpointing_kwargs with {others} cannot be honoured: leave it out")


def _check_hub(values: Values) -> None:
    """Refuse an upload's details without an upload."""
    for name in ("hub_model_id", "hub_private_repo", "hub_base_name", "hub_licence"):
        if values.get(name) and not values.get("push_to_hub"):
            raise UserError(f"--{name} does nothing without --push_to_hub: give both, or none")


def _check_refused(values: Values, inherited: Mapping[str, Flag]) -> None:
    """Refuse inherited flags that cannot be honoured."""
    for name, value in values.items():
        if name in REFUSED and name in inherited and value != inherited[name].default:
            raise UserError(f"--{name} {_as_text(value)} cannot be honoured: {REFUSED[name]}")
        for start, reason in REFUSED_VALUES.get(name, {}).items():
            if str(value).startswith(start):
                raise UserError(f"--{name} {value} cannot be honoured: {reason}")
    options = str(values.get("activation_checkpointing_kwargs"))
    if "use_reentrant" in options and "true" in options.lower():
        raise UserError(
            "--gradient_checkpointing_kwargs with use_reentrant true cannot be honoured: reentrant checkpointing "
            "does not go with gradient caching and DDP; leave it out (non-reentrant is the default)"
        )


def _as_text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _check_model(values: Values) -> None:
    """Refuse a run without a base model, and flags whose values come with the adapter."""
    if values.get("peft_model_name_or_path"):
        for name in ADAPTER_FLAGS:
            if name in values:
                raise UserError(f"--{name} comes with the adapter of --peft_model_name_or_path: leave it out")
        for name in ("load_in_4bit", "load_in_8bit"):
            if values.get(name):
                raise UserError(f"--{name} comes with the adapter of --peft_model_name_or_path (its manifest): leave it out")
    elif not values.get("model_name_or_path"):
        raise UserError("--model_name_or_path is missing: the base LLM, a hub name or a directory")
    if values.get("torch_dtype") == "float16" and not values.get("fp16"):
        raise UserError(
            "--torch_dtype float16 without --fp16 has no loss scaling, and gradients underflow to 0: add --fp16, or use "
            "--torch_dtype bfloat16 (or float32)"
        )
    kernel = str(values.get("attn_implementation"))
    libraries = ("flash_attn", "kernels")  # transformers takes either
    if kernel.startswith("flash_attention_2") and not any(importlib.util.find_spec(name) for name in libraries):
        raise UserError(f"--attn_implementation {kernel} needs flash-attn, which is not installed: pip install flash-attn")
    lora_config = values.get("lora_config")
    if isinstance(lora_config, str) and not Path(lora_config).is_file():
        reason = "it is no regular file" if Path(lora_config).exists() else "there is no such file"
        raise UserError(f"--lora_config {lora_config}: {reason}")


def _check_quantisation(values: Values, *, has_gpu: bool) -> None:
    """Refuse a quantised base LLM without the GPU and the library that it needs."""
    names = [name for name in ("load_in_4bit", "load_in_8bit") if values.get(name)]
    if not names:
        return
    if len(names) > 1:
        raise UserError("--load_in_4bit and --load_in_8bit exclude each other: give one of them")
    if not has_gpu:
        raise UserError(f"--{names[0]} needs a GPU, and none is visible here: leave it out")
    if importlib.util.find_spec("bitsandbytes") is None:
        raise UserError(f"--{names[0]} needs bitsandbytes, which is not installed: pip install bitsandbytes")


def _check_pooling(values: Values, typed: set[str], design: str) -> None:
    """Refuse flags of the trainable pooling for a design that has none, or none with latents."""
    pooling = DESIGNS[design].pooling
    for name in POOLING_FLAGS:
        if pooling == "none" and name in typed:
            raise UserError(f"--{name} does nothing for {design}, which has no trainable pooling: leave it out")
    if pooling != "none" and "pooling_latents" in typed and "latents" not in PUBLISHED_SIZES[pooling]:
        raise UserError(f"--pooling_latents does nothing for {design}, whose pooling has no latents: leave it out")


def _check_train(values: Values, typed: set[str], design: str) -> None:
    """Refuse flags that do nothing, or lose the updates, where something else than LoRA is trained."""
    train = values.get("train", "lora")
    if values.get("last_layers") is not None and train != "full":
        raise UserError("--last_layers says which weights of the base LLM --train full trains: give both, or none")
    if train == "lora":
        return
    for name in ("lora_config", "lora_r", "lora_alpha", "lora_dropout"):
        if name in typed:
            raise UserError(f"--{name} does nothing with --train {train}: leave it out")
    if train == "pooling":
        if DESIGNS[design].pooling == "none":
            raise UserError(f"--train pooling trains nothing: {design} has no trainable pooling")
        if values.get("peft_model_name_or_path"):
            raise UserError("--train pooling begins on the base LLM alone: leave --peft_model_name_or_path out")
        return
    for name in ("load_in_4bit", "load_in_8bit"):
        if values.get(name):
            raise UserError(f"--{name} rounds the weights that --train full trains: leave one of them out")
    dtype = values.get("torch_dtype", "auto")
    if dtype not in ("auto", "float32"):
        raise UserError(
            f"--torch_dtype {dtype} with --train full rounds most updates of the weights away: leave it out; --bf16 computes "
            "in bfloat16 on weights in float32"
        )


def _check_length(values: Values) -> None:
    """Refuse a run without a step: Trainer looks at the limit only after the first one."""
    steps, epochs = values.get("max_steps", -1), values.get("num_train_epochs", 1.0)
    if steps != -1 and steps < 1:
        raise UserError(f"--max_steps {steps} trains nothing: give 1 or more; -1 leaves the length to --num_train_epochs")
    if steps == -1 and not epochs > 0:
        raise UserError(f"--num_train_epochs {epochs:g} trains nothing: give a number above 0, or --max_steps")
    if steps != -1:
        check_warmup(float(values.get("warmup_steps") or 0), steps)


def check_warmup(warmup: float, steps: int) -> None:
    """Refuse a warm-up that is longer than the run, which would never come to its learning rate.

    Args:
        warmup: ``--warmup_steps``; below 1 it is a share of the run.
        steps: of the run.

    Raises:
        UserError: it is longer.
    """
    if warmup >= 1 and warmup > steps:
        raise UserError(
            f"--warmup_steps {warmup:g} is longer than the run of {steps} steps, which would never come to its "
            "--learning_rate: give fewer, or a share of the run below 1"
        )


def _check_numbers(values: Values) -> None:
    """Refuse numbers out of their ranges, and a rate of 0."""
    check_ranges(values)
    if values.get("learning_rate") == 0 and not values.get("pooling_learning_rate"):
        raise UserError("--learning_rate 0 trains nothing: give a rate above 0")


def _check_loss(values: Values) -> None:
    """Refuse options that the loss cannot have together."""
    both_directions = values.get("both_directions")
    if values.get("loss") == "published" and (values.get("similarity_margin") is not None or both_directions):
        raise UserError(
            "--loss published is the published formula to the letter, without --similarity_margin and --both_directions: leave "
            "those out, or use --loss default"
        )
    _check_richer_loss(values)
    if both_directions and values.get("in_batch_negatives") is False and not values.get("dataset_config"):
        raise UserError(
            "--both_directions does nothing with --in_batch_negatives false: a positive has no other queries to tell its own "
            "from; leave one of them out"
        )


def _check_richer_loss(values: Values) -> None:
    """Refuse combinations of terms, hardness and distillation that have no definition, or where one does nothing."""

    def acts(name: str, default: object) -> bool:
        """Whether a flag has another value than its default, which a run's record holds too."""
        return bool(values.get(name, default) != default)

    terms, hardness, distillation = values.get("extra_terms"), values.get("hardness"), values.get("distillation")
    for name, value in (("extra_terms", terms), ("hardness", hardness)):
        for other in ("both_directions", "loss"):
            if value and values.get(other) not in (None, False, "default"):
                raise UserError(f"--{name} is not defined beside --{other} {values[other]}: leave one of them out")
        if value and distillation and values.get("distillation_share", 1.0) == 1.0:
            raise UserError(f"--{name} is of the contrastive loss: give --distillation_share below 1, or leave it out")
    if not hardness and acts("hardness_of", "in_batch"):
        raise UserError("--hardness_of says which negatives --hardness acts on: give both, or none")
    if distillation is None:
        for name in ("distillation_share", "teacher_temperature"):
            if acts(name, 1.0):
                raise UserError(f"--{name} does nothing without --distillation: leave it out")
        return
    if distillation == "margin_mse" and acts("teacher_temperature", 1.0):
        raise UserError("--teacher_temperature is of --distillation kl: leave it out")
    if values.get("objective") == "simcse":
        raise UserError("--distillation needs documents with teacher scores, and --objective simcse has rows of one text")


def _check_objective(values: Values, typed: set[str], design: str) -> None:
    """Refuse flags of another objective, and a design that masked training cannot reach."""
    objective = values.get("objective", "contrastive")
    for name in VECTOR_FLAGS if objective == "mntp" else MASKING_FLAGS:
        if name in typed:
            raise UserError(f"--{name} does nothing with --objective {objective}: leave it out")
    row = DESIGNS[design]
    if objective == "mntp" and (row.attention != "bidirectional" or row.pooling != "none"):
        raise UserError(
            f"--objective mntp trains a bidirectional base LLM without pooling weights, and {design} is {row.attention} with "
            f"pooling {row.pooling!r}: give --design bidirectional_mean; the stage that follows may have any design"
        )


def _check_batching(values: Values) -> None:
    """Refuse a way to mix data sets where there is nothing to mix."""
    if values.get("batching", "homogeneous") == "homogeneous":
        return
    if values.get("dataset_config") is None:
        raise UserError("--batching says how several data sets are mixed; with one, all batches are the same: leave it out")
    if values.get("train_sampling_strategy") == "sequential":
        raise UserError("--batching mixes rows, --train_sampling_strategy sequential takes them in order: give one of them")


def check_writable(output_dir: str) -> None:
    """Write once to the output directory, or to the nearest parent that exists: better now than after the first hours."""
    path = Path(output_dir)
    while not path.exists() and path != path.parent:  # several processes check at once: none makes or removes a directory
        path = path.parent
    try:
        with contextlib.closing(tempfile.TemporaryFile(dir=path)):
            pass
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"--output_dir {output_dir} cannot be written: {reason}; give another directory") from error
