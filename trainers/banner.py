"""What a run says of itself before the first step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_loaders.manifest import library_versions
from trainers.preflight import check_positions

if TYPE_CHECKING:
    from trainers.arguments import TrainConfig
    from trainers.trainer import ContrastiveTrainer


def banner(config: TrainConfig, trainer: ContrastiveTrainer) -> str:
    """Describe the run: design, parameters, batch and negatives, recipe, versions."""
    model, training = trainer.model, config.training
    processes = trainer.accelerator.num_processes
    queries = training.per_device_train_batch_size * processes
    rows = trainer.train_dataset
    sample = [len(row["negatives"]) for row in rows.sample(1000)]
    negatives = queries - 1 + queries * sum(sample) / max(len(sample), 1)
    parts = {
        "LoRA": sum(p.numel() for name, p in model.named_parameters() if "lora_" in name and p.requires_grad),
        "pooling": sum(p.numel() for p in model.pooling.parameters()) if model.pooling is not None else 0,
    }
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    recipe = model.recipe
    lines = [
        f"design          {model.design_name}: {model.design.summary}",
        f"base model      {model.base_model.name_or_path} ({frozen:,} frozen parameters, {model.dtype}, {model.device})",
        "trainable       " + ", ".join(f"{name} {count:,}" for name, count in parts.items()),
        f"triplets        {len(rows):,}",
        *data_lines(config, trainer),
        f"batch           {queries} queries ({training.per_device_train_batch_size} x {processes} processes), "
        f"about {negatives:.0f} negatives a query",
        f"lengths         queries {recipe.length('query')} tokens, documents {recipe.length('document')}",
        f"prompts         query {recipe.query_prompt!r}, document {recipe.document_prompt!r}",
        f"loss            {config.contrastive.loss}, scale {config.contrastive.loss_scale}",
        f"seed            {training.seed}",
        "versions        " + ", ".join(f"{name} {version}" for name, version in library_versions().items()),
    ]
    if note := check_positions(model):
        lines.append(f"note            {note}")
    if training.gradient_accumulation_steps > 1:
        lines.append(
            f"note            accumulating {training.gradient_accumulation_steps} batches averages their gradients; it adds no "
            "negatives. For a larger contrastive batch raise --per_device_train_batch_size and bound memory by --chunk_tokens."
        )
    return "\n".join(lines)


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
