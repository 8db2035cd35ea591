"""What a run says of itself: before the first step, and a line of figures for every log."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from model_loaders.manifest import library_versions

if TYPE_CHECKING:
    from trainers.arguments import TrainConfig
    from trainers.trainer import ContrastiveTrainer


def banner(config: TrainConfig, trainer: ContrastiveTrainer) -> str:
    """Describe the run: design, parameters, batch and negatives, recipe, versions."""
    model, training = trainer.model, config.training
    processes = trainer.accelerator.num_processes
    queries = training.per_device_train_batch_size * processes
    rows = trainer.train_dataset
    sample = [len(rows[index]["negatives"]) for index in range(min(len(rows), 1000))]
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
        f"batch           {queries} queries ({training.per_device_train_batch_size} x {processes} processes), "
        f"about {negatives:.0f} negatives a query",
        f"lengths         queries {recipe.length('query')} tokens, documents {recipe.length('document')}",
        f"prompts         query {recipe.query_prompt!r}, document {recipe.document_prompt!r}",
        f"loss            {config.contrastive.loss}, scale {config.contrastive.loss_scale}",
        f"seed            {training.seed}",
        "versions        " + ", ".join(f"{name} {version}" for name, version in library_versions().items()),
    ]
    if training.gradient_accumulation_steps > 1:
        lines.append(
            f"note            accumulating {training.gradient_accumulation_steps} batches averages their gradients; it adds no "
            "negatives. For a larger contrastive batch raise --per_device_train_batch_size and bound memory by --chunk_tokens."
        )
    return "\n".join(lines)


class MetricsFile(TrainerCallback):  # type: ignore[misc]
    """Appends every log line to ``metrics.jsonl`` in the output directory, on the main process."""

    def __init__(self, output_dir: Path) -> None:
        self.path = output_dir / "metrics.jsonl"

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Log and save as often as this command says, not as the checkpoint it goes on from remembers."""
        state.compute_steps(args, state.max_steps)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Write one line."""
        if state.is_world_process_zero and logs:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps({"step": state.global_step, "time": round(time.time(), 3), **logs}) + "\n")
