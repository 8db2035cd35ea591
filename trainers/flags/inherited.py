"""What becomes of ``transformers.TrainingArguments``' flags: our defaults, other names, and those that are refused.

A contrastive trainer with its own loss, data order and checkpoints cannot honour all of them. One that it cannot honour
is refused when given with another value than its default, and says why: a flag that does nothing is worse than none.
"""

from __future__ import annotations

import dataclasses
import enum
import os
from collections.abc import Mapping
from typing import Any

from common.errors import UserError
from trainers.flags.flag import Flag, flags_of

# Where ours differ from TrainingArguments' defaults.
DEFAULTS: dict[str, Any] = {
    "logging_steps": 10.0,
    "report_to": "none",
    "do_train": True,  # it is what the command does
    "remove_unused_columns": False,  # the columns are texts, not arguments of forward
    # Trainer sets True by itself for anything but a PreTrainedModel, and walks the graph for nothing.
    "ddp_find_unused_parameters": False,
    # The only buffers are constants of the base LLM.
    "ddp_broadcast_buffers": False,
}

# The same flag under another name, with the same values. A name is taken over only if this transformers has the new one.
RENAMED: dict[str, str] = {
    "gradient_checkpointing": "activation_checkpointing",
    "gradient_checkpointing_kwargs": "activation_checkpointing_kwargs",
    "evaluation_strategy": "eval_strategy",
    "no_cuda": "use_cpu",
    "warmup_ratio": "warmup_steps",  # a float below 1 is a ratio of all steps
    "per_gpu_train_batch_size": "per_device_train_batch_size",
    "per_gpu_eval_batch_size": "per_device_eval_batch_size",
}

# Flags that no longer exist: the values that change nothing (accepted), and what to do otherwise.
GONE: dict[str, tuple[tuple[str, ...], str]] = {
    "overwrite_output_dir": (("false",), "nothing is ever overwritten: give a new --output_dir, or delete the old one"),
    "group_by_length": (("false",), "it would change which texts are negatives of each other; --chunk_tokens avoids "
                                    "padding without touching the batches"),
    "save_safetensors": (("true",), "adapters are always saved as safetensors; pickles are not written"),
    "adafactor": (("false",), "use --optim adafactor"),
    "logging_dir": ((), "set the environment variable TENSORBOARD_LOGGING_DIR, or find the logs in --output_dir"),
    "use_mps_device": (("false", "true"), "the device is found by itself"),
    "fp16_backend": (("auto",), "use --fp16"),
    "half_precision_backend": (("auto",), "use --bf16 or --fp16"),
    "fp16_opt_level": (("o1",), "use --fp16"),
    "xpu_backend": ((), "use --ddp_backend"),
    "use_ipex": (("false",), "it was removed from transformers"),
    "jit_mode_eval": (("false",), "it was removed from transformers"),
    "tpu_num_cores": ((), "it was removed from transformers"),
    "past_index": (("-1",), "an embedder keeps no past"),
    "include_inputs_for_metrics": (("false",), "there are no such metrics here; the evaluation scripts score adapters"),
    "include_tokens_per_second": (("false",), "tokens per second are always logged"),
    "dispatch_batches": (("none", "false"), "every process reads its own rows"),
    "split_batches": (("none", "false"), "give --per_device_train_batch_size as the size per device"),
    "push_to_hub_model_id": ((), "upload the finished directory: hf upload NAME OUTPUT_DIR"),
    "simcse_dropout": ((), "nothing ever read it in the published scripts; dropout is --lora_dropout"),
}  # fmt: skip

_UPLOAD = "an upload is not part of training: upload the finished directory with hf upload NAME OUTPUT_DIR"
_COMPILE = "gradient caching and checkpointing under torch.compile are not verified to give the exact gradient"
_LAUNCHER = "choose the engine in the launcher's file: accelerate launch --config_file configs/accelerate/..."
_BEST = ("checkpoints are not ranked during training: keep several (--save_total_limit), compare eval_loss in "
         "trainer_state.json or score them with run_mteb.py")  # fmt: skip
