"""Train a design on triplets; ``trainers/model1_trainer.py`` … ``model5_trainer.py`` call this with their design.

One GPU or the CPU::

    python trainers/train.py --design model3 --model_name_or_path BASE --dataset_name triplets.jsonl --output_dir runs/model3

Several GPUs::

    accelerate launch --config_file accelerate_config.yaml trainers/train.py --design model3 ...

``--help`` shows the flags of the toolkit, ``--help_all`` those of ``transformers.TrainingArguments`` too, and
``--config file.yaml`` takes them from a file.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a script's own folder is on sys.path, the root is not

from common.errors import WRITE_ERRORS, DivergedError, SharedError, UserError
from trainers.command_line import parse
from trainers.run_files import CONFIG_FILE, DIVERGED_FILE, RESULT_FILE
from trainers.stopping import Stopped, stop_requests

if TYPE_CHECKING:
    from model_loaders.embed_model import EmbedModel
    from model_loaders.manifest import Recipe
    from trainers.arguments import ModelArguments, TrainConfig
    from trainers.stopping import StopRequest
    from trainers.trainer import ContrastiveTrainer
    from triplets.arguments import DataArguments


def main(argv: Sequence[str] | None = None, *, design: str | None = None) -> int:
    """Parse the arguments and train; returns the exit status."""
    rank = os.environ.get("RANK", "0")
    try:
        with stop_requests():
            config = parse(sys.argv[1:] if argv is None else argv, design=design)
        train(config)
    except Stopped as stopped:
        if rank == "0":
            print(f"\n{stopped}", file=sys.stderr)
        return stopped.exit_code
    except KeyboardInterrupt:
        print("\nstopped; go on from the last checkpoint with --resume_from_checkpoint true", file=sys.stderr)
        return 130
    except (UserError, *WRITE_ERRORS) as error:
        if rank == "0" or not isinstance(error, SharedError):
            print(f"{f'process {rank}: ' if rank != '0' else ''}error: {error}", file=sys.stderr)
        return 1
    return 0


def train(config: TrainConfig) -> None:
    """Run one training from its resolved configuration to an adapter directory in ``--output_dir``.

    Raises:
        UserError: the run cannot start, go on or be written.
        Stopped: a signal asked for it; what was trained so far is in a checkpoint.
    """
    with stop_requests() as stop:
        _train(config, stop)


def _train(config: TrainConfig, stop: StopRequest) -> None:
    from trainers.checkpoints import check_fits
    from trainers.flow import CheckpointFlow
    from trainers.metrics import truncation_warning
    from trainers.progress import say, show_progress
    from trainers.resuming import clear_leftovers, find_checkpoint, is_finished
    from trainers.together import from_first

    output_dir, world_size = Path(config.training.output_dir), config.training.world_size  # starts the process group
    if config.run.dry_run:
        from trainers.dry_run import dry_run

        dry_run(config)
        return
    asked = config.training.resume_from_checkpoint
    if asked and from_first(lambda: is_finished(output_dir, recorded(config))):
        if config.training.process_index == 0:
            print(f"the run in {output_dir} is finished, and its adapter is there; raise --max_steps or --num_train_epochs to "
                  "train it further")  # fmt: skip
        return
    trainer = build_trainer(config)
    optimizer = trainer.contrastive_step.engine.optimizer_file
    resume = from_first(
        lambda: find_checkpoint(asked, output_dir, processes=world_size, optimizer=optimizer, **trainer.known_by)
    )
    model: EmbedModel = trainer.model
    if resume is not None:
        check_fits(model, resume)  # before anything in the output directory is touched
    before = model.fingerprints()
    if trainer.accelerator.is_main_process:
        output_dir.mkdir(parents=True, exist_ok=True)
        clear_leftovers(output_dir, resume)
        write_json(recorded(config), output_dir / CONFIG_FILE)
    trainer.add_callback(CheckpointFlow(stop, trainer.evaluate))
    progress = show_progress(trainer)
    try:
        steps, metrics = trainer.train_from(resume)
    except DivergedError as error:
        if trainer.accelerator.is_main_process:
            write_json({"reason": str(error)}, output_dir / DIVERGED_FILE)
        raise
    finally:
        progress.close()  # or an error's message would stand behind the bar
    if stop.agreed:
        raise Stopped(stop.agreed, f"after step {steps}, which is saved in {output_dir / f'checkpoint-{steps}'}; the same "
                                   "command with --resume_from_checkpoint true goes on from there")  # fmt: skip
    after = model.fingerprints()
    moved = float(1.0 - (after * before).sum(axis=1).min())
    if resume is None and steps > 0 and (after == before).all():
        raise UserError("training changed nothing: the probe texts' vectors are those of the untrained model. Is the learning "
                        "rate 0, or --max_steps within the warm-up?")  # fmt: skip
    trainer.save_final(output_dir)
    truncated = trainer.seen.truncated(trainer.accelerator)
    if trainer.accelerator.is_main_process:
        summary = {"steps": steps, "largest_cosine_change_of_a_probe_text": moved, **truncated, **metrics}
        write_json(summary, output_dir / RESULT_FILE)
        cut = "; cut were {truncated_queries:.1%} of the queries, {truncated_documents:.1%} of the documents"
        print(
            f"saved {model.design_name} to {output_dir} after {steps} steps; "
            f"probe texts moved by up to {moved:.3f} in cosine{cut.format(**truncated) if truncated else ''}"
        )
        if warning := truncation_warning(truncated, model.recipe):
            say(f"warning: {warning}")


def recorded(config: TrainConfig) -> dict[str, Any]:
    """Return the resolved flags, without those that only say how this start of the run came about."""
    given_here = {"resume_from_checkpoint"} | ({"use_cpu"} - config.given)
    return {name: value for name, value in config.resolved().items() if name not in given_here}


def build_trainer(config: TrainConfig) -> ContrastiveTrainer:
    """Build model, data and trainer, checking first what is cheap to check."""
    from trainers.banner import banner
    from trainers.batching import TripletCollator
    from trainers.checkpoints import weights_digest
    from trainers.loss import ContrastiveLoss
    from trainers.metrics import MetricsFile
    from trainers.preflight import check_gpus, check_negatives, check_positions, check_processes
    from trainers.resuming import check_output_dir
    from trainers.trainer import ContrastiveTrainer
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
    from model_loaders.loading import create, load_design
    from trainers.lora_options import lora_options

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
        pooling_sizes={
            "latents": model.pooling_latents,
            "heads": model.pooling_heads,
            "head_dim": model.pooling_head_dim,
        },
        recipe=recipe,
        seed=training.seed,
        dtype=model.torch_dtype,
        attn_implementation=model.attn_implementation,
        device=training.device,
        quantisation="4bit" if model.load_in_4bit else "8bit" if model.load_in_8bit else "",
    )


def recipe_of(model: ModelArguments, data: DataArguments) -> Recipe:
    """Return the prompts and lengths that the flags say."""
    from model_loaders.manifest import Recipe

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


def write_json(data: Any, path: Path) -> None:
    """Write JSON whole or not at all."""
    temporary = path.with_suffix(".partial")
    temporary.write_text(json.dumps(data, indent=2, default=str) + "\n", encoding="utf-8")
    temporary.replace(path)


if __name__ == "__main__":
    sys.exit(main())
