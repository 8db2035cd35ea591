"""The training of an adapter, for its card, from the files that a run leaves in the adapter's folder. No path of it is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from common.files import read_json
from model_loaders.hub import looks_local

RUN, RESULT = "train_config.json", "train_result.json"
TOLD = (
    "max_steps",
    "num_train_epochs",
    "per_device_train_batch_size",
    "learning_rate",
    "lr_scheduler_type",
    "warmup_steps",
    "temperature",
    "loss",
    "matryoshka_dims",
    "lora_r",
    "bf16",
    "seed",
)


def training_of(adapter: Path) -> str:
    """Return a list of facts of a run as Markdown; empty where the folder has no run in it."""
    config = read_json(adapter / RUN) if (adapter / RUN).is_file() else {}
    lines = []
    data = config.get("dataset_name")
    if data:
        lines.append(f"- data: {public_name(str(data))}")
    for name in TOLD:
        value = config.get(name)
        if value not in (None, "", [], -1):
            lines.append(f"- {name}: {value}")
    result = read_json(adapter / RESULT) if (adapter / RESULT).is_file() else {}
    for name, value in sorted(result.items()):
        if is_number(value):
            lines.append(f"- {name}: {value:.4g}")
    return "\n".join(lines)


def is_number(value: Any) -> bool:
    """Whether a value is a number, and no truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def public_name(name: str) -> str:
    """Return a hub name as it is, and the last part of a path."""
    local = looks_local(name) or Path(name).expanduser().exists() or name.startswith("~")
    return f"`{Path(name).name}` (a local file)" if local else f"`{name}`"
