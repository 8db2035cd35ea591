"""The record of a result, `recipes/<Task>.json`: all that is needed to know what was done, and to do it again."""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from common.errors import UserError

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


NEEDED = (
    "task", "model", "origin", "recipe", "sides", "encoder", "scores", "dataset", "subsets", "splits", "evaluation_version",
    "main_score",
)  # fmt: skip


SHAPES = {"origin": dict, "recipe": dict, "sides": dict, "encoder": dict, "scores": dict, "dataset": dict, "subsets": list}


# What a record decides: these flags would do nothing beside --rerun.
DECIDED = (
    "tasks", "prompts", "prompt_template", "max_length", "dtype", "attn_implementation", "name", "embedding_cache",
    "save_embeddings", "save_predictions", "shard_texts",
)  # fmt: skip


def read_past(path: Path) -> dict[str, Any]:
    """Read the record of a result.

    Raises:
        UserError: it is missing, no record, or one that does not say enough.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        where = "give a file recipes/TASK.json of a results folder"
        raise UserError(f"the record {path} cannot be read ({error.strerror}): {where}") from None
    except ValueError as error:
        raise UserError(f"{path} is no valid JSON ({error})") from None
    missing = [key for key in NEEDED if not isinstance(record, dict) or key not in record]
    if missing:
        raise UserError(f"{path} is no record of a result that can be made again: it does not say {', '.join(missing)}")
    odd = [key for key, shape in SHAPES.items() if not isinstance(record[key], shape)]
    if odd:
        raise UserError(f"{path} was changed or damaged: {', '.join(odd)} cannot be read")
    return dict(record)


@contextmanager
def taken_from_record(args: argparse.Namespace, defaults: Mapping[str, Any]) -> Iterator[None]:
    """Where `--rerun` is given, put what its record says into `args`; results go into a folder that is removed after.

    Where adapter, base LLM and data lie now may be said beside it; `defaults` are the constants at the top of the script,
    which give way.

    Raises:
        UserError: the record cannot be used, or a flag would do nothing.
    """
    if not args.rerun:
        yield
        return
    record = read_past(Path(args.rerun))
    for name in DECIDED:
        if getattr(args, name, None) not in (None, False, defaults.get(name)):
            raise UserError(f"--{name} would do nothing beside --rerun: the record decides it")
    origin, encoder, folder = record["origin"], record["encoder"], record["origin"].get("folder")
    then = {name: origin.get(name) for name in ("adapter_path", "base_model", "cache_dir", "loader", "num_heads")}
    then["data_dir"] = str(Path(folder).parent) if folder else None
    if folder and args.data_dir in (None, defaults.get("data_dir")) and not Path(folder).is_dir():
        raise UserError(f"the data of the record are not at {folder} any more: --data_dir is the folder above it today")
    for name, value in then.items():
        if getattr(args, name) in (None, defaults.get(name)):
            setattr(args, name, value)
    args.tasks, args.prompts, args.prompt_template, args.max_length = [record["task"]], None, None, None
    dtypes = [encoder.get(name) for name in ("compute_dtype", "dtype")]  # the first is missing in older records
    args.dtype = next((dtype for dtype in dtypes if dtype in ("float32", "bfloat16", "float16")), None)
    args.attn_implementation = encoder.get("attention_kernel")
    with tempfile.TemporaryDirectory() as scratch:
        args.output_dir = scratch
        yield