_EVALUATIONS = ("its rates depend on evaluations, and which of them a run makes may change when it goes on: take a schedule of "
                "the steps, such as cosine or warmup_stable_decay")  # fmt: skip
_LOSS_ONLY = "evaluation during training computes the loss; the evaluation scripts compute metrics"

# Given with another value than its default, each of these is an error with this reason.
REFUSED: dict[str, str] = {
    # loss
    "label_smoothing_factor": "InfoNCE has no label distribution to smooth; soften the scores with --loss_scale",
    "label_names": "triplets have no labels",
    "neftune_noise_alpha": "noise on the token embeddings would make a text's vector depend on more than the text",
    "average_tokens_across_devices": "the loss is averaged over queries, not over tokens",
    # data order: negatives come from the batch, so who is in the batch is part of the loss
    "length_column_name": "rows are not grouped by length",
    "dataloader_drop_last": "a last, smaller batch is used, on every number of processes",
    "dataloader_pin_memory": "a batch holds token ids as lists; its chunks are moved to the device one by one",
    "dataloader_multiprocessing_context": "the workers are started in the platform's own way",
    "dataloader_in_order": "the order of rows must not depend on timing, or no run can be repeated or resumed",
    "ignore_data_skip": "a resumed run would see other rows than the undisturbed one",
    "accelerator_config": "splitting or dispatching batches would change which texts are negatives of each other",
    "remove_unused_columns": "the columns are texts, not arguments of forward: all would be removed",
    "auto_find_batch_size": "a smaller batch is another loss (fewer negatives): bound memory with --chunk_tokens",
    "include_num_input_tokens_seen": "a batch holds texts of three roles, not one input_ids; tokens are logged anyway",
    # model
    "use_cache": "an embedder reads a text once: a key-value cache would be built for nothing",
    "use_liger_kernel": "its replaced kernels are not verified against our vectors",
    "liger_kernel_config": "its replaced kernels are not verified against our vectors",
    "torch_compile": _COMPILE,
    "torch_compile_backend": _COMPILE,
    "torch_compile_mode": _COMPILE,
    "bf16_full_eval": "it casts the pooling too, whose norms and softmax must stay in fp32",
    "fp16_full_eval": "it casts the pooling too, whose norms and softmax must stay in fp32",
    "torch_empty_cache_steps": "the training step is our own and empties no cache: bound memory with --chunk_tokens",
    "optim_target_modules": "GaLore and APOLLO act on full weights; here LoRA and the pooling are trained",
    # engines
    "ddp_static_graph": "with gradient caching the number of forward passes changes: DDP crashes or is silently wrong",
    "ddp_find_unused_parameters": "every trainable parameter is used; with checkpointing it can crash",
    "fsdp": _LAUNCHER,
    "fsdp_config": _LAUNCHER,
    "deepspeed": _LAUNCHER,
    "parallelism_config": "tensor, context and sequence parallelism are not verified to give the exact gradient",
    # logging and evaluation
    "logging_nan_inf_filter": "a loss that is not finite stops the run instead of being logged",
    "prediction_loss_only": _LOSS_ONLY,
    "include_for_metrics": _LOSS_ONLY,
    "batch_eval_metrics": _LOSS_ONLY,
    "eval_do_concat_batches": _LOSS_ONLY,
    "eval_use_gather_object": _LOSS_ONLY,
    "eval_accumulation_steps": _LOSS_ONLY,
    "do_eval": "give --eval_dataset, and --eval_strategy if not after each epoch",
    "do_train": "training is what this command does; --dry_run tries it without leaving anything behind",
    "do_predict": "encode with EmbedModel.encode, score with run_mteb.py",
    # checkpoints
    "load_best_model_at_end": _BEST,
    "metric_for_best_model": _BEST,
    "greater_is_better": _BEST,
    "save_on_each_node": "the first process of the run writes the checkpoints, whole or not at all",
    "enable_jit_checkpoint": "it saves in the middle of a step, and not on all processes at the same one",
    "push_to_hub": _UPLOAD,
    "hub_token": _UPLOAD,
    "hub_private_repo": _UPLOAD,
    "hub_model_id": _UPLOAD,
    "hub_strategy": _UPLOAD,
    "hub_always_push": _UPLOAD,
    "hub_revision": _UPLOAD,
}

