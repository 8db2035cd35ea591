"""What a run says of itself before the first step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from common.words import quantity
from model_loaders.layouts.manifest import library_versions
from trainers.memory.longest_batch import longest_batch
from trainers.memory.plan import plan_or_reason
from trainers.run.preflight import check_positions

if TYPE_CHECKING:
    from trainers.flags.train_config import TrainConfig
    from trainers.run.trainer import ContrastiveTrainer


SAMPLE = 256  # rows that tokens and negatives are counted on


def banner(config: TrainConfig, trainer: ContrastiveTrainer) -> str:
    """Describe the run: design, parameters, data, batch, negatives, tokens, memory, recipe, engine, seeds, versions."""
    model, training, contrastive = trainer.model, config.training, config.contrastive
    parts = {
        "LoRA": sum(p.numel() for name, p in model.named_parameters() if "lora_" in name and p.requires_grad),
        "pooling": sum(p.numel() for p in model.pooling.parameters()) if model.pooling is not None else 0,
    }
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    recipe, rows = model.recipe, trainer.train_dataset
    sample = rows.sample(SAMPLE)
    memory = plan_or_reason(trainer, longest_batch(rows, trainer.data_collator, training.per_device_train_batch_size))
    lines = [
        f"design          {model.design_name}: {model.design.summary}",
        f"base model      {model.base_model.name_or_path} ({frozen:,} frozen parameters, {model.dtype}, {model.device})",
        "trainable       " + ", ".join(f"{name} {count:,}" for name, count in parts.items()),
        f"triplets        {len(rows):,}",
        *data_lines(config, trainer),
        *batch_lines(trainer, sample),
        f"lengths         queries {recipe.length('query')} tokens, documents {recipe.length('document')}",
        f"prompts         query {recipe.query_prompt!r}, document {recipe.document_prompt!r}",
        f"loss            {contrastive.loss}, scale {contrastive.loss_scale}"
        + (", both directions" if contrastive.both_directions else "")
        + ("" if contrastive.similarity_margin is None else f", similarity margin {contrastive.similarity_margin:g}")
        + ("" if contrastive.chunk_tokens is None else f", in chunks of {contrastive.chunk_tokens} tokens"),
        f"optimizer       {plain(training.optim)}, learning rate {training.learning_rate:g}"
        + ("" if contrastive.pooling_learning_rate is None else f", of the pooling {contrastive.pooling_learning_rate:g}")
        + f", {plain(training.lr_scheduler_type)} schedule",
        f"memory          {memory}",
        f"engine          {trainer.accelerator.distributed_type.value}, {trainer.accelerator.num_processes} processes, "
        f"mixed precision {trainer.accelerator.mixed_precision}",
        f"seeds           {training.seed}, data {training.seed if training.data_seed is None else training.data_seed}",
        "versions        " + ", ".join(f"{name} {version}" for name, version in library_versions().items()),
        *(f"note            {note}" for note in notes(trainer) if note),
    ]
    return "\n".join(lines)


def batch_lines(trainer: ContrastiveTrainer, sample: Sequence[dict[str, Any]]) -> list[str]:
    """Say what a batch is, what a query is compared with, and how many tokens a step reads, counted on some rows."""
    step, own = trainer.contrastive_step, trainer.args.per_device_train_batch_size
    queries, accumulated = own * step.processes.count, trainer.args.gradient_accumulation_steps
    several = f" x {accumulated} batches an optimizer step" if accumulated > 1 else ""
    tokens, padding = tokens_of(trainer, sample)
    return [
        f"batch           {queries} queries ({own} x {step.processes.count} processes){several}",
        f"negatives       {negatives_line(sample, queries if step.processes.share_negatives else own)}",
        f"tokens          about {quantity(tokens * queries * accumulated)} a step, and {padding:.0%} padding",
    ]


def negatives_line(sample: Sequence[dict[str, Any]], queries: int) -> str:
    """Say how many negatives a query has: hard ones, and of other queries that share its loss.

    Args:
        sample: rows.
        queries: how many share a loss.
    """
    hard = sum(len(row["negatives"]) for row in sample) / len(sample)
    shared = sum(bool(row.get("in_batch", True)) for row in sample) / len(sample)
    alone = f"{hard:.3g} hard ones of its own"
    if not shared:
        return f"{alone} a query, none of the batch"
    others = (queries - 1) * (1 + hard)
    told = f"{hard + others:.0f} a query: {alone}, {queries - 1} positives and {others - (queries - 1):.0f} hard ones of others"
    return told if shared == 1 else f"{told}; {1 - shared:.0%} of the queries have {alone} alone"


def tokens_of(trainer: ContrastiveTrainer, sample: Sequence[dict[str, Any]]) -> tuple[float, float]:
    """Return the tokens of a row, and how many more padding adds, as a share."""
    own = trainer.args.per_device_train_batch_size
    real = padded = 0
    for start in range(0, len(sample), own):
        lengths = [len(ids) for ids in trainer.data_collator(sample[start : start + own]).ids]
        real += sum(lengths)
        groups = trainer.contrastive_step.groups(lengths)
        padded += sum(lengths[group[0]] * len(group) for group in groups)  # the longest comes first
    return real / len(sample), padded / real - 1


def notes(trainer: ContrastiveTrainer) -> list[str]:
    """Return what is probably not meant."""
    accumulated = trainer.args.gradient_accumulation_steps
    accumulating = (
        f"accumulating {accumulated} batches averages their gradients; it adds no negatives. For a larger contrastive batch "
        "raise --per_device_train_batch_size and bound memory by --chunk_tokens."
    )
    return [check_positions(trainer.model), accumulating if accumulated > 1 else ""]


def plain(value: Any) -> str:
    """Return the text of a setting that may be an enum."""
    return str(getattr(value, "value", value))


def data_lines(config: TrainConfig, trainer: ContrastiveTrainer) -> list[str]:
    """Say what an epoch takes of each data set, where there are several."""
    rows = trainer.train_dataset
    total = sum(share.taken for share in rows.shares)
    if len(rows.parts) == 1:
        return []
    lines = [f"batching        {config.data.batching}, {len(trainer.plan()):,} batches of {total:,} rows an epoch"]
    for part, share in zip(rows.parts, rows.shares, strict=True):
        alone = "" if part.in_batch else ", no in-batch negatives"
        lines.append(
            f"  {part.label:<13} {share.taken:,} of {share.rows:,} rows an epoch, {share.taken / total:.1%} of all{alone}"
        )
    return lines
