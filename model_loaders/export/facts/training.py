"""The training of an adapter, for its card, from the files that a run leaves in the adapter's folder. No path of it is told."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.files import read_json
from common.words import duration
from model_loaders.export.facts.licences import licence_of_data
from model_loaders.hub import looks_local

RUN, RESULT = "train_config.json", "train_result.json"
SETTINGS = (
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
# Of a run's result, told in words of their own or of no use to a reader.
NOT_LISTED = (
    "data_rows",
    "epoch",
    "processes",
    "steps",
    "tokens",
    "total_flos",
    "train_runtime",
    "train_samples_per_second",
    "train_steps_per_second",
)


def training_of(adapter: Path, data_licence: str = "") -> str:
    """Return the facts of a run as Markdown: data, cost, settings, figures; empty where the folder has no run in it.

    Args:
        adapter: the run's folder.
        data_licence: of the data, where their own card does not say it.
    """
    config = read_json(adapter / RUN) if (adapter / RUN).is_file() else {}
    result = read_json(adapter / RESULT) if (adapter / RESULT).is_file() else {}
    lines = [*data_lines(config, result, data_licence), *cost_lines(result)]
    settings = []
    for name in SETTINGS:
        value = config.get(name)
        if name == "num_train_epochs" and config.get("max_steps", -1) > 0:
            continue  # the number of steps goes before it
        if value not in (None, "", [], -1):
            settings.append(f"`{name}` {value}")
    if settings:
        lines.append(f"- settings: {', '.join(settings)}")
    figures = []
    for name, value in sorted(result.items()):
        if is_number(value) and name not in NOT_LISTED:
            figures.append(f"{name.replace('_', ' ')} {value:.4g}")
    if figures:
        lines.append(f"- figures: {', '.join(figures)}")
    return "\n".join(lines)


def data_lines(config: Mapping[str, Any], result: Mapping[str, Any], licence: str) -> list[str]:
    """Return a line for each data set, and one for the content of all."""
    lines = []
    for name in names_of(config):
        known = licence or licence_of_data(name)
        lines.append(f"- data: {public_name(name)}, licence: {known or 'not stated'}")
    content = []
    if is_number(result.get("data_rows")):
        content.append(f"{result['data_rows']:,} rows")
    if isinstance(result.get("data_content"), str):
        content.append(f"content hash `{result['data_content']}`")
    return [*lines, f"- read: {', '.join(content)}"] if content else lines


def hub_data(adapter: Path) -> list[str]:
    """Return the hub names of the data of the run that left its files in a folder."""
    config = read_json(adapter / RUN) if (adapter / RUN).is_file() else {}
    return [name for name in names_of(config) if is_hub_name(name)]


def names_of(config: Mapping[str, Any]) -> list[str]:
    """Return the names of a run's data sets."""
    if isinstance(config.get("dataset_config"), list):
        names = [entry.get("name") or entry.get("file") for entry in config["dataset_config"]]
    else:
        names = [config.get("dataset_name") or config.get("dataset_file_path")]
    return [str(name) for name in names if name]


def is_hub_name(name: str) -> bool:
    """Whether a name is none of a local file or folder."""
    is_file = Path(name).suffix.lower() in (".jsonl", ".json", ".gz", ".parquet", ".csv", ".tsv", ".arrow")
    return not (looks_local(name) or is_file or Path(name).expanduser().exists() or name.startswith("~"))


def cost_lines(result: Mapping[str, Any]) -> list[str]:
    """Return what the training cost: steps, tokens, time and machine."""
    parts = []
    for name in ("steps", "tokens"):
        if is_number(result.get(name)):
            parts.append(f"{result[name]:,.0f} {name}")
    if is_number(result.get("train_runtime")):
        parts.append(duration(float(result["train_runtime"])))
    if isinstance(result.get("device"), str):
        processes = int(result.get("processes") or 1)
        parts.append(f"on {f'{processes} × ' if processes > 1 else ''}{result['device']}")
    return [f"- cost: {', '.join(parts)}"] if parts else []


def is_number(value: Any) -> bool:
    """Whether a value is a number, and no truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def public_name(name: str) -> str:
    """Return a hub name as it is, and the last part of a path."""
    return f"`{name}`" if is_hub_name(name) else f"`{Path(name).name}` (a local file)"
