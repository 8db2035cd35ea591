"""`--rerun RECORD`: score a task again with exactly the settings of its record, and show how the scores differ."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from common.errors import UserError
from evaluation.encode.distributed import Processes
from evaluation.encode.lazy_model import Loader, design_of
from evaluation.encode.mteb_encoder import EVALUATION_VERSION
from evaluation.encode.sharded_encoder import TextEncoder
from evaluation.evaluate import evaluate
from evaluation.options import EvaluationOptions
from evaluation.results.failure import failure_path
from evaluation.results.outcome import Evaluation
from evaluation.results.record import Record
from evaluation.tasks.find import TaskSpec

TOLERANCE = 1e-4


def origin(args: argparse.Namespace, loader: Loader) -> dict[str, Any]:
    """Return where things are, for the record: directories as absolute paths, hub names as they are."""
    places: dict[str, Any] = {"loader": args.loader or design_of(loader), "num_heads": args.num_heads, "recipe": args.recipe}
    for name in ("adapter_path", "base_model", "cache_dir"):
        value = getattr(args, name)
        if value and Path(value).exists():
            value = str(Path(value).resolve())
        places[name] = value
    return places


def score_again(
    path: Path,
    model: TextEncoder,
    spec: TaskSpec,
    output_dir: str | Path,
    options: EvaluationOptions,
    processes: Processes | None = None,
) -> int:
    """Score the task of the record at `path` once more and print the comparison.

    Args:
        path: of the record.
        model: the same as the record's.
        spec: its task.
        output_dir: a folder that is removed afterwards.
        options: those that decide no score, such as batch sizes, are used; the record has the others.
        processes: that encode together.

    Returns:
        0 if the scores are the same to `TOLERANCE`, else 1.

    Raises:
        UserError: model, data or scoring are not those of the record, or the task fails.
    """
    record = Record.read_complete(path)
    spec = replace(spec, subsets=tuple(record.subsets), splits=tuple(record.splits))
    check_same(record, path, str(getattr(model, "version", None)), spec.task().metadata.dataset)
    check_base(record, path, getattr(model, "result_facts", {}))
    settings = EvaluationOptions(
        name=record.model.split("/", 1)[-1],
        prompts={record.task: prompts_of(record)},
        prompt_template="",
        max_length=record.recipe.get("max_length"),
        batch_size=options.batch_size,
        batch_tokens=options.batch_tokens,
        show_progress=options.show_progress,
    )
    evaluation = evaluate(model, [spec], output_dir, settings, processes=processes, log=_say)
    if evaluation.failures:
        raise _failure(evaluation, record.task)
    new_record = Record.read(evaluation.folder, record.task)
    assert new_record is not None  # it was written a moment ago
    lines, equal = record.compare(new_record.scores, TOLERANCE)
    verdict = "the same" if equal else "NOT the same"
    lines.append(f"{verdict} to {TOLERANCE:g}")
    if changes := record.changed_libraries():
        lines.append(f"libraries that have changed: {', '.join(changes)}")
    print("\n".join(lines))
    return 0 if equal else 1


def prompts_of(record: Record) -> dict[str, str]:
    """Return the prompts of the record's sides by role; files, mteb and the adapter may have others today."""
    prompts = {}
    for side in record.sides.values():
        if side["prompt"] is not None:
            prompts[side["role"]] = side["prompt"]
    return prompts


def check_same(record: Record, path: Path, version: str, dataset: Mapping[str, Any]) -> None:
    """Check that model, data and scoring are those of the record at `path`.

    Raises:
        UserError: one of them is another.
    """
    recorded_version = record.encoder.get("version")
    quantised = bool((record.encoder.get("base_model") or {}).get("quantisation"))
    if recorded_version != version and quantised and not record.encoder.get("compute_dtype"):
        raise UserError(
            f"{path} is of a quantised base LLM and does not say in which dtype that computed; with its default "
            f"dtype it is a model of version {version}, not {recorded_version}. Score anew, without --rerun"
        )
    if recorded_version != version:
        raise UserError(
            f"{path} is of a model of version {recorded_version}, this one has version {version}: weights, base LLM, "
            "tokenizer, lengths or dtype have changed. Give the adapter of that time with --adapter_path"
        )
    if record.dataset != dict(dataset):
        raise UserError(
            f"{path} is of the data {record.dataset.get('revision')}, now they are {dataset.get('revision')}: "
            "give the folder of that time with --data_dir"
        )
    if record.evaluation_version != EVALUATION_VERSION:
        raise UserError(
            f"{path} was scored by evaluation version {record.evaluation_version}, this is "
            f"{EVALUATION_VERSION}: take the release of that time, or score anew without --rerun"
        )


def check_base(record: Record, path: Path, facts: Mapping[str, Any]) -> None:
    """Check that the base LLM's files are those of the record, where both say what they hold.

    Raises:
        UserError: they are not.
    """
    then, now = record.recipe.get("base_content"), facts.get("base_content")
    if then is not None and now is not None and then != now:
        raise UserError(
            f"{path} is of a base LLM whose weights and config have the hash {then}, these have {now}: "
            "give the base LLM of that time with --base_model, or score anew, without --rerun"
        )


def _failure(evaluation: Evaluation, task: str) -> UserError:
    """Return the error of a task that failed, and print its traceback, whose file is removed with the folder."""
    trace = failure_path(evaluation.folder, task)
    hint = f" (traceback: {trace})"
    reason = evaluation.failures[task]
    if reason.endswith(hint):
        print(trace.read_text(encoding="utf-8"), file=sys.stderr)
    return UserError(f"{task} cannot be scored again: {reason.removesuffix(hint)}")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
