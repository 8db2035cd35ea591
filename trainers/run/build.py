"""A run's model, data and trainer, built from its configuration."""

from __future__ import annotations

import dataclasses
import math
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import UserError
from common.files import read_json
from model_loaders import LoadOptions, load_design
from model_loaders.backbone.dropout import set_attention_dropout
from model_loaders.backbone.load import train_weights
from model_loaders.backbone.lora_targets import Continued, as_in_checkpoint
from model_loaders.create import create, sizes_from_flags
from model_loaders.designs import get_design
from model_loaders.embed_model import EmbedModel
from model_loaders.layouts.tensors import LORA_CONFIG
from trainers.checkpoints.output_dir import check_output_dir
from trainers.checkpoints.read_back import weights_digest
from trainers.checkpoints.run_files import CONFIG_FILE, checkpoints
from trainers.flags.arguments import ModelArguments
from trainers.flags.checks import check_warmup
from trainers.flags.launcher import check_gpus, check_processes
from trainers.flags.lora import lora_options
from trainers.flags.train_config import TrainConfig
from trainers.memory.longest_batch import longest_batch
from trainers.monitor.metrics import MetricsFile
from trainers.run.banner import banner
from trainers.run.fit import fit_memory
from trainers.run.losses import loss_of, take_dimensions
from trainers.run.masked_trainer import masked_trainer
from trainers.run.preflight import (
    check_dropout,
    check_held_out,
    check_negatives,
    check_packing,
    check_positions,
    check_scores,
    check_texts,
)
from trainers.run.recipe import as_the_run_began, continued_recipe, recipe_of, take_recipe
from trainers.run.together import check_content
from trainers.run.trainer import ContrastiveOptions, ContrastiveTrainer
from trainers.scoring.attach import attach_scoring
from trainers.step.batch import TripletCollator
from triplets.arguments import mixing
from triplets.batch_plan import BatchPlan
from triplets.read import read_eval_triplets, read_triplets

if TYPE_CHECKING:
    from triplets.dataset import TripletRows


def read_data(config: TrainConfig) -> tuple[TripletRows, TripletRows | None]:
    """Return the rows of a run, and those to evaluate its loss on.

    Raises:
        UserError: they cannot be read, or the run cannot train on them.
    """
    rows = read_triplets(config.data, cache_dir=config.model.cache_dir)
    objective, training = config.objective.objective, config.training
    check_texts(rows, objective)
    if objective != "mntp":
        sharing = training.world_size if config.contrastive.negatives_across_processes else 1
        queries = training.per_device_train_batch_size * sharing
        homogeneous = config.data.batching == "homogeneous"
        check_negatives(rows, queries, homogeneous=homogeneous, own_positive=objective == "simcse")
        check_length(config, rows)
    eval_rows = read_eval_triplets(config.data, cache_dir=config.model.cache_dir)
    if eval_rows is not None and objective != "mntp":
        check_held_out(eval_rows, training.per_device_eval_batch_size)
    if config.contrastive.distillation is not None:
        for scored in (rows, eval_rows):
            if scored is not None:
                check_scores(scored)
    return rows, eval_rows


def build_trainer(config: TrainConfig) -> ContrastiveTrainer:
    """Build model, data and trainer; cheap checks come first."""
    training, contrastive = config.training, config.contrastive
    output_dir = Path(training.output_dir)
    check_processes(training.world_size, os.environ)
    check_gpus(training.n_gpu)
    check_output_dir(output_dir, config.record(), resume=training.resume_from_checkpoint)
    rows, eval_rows = read_data(config)
    masked = config.objective.objective == "mntp"
    model = build_model(config)
    check_positions(model)
    if config.model.attention_dropout is not None:
        set_attention_dropout(model.backbone, config.model.attention_dropout)
    check_dropout(model, config.objective.objective)
    start = "" if config.model.peft_model_name_or_path is None else weights_digest(model)
    if masked:
        trainer: ContrastiveTrainer = masked_trainer(config, model, rows, eval_rows, start)
        check_length(config, trainer.train_dataset)
    else:
        trainer = contrastive_trainer(config, model, rows, eval_rows, start)
    check_content(trainer.identity, None if eval_rows is None else trainer.eval_dataset.content, model)
    trainer.add_callback(MetricsFile(output_dir))
    attach_scoring(trainer, config.scoring, config.model.cache_dir, has_loss=eval_rows is not None)
    longest = longest_batch(trainer.train_dataset, trainer.data_collator, training.per_device_train_batch_size)
    memory = fit_memory(trainer, longest, contrastive.chunk_tokens)
    if trainer.is_world_process_zero():
        print(banner(trainer, memory), flush=True)
    return trainer


def contrastive_trainer(
    config: TrainConfig, model: EmbedModel, rows: TripletRows, eval_rows: TripletRows | None, start: str
) -> ContrastiveTrainer:
    """Build the trainer of a contrastive run; the arguments are those of `masked_trainer`."""
    contrastive = config.contrastive
    take_dimensions(model, contrastive)
    trainer = ContrastiveTrainer(
        model,
        config.training,
        rows,
        TripletCollator(
            model.tokenizer,
            model.recipe,
            with_scores=contrastive.distillation is not None,
            own_positive=config.objective.objective == "simcse",
        ),
        eval_rows=eval_rows,
        loss=loss_of(contrastive),
        options=ContrastiveOptions(
            mixing=mixing(config.data.batching),
            chunk_tokens=contrastive.token_budget,
            negatives_across_processes=contrastive.negatives_across_processes,
            pooling_learning_rate=contrastive.pooling_learning_rate,
            packing=contrastive.packing,
        ),
        start=start,
    )
    check_packing(contrastive.packing, trainer.contrastive_step.chunker.packs_up_to)
    return trainer


