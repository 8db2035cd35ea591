"""Records as a command line reads them; nothing heavy is imported here."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common.errors import UserError

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
