"""Flags inherited from ``transformers.TrainingArguments``: our defaults, other names, and the refused ones.

A contrastive trainer with its own loss, data order and checkpoints cannot honour all of them. A flag that it cannot honour
is refused when it is given with another value than its default, with the reason: a flag that does nothing is worse than none.
Tables stand here, which `trainers.flags.checks` applies, and the flags whose work the toolkit does in Trainer's place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trainers.flags.flag import option


@dataclass
class HubArguments:
    """The upload of the finished adapter."""

    push_to_hub: bool = option(False, "After training, send the adapter to the hub with a model card, in one commit.")
    hub_model_id: str | None = option(None, "Its repository, OWNER/NAME. Unset: of the token's owner, named as --output_dir.")
    hub_private_repo: bool = option(False, "Make the repository private, if it is new.")
    hub_base_name: str | None = option(
        None, "The base LLM's name on the hub, where --model_name_or_path is a folder of this machine."
    )
    hub_licence: str | None = option(None, "Licence of the adapter, by the hub's name, such as apache-2.0.")


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

# Other names of a flag, with the same values.
RENAMED: dict[str, str] = {
    "gradient_checkpointing": "activation_checkpointing",
    "gradient_checkpointing_kwargs": "activation_checkpointing_kwargs",
    "evaluation_strategy": "eval_strategy",
    "no_cuda": "use_cpu",
    "warmup_ratio": "warmup_steps",  # a float below 1 is a ratio of all steps
    "per_gpu_train_batch_size": "per_device_train_batch_size",
    "per_gpu_eval_batch_size": "per_device_eval_batch_size",
}

# Flags of published launch commands that no longer exist: the value that changes nothing, and the advice for any other value.
GONE: dict[str, tuple[str, str]] = {
    "overwrite_output_dir": ("false", "nothing is ever overwritten: give a new --output_dir, or delete the old one"),
    "group_by_length": (
        "false",
        "it would change which texts are negatives of each other; --chunk_tokens avoids padding without touching the batches",
    ),
    "save_safetensors": ("true", "adapters are always saved as safetensors; pickles are not written"),
    "simcse_dropout": ("", "nothing ever read it in the published scripts; dropout is --lora_dropout"),
}

_UPLOAD = "the finished adapter is sent once, with its newest commit: --push_to_hub, and --hub_model_id for its name"
_COMPILE = "gradient caching and checkpointing under torch.compile are not verified to give the exact gradient"
_LAUNCHER = "choose the engine in the launcher's file: accelerate launch --config_file configs/accelerate/..."
_BEST = "the best checkpoint is kept beside others, by which a run goes on: give --load_best_model_at_end with --save_steps"
_EVALUATIONS = (
    "its rates depend on evaluations, and a run that goes on may make others: take a schedule of the steps, such as cosine or "
    "warmup_stable_decay"
)
_LOSS_ONLY = "evaluation during training computes the loss, and with --eval_tasks the scores of tasks"

# Flags of our own by the same names (`trainers.scoring.arguments`): Trainer itself is not told of them.
OURS = ("load_best_model_at_end", "metric_for_best_model")

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
    "do_eval": "give --eval_dataset or --eval_tasks, and --eval_strategy if not after each epoch",
    "do_train": "training is what this command does; --dry_run tries it without leaving anything behind",
    "do_predict": "encode with EmbedModel.encode, score with run_mteb.py",
    # checkpoints
    "greater_is_better": "it follows from --metric_for_best_model: a loss is best low, every other figure high",
    "save_on_each_node": "the first process of the run writes the checkpoints, whole or not at all",
    "enable_jit_checkpoint": "it saves in the middle of a step, and not on all processes at the same one",
    "hub_token": "others see a command line: log in with hf auth login, or set HF_TOKEN",
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
    "optim": {
        **dict.fromkeys(
            ("galore", "apollo", "lomo", "adalomo"),
            "it updates inside the backward pass or acts on full weights; here LoRA and the pooling are trained",
        ),
        "schedule_free": "its weights are others while it trains than in evaluations and checkpoints, and the training step is "
        "our own and switches none: it would stop at the first step; take adamw_torch_fused with --lr_scheduler_type constant",
    },
}