def with_saved_budget(config: TrainConfig) -> TrainConfig:
    """Return a configuration with the chunks that were chosen when the run began, if it goes on: its numbers stay the same.

    A run that an older version began has padded groups to its end.
    """
    resume = config.training.resume_from_checkpoint
    if not resume:
        return config
    folder = Path(resume).parent if isinstance(resume, str) else Path(config.training.output_dir)
    if not (folder / CONFIG_FILE).is_file():
        return config
    saved = read_json(folder / CONFIG_FILE)
    changes: dict[str, Any] = {}
    if config.contrastive.chunk_tokens == "auto":
        changes["chunk_tokens"] = saved.get("chunk_tokens")
    if "packing" not in saved:
        changes["packing"] = "off"
    return dataclasses.replace(config, contrastive=dataclasses.replace(config.contrastive, **changes))


def check_length(config: TrainConfig, rows: TripletRows) -> None:
    """Refuse a warm-up that is longer than a run of so many epochs, now that the rows are counted."""
    training = config.training
    if training.max_steps > 0:
        return
    check_warmup(training.warmup_steps, steps_of(config, rows))


def steps_of(config: TrainConfig, rows: TripletRows) -> int:
    """Return the optimizer steps of a run."""
    training = config.training
    if training.max_steps > 0:
        return int(training.max_steps)
    epochs: float = training.num_train_epochs
    return max(1, math.ceil(steps_of_epoch(config, rows) * epochs))


def steps_of_epoch(config: TrainConfig, rows: TripletRows) -> int:
    """Return the optimizer steps of an epoch."""
    training = config.training
    plan = BatchPlan(
        rows.shares,
        training.per_device_train_batch_size,
        seed=0,
        mixing=mixing(config.data.batching),
        processes=training.world_size,
    )
    accumulated: int = training.gradient_accumulation_steps
    return math.ceil(len(plan) / accumulated)


def build_model(config: TrainConfig) -> EmbedModel:
    """Make a new model of the design, or load the adapter to go on from."""
    model, training = config.model, config.training
    whole = model.train == "full"
    dtype = "float32" if whole else model.torch_dtype
    if model.peft_model_name_or_path is not None:
        loaded = load_design(
            config.design,
            None if whole else model.model_name_or_path,
            model.peft_model_name_or_path,
            model.cache_dir,
            dtype=None if dtype == "auto" else dtype,
            attn_implementation=model.attn_implementation,
            device=training.device,
            num_heads=model.pooling_heads if "pooling_heads" in config.explicit else None,
            trainable=True,
        )
        take_recipe(loaded, continued_recipe(loaded.recipe, model, config.data, config.explicit))
        return with_training(loaded, model)
    if model.model_name_or_path is None:
        raise UserError("--model_name_or_path is missing: the base LLM, a hub name or a directory")
    created = create(
        config.design,
        model.model_name_or_path,
        lora=lora_of(config) if model.train == "lora" else None,
        pooling_sizes=sizes_from_flags(get_design(config.design), vars(model)),
        recipe=as_the_run_began(recipe_of(model, config.data, config.explicit), config),
        seed=training.seed,
        options=LoadOptions(
            cache_dir=model.cache_dir,
            dtype=dtype,
            attn_implementation=model.attn_implementation,
            device=training.device,
            quantisation=quantisation_of(model),
        ),
    )
    return with_training(created, model)


def with_training(embedder: EmbedModel, flags: ModelArguments) -> EmbedModel:
    """Return a model in which what ``--train`` says has gradients.

    Raises:
        UserError: an adapter or checkpoint was given that does not go with it.
    """
    given = flags.peft_model_name_or_path
    if flags.train == "full":
        if embedder.has_lora:
            raise UserError(
                f"--train full: {given} holds LoRA, which is trained further without it; to train all weights, merge it first "
                "(a stage with start: merged)"
            )
        train_weights(embedder.backbone, flags.last_layers)
    elif given is not None and not embedder.has_lora and Path(given).resolve() == Path(embedder.base_model.name_or_path):
        raise UserError(
            f"{given} holds all weights of its model: --train full trains them further; LoRA begins on it with "
            f"--model_name_or_path {given}"
        )
    return embedder


def lora_of(config: TrainConfig) -> dict[str, Any]:
    """Return the LoRA options of a run; one that goes on keeps the targets that the default ones stood for when it began."""
    options, resume = lora_options(config.model), config.training.resume_from_checkpoint
    saved = checkpoints(Path(config.training.output_dir)) if resume else []
    if isinstance(resume, str):
        saved = [Path(resume)]
    for checkpoint in reversed(saved):
        with suppress(UserError):  # a damaged one is found, and put aside, later
            return Continued(as_in_checkpoint(options, read_json(checkpoint / LORA_CONFIG)))
    return options


def quantisation_of(model: ModelArguments) -> str:
    """Return the quantisation of the base LLM; empty for none."""
    if model.load_in_4bit:
        return "4bit"
    return "8bit" if model.load_in_8bit else ""