# Refused by value: flag -> {value or its beginning: reason}.
REFUSED_VALUES: dict[str, dict[str, str]] = {
    "save_strategy": {"best": _BEST},
    "lr_scheduler_type": dict.fromkeys(("reduce_lr_on_plateau", "greedy"), _EVALUATIONS),
    "train_sampling_strategy": dict.fromkeys(
        ("group_by_length", "batch_rebalance"),
        "it would change which texts are negatives of each other; --chunk_tokens avoids padding without that",
    ),
    "optim": dict.fromkeys(
        ("galore", "apollo", "lomo", "adalomo"),
        "it updates inside the backward pass or acts on full weights; here LoRA and the pooling are trained",
    ),
}


def inherited_flags() -> dict[str, Flag]:
    """Return TrainingArguments' flags with our defaults, its deprecated aliases left out. Imports transformers."""
    from transformers import TrainingArguments

    flags = flags_of(TrainingArguments)
    for old, new in RENAMED.items():
        if new in flags:
            flags.pop(old, None)
    return {name: dataclasses.replace(flag, default=DEFAULTS.get(name, flag.default)) for name, flag in flags.items()}


def current_name(name: str, flags: Mapping[str, Flag]) -> str:
    """Return what the flag ``name`` is called today."""
    new = RENAMED.get(name, name)
    return new if new in flags else name


def refuse(values: Mapping[str, Any], flags: Mapping[str, Flag]) -> None:
    """Check the given, converted values against the tables.

    Raises:
        UserError: the first that cannot be honoured, with the reason.
    """
    for name, value in values.items():
        if name in REFUSED and name in flags and value != flags[name].default:
            raise UserError(f"--{name} {_shown(value)} cannot be honoured: {REFUSED[name]}")
        for start, reason in REFUSED_VALUES.get(name, {}).items():
            if str(value).startswith(start):
                raise UserError(f"--{name} {value} cannot be honoured: {reason}")
    kwargs = values.get(current_name("gradient_checkpointing_kwargs", flags))
    if kwargs is not None and "use_reentrant" in str(kwargs) and "true" in str(kwargs).lower():
        raise UserError(
            "--gradient_checkpointing_kwargs with use_reentrant true cannot be honoured: reentrant checkpointing "
            "does not go with gradient caching and DDP; leave it out (non-reentrant is the default)"
        )


def build_training_arguments(values: dict[str, Any]) -> Any:
    """Return ``transformers.TrainingArguments`` from the given values and our defaults.

    Raises:
        UserError: what TrainingArguments itself refuses, and a contradiction with the launcher's mixed precision.
    """
    import torch
    from transformers import TrainingArguments

    values = {**DEFAULTS, **values}
    values["report_to"] = values["report_to"] or "none"  # TrainingArguments would make [None] of a YAML null
    launched = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if launched in ("bf16", "fp16") and not (values.get("bf16") or values.get("fp16")):
        if values.get(launched) is False:
            raise UserError(
                f"--{launched} false contradicts mixed_precision: {launched} of the accelerate config file, which "
                "would win silently: set mixed_precision: 'no' there, or launch with --mixed_precision no"
            )
        values[launched] = True
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


def plain_training_values(training: Any) -> dict[str, Any]:
    """Return the inherited flags and their values, ready for JSON: enums as texts, refused ones left out."""
    values: dict[str, Any] = {}
    for name in inherited_flags():
        if name in REFUSED or name == "local_rank":
            continue
        value = getattr(training, name)
        if isinstance(value, enum.Enum):
            value = value.value
        if isinstance(value, list):
            value = [item.value if isinstance(item, enum.Enum) else item for item in value]
        values[name] = value
    values["report_to"] = values["report_to"] or "none"
    values["debug"] = " ".join(values["debug"])
    return values


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
