"""Reading and damaging the files of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CLOCK = ("time", "tokens_per_second")


def weights(output: Path) -> bytes:
    """Return the bytes of an adapter's weights."""
    return (output / "adapter_model.safetensors").read_bytes() + (output / "pooling.safetensors").read_bytes()


def metrics(output: Path) -> list[dict[str, Any]]:
    """Return the lines of metrics without figures that depend on the clock; the summaries of starts are left out."""
    lines = []
    for text in (output / "metrics.jsonl").read_text().splitlines():
        line = json.loads(text)
        if "train_runtime" not in line:
            lines.append({key: value for key, value in line.items() if key not in CLOCK})
    return lines


def evaluated_steps(output: Path) -> list[int]:
    """Return the steps of the evaluations in the metrics."""
    return [line["step"] for line in metrics(output) if "eval_loss" in line]


def contents(folder: Path) -> dict[Path, bytes]:
    """Return every file below a folder."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def flip(path: Path) -> None:
    """Change one bit."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def cut(path: Path) -> None:
    """Cut the end off."""
    path.write_bytes(path.read_bytes()[:-100])
