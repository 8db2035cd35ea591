"""A run's model, data and trainer, built from its configuration."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import UserError

if TYPE_CHECKING:
    from model_loaders.embed_model import EmbedModel
    from model_loaders.layouts.manifest import Recipe
    from trainers.flags.arguments import ModelArguments
    from trainers.flags.train_config import TrainConfig
    from trainers.run.trainer import ContrastiveTrainer
    from triplets.arguments import DataArguments


def recorded(config: TrainConfig) -> dict[str, Any]:
    """Return the resolved flags, without those that only say how this start of the run came about."""
    given_here = {"resume_from_checkpoint"} | ({"use_cpu"} - config.given)
    return {name: value for name, value in config.resolved().items() if name not in given_here}


def build_trainer(config: TrainConfig) -> ContrastiveTrainer:
    """Build model, data and trainer, checking first what is cheap to check."""
    from trainers.checkpoints.resuming import check_output_dir
    from trainers.checkpoints.write import weights_digest
    from trainers.monitor.metrics import MetricsFile
    from trainers.run.banner import banner
    from trainers.run.preflight import check_gpus, check_negatives, check_positions, check_processes
    from trainers.run.trainer import ContrastiveTrainer
    from trainers.step.batch import TripletCollator
    from trainers.step.loss import ContrastiveLoss
    from triplets.arguments import mixing
    from triplets.read import read_eval_triplets, read_triplets

    check_processes(config.training.world_size, os.environ)
    check_gpus(config.training.n_gpu)
    resume = config.training.resume_from_checkpoint
    check_output_dir(Path(config.training.output_dir), recorded(config), resume=resume)
    rows = read_triplets(config.data, cache_dir=config.model.cache_dir)
    sharing = config.training.world_size if config.contrastive.negatives_across_processes else 1
    queries = config.training.per_device_train_batch_size * sharing
    check_negatives(rows, queries, homogeneous=config.data.batching == "homogeneous")
    eval_rows = read_eval_triplets(config.data, cache_dir=config.model.cache_dir)
    model = build_model(config)
    check_positions(model)
    contrastive = config.contrastive
    trainer = ContrastiveTrainer(
        model,
        config.training,
        rows,
        TripletCollator(model.tokenizer, model.recipe),
        eval_rows=eval_rows,
        mixing=mixing(config.data.batching),
        loss=ContrastiveLoss(
            contrastive.loss_scale,
            mask_duplicates=contrastive.loss == "default",
            similarity_margin=contrastive.similarity_margin,
            both_directions=contrastive.both_directions,
        ),
        negatives_across_processes=contrastive.negatives_across_processes,
        chunk_tokens=contrastive.chunk_tokens,
        pooling_learning_rate=contrastive.pooling_learning_rate,
        start="" if config.model.peft_model_name_or_path is None else weights_digest(model),
        callbacks=[MetricsFile(Path(config.training.output_dir))],
    )
    if trainer.accelerator.is_main_process:
        print(banner(config, trainer), flush=True)
    return trainer


def build_model(config: TrainConfig) -> EmbedModel:
    """Make a new model of the design, or load the adapter to go on from."""
    from model_loaders.create import create, sizes_from_flags
    from model_loaders.designs import get_design
    from model_loaders.loading import load_design
    from trainers.flags.lora import lora_options

    model, training = config.model, config.training
    recipe = recipe_of(config.model, config.data)
    if model.peft_model_name_or_path is not None:
        loaded = load_design(
            config.design,
            model.model_name_or_path,
            model.peft_model_name_or_path,
            model.cache_dir,
            dtype=None if model.torch_dtype == "auto" else model.torch_dtype,
            attn_implementation=model.attn_implementation,
            device=training.device,
            num_heads=model.pooling_heads if "pooling_heads" in config.given else None,
            trainable=True,
        )
        loaded.recipe = continued_recipe(loaded.recipe, recipe, config.given)
        return loaded
    if model.model_name_or_path is None:
        raise UserError("--model_name_or_path is missing: the base LLM, a hub name or a directory")
    return create(
        config.design,
        model.model_name_or_path,
        model.cache_dir,
        lora=lora_options(model),
        pooling_sizes=sizes_from_flags(get_design(config.design), vars(model)),
        recipe=recipe,
        seed=training.seed,
        dtype=model.torch_dtype,
        attn_implementation=model.attn_implementation,
        device=training.device,
        quantisation="4bit" if model.load_in_4bit else "8bit" if model.load_in_8bit else "",
    )


def recipe_of(model: ModelArguments, data: DataArguments) -> Recipe:
    """Return the prompts and lengths that the flags say."""
    from model_loaders.layouts.manifest import Recipe

    return Recipe(
        query_prompt=model.query_prompt,
        document_prompt=model.document_prompt,
        max_length=data.max_seq_length,
        query_max_length=data.query_max_length,
        task_prompts=model.task_prompts,
        prompt_template=model.prompt_template,
    )


def continued_recipe(adapter: Recipe, given: Recipe, flags: Collection[str]) -> Recipe:
    """Return the adapter's recipe, with what this run gives of prompts and lengths: ``flags`` are the names of those given."""
    import dataclasses

    fields = {name: name for name in ("query_prompt", "document_prompt", "task_prompts", "prompt_template")}
    fields |= {"max_seq_length": "max_length", "query_max_length": "query_max_length"}
    changed = {field: getattr(given, field) for flag, field in fields.items() if flag in flags}
    return dataclasses.replace(adapter, **changed)
