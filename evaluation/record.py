"""The record of a result, `recipes/<Task>.json`: all that is needed to know what was done, and to do it again."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

LIBRARIES = ("mteb", "torch", "transformers", "peft", "tokenizers", "numpy", "scipy", "scikit-learn", "datasets")


def library_versions() -> dict[str, str]:
    """Return the installed versions of what vectors and scores are computed with."""
    versions = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def encoder_facts(encoder: Any) -> dict[str, Any]:
    """Return what is known of an encoder; an `EmbedModel` says all of it, None stands for what another one does not say."""
    names = ("design_name", "version", "dtype", "dim", "device")
    facts: dict[str, Any] = {name: _plain(getattr(encoder, name, None)) for name in names}
    facts["normalised"] = True  # evaluation.encoder.TextEncoder's contract
    facts["similarity"] = "cosine"
    facts["dtype_of_scores"] = "float32"
    design = getattr(encoder, "design", None)
    if design is not None:
        facts |= {"attention": design.attention, "pooling": design.pooling, "tokens": design.tokens, "layers": design.layers}
    pooling = getattr(encoder, "pooling", None)
    if pooling is not None and hasattr(pooling, "config"):
        facts["pooling_sizes"] = pooling.config.to_dict()
    tokenizer = getattr(encoder, "tokenizer", None)
    facts["end_token"] = getattr(tokenizer, "end_token", None)
    backbone = getattr(encoder, "backbone", None)
    config = getattr(backbone, "config", None)
    facts["attention_kernel"] = getattr(config, "_attn_implementation", None)
    # A quantised base says its kind as its dtype; what its products are computed in is another matter.
    compute_dtype = getattr(backbone, "dtype", None)
    facts["compute_dtype"] = None if compute_dtype is None else str(compute_dtype).removeprefix("torch.")
    for name in ("recipe", "base_model"):
        value = getattr(encoder, name, None)
        facts[name] = dict(vars(value)) if hasattr(value, "__dataclass_fields__") else None
    return facts


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, str | int | float) else str(value)


@dataclass(frozen=True)
class Totals:
    """What a record says of all sides of a task; None where the encoder did not count."""

    texts: int = 0
    tokens: int | None = None
    cut: int | None = None
    again: int = 0
    encoding_seconds: float = 0.0


def totals(record: Mapping[str, Any]) -> Totals:
    """Return the sums over the sides of a record; a record of an older version gives what it has."""
    sides = list((record.get("sides") or {}).values())

    def total(name: str) -> int | None:
        values = [side.get(name) for side in sides]
        return sum(values) if values and None not in values else None

    return Totals(
        texts=total("texts") or 0,
        tokens=total("tokens"),
        cut=total("cut"),
        again=int(record.get("encoded_again") or 0),
        encoding_seconds=float(sum(side.get("seconds") or 0.0 for side in sides)),
    )


def speeds(sides: Mapping[str, Mapping[str, Any]]) -> dict[str, float | None]:
    """Return texts and tokens a second of the sides that were encoded whole; None where vectors were in the store."""
    fresh = [side for side in sides.values() if not side["reused"]]
    seconds = sum(side["seconds"] for side in fresh)
    if not seconds:
        return {"texts_per_second": None, "tokens_per_second": None}
    tokens = None if any(side["tokens"] is None for side in fresh) else sum(side["tokens"] for side in fresh)
    return {
        "texts_per_second": round(sum(side["texts"] for side in fresh) / seconds, 1),
        "tokens_per_second": None if tokens is None else round(tokens / seconds, 1),
    }


def read_record(folder: Path, task_name: str) -> dict[str, Any]:
    """Return the record of a task in the results folder of a model and revision; {} if there is none that can be read."""
    try:
        content = json.loads((folder / "recipes" / f"{task_name}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
