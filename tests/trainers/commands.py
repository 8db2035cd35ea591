"""The command line of a tiny training run."""

from __future__ import annotations

import json
from pathlib import Path

from tests.tiny import triplets

SMALL = ("--pooling_latents", "6", "--pooling_heads", "2", "--pooling_head_dim", "4")


def arguments(base: Path, folder: Path, *more: str) -> list[str]:
    """Write eight rows and return the flags of a run of four steps on them."""
    rows = folder / "rows.jsonl"
    given = [{"query": row["query"], "positive": row["positive"], "negative": row["negatives"]} for row in triplets(8)]
    rows.write_text("".join(json.dumps(row) + "\n" for row in given))
    return ["--model_name_or_path", str(base), "--dataset_name", str(rows), "--output_dir", str(folder / "out"), "--use_cpu",
            "--per_device_train_batch_size", "4", "--save_strategy", "no", "--max_steps", "4", "--logging_steps", "2",
            "--learning_rate", "0.01", *more]  # fmt: skip
