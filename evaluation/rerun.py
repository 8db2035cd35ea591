"""`--rerun RECORD`: score a task again with exactly the settings that its record names, and say how the scores differ."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from common.errors import UserError
from evaluation.encode.lazy_model import design_of
from evaluation.encode.mteb_encoder import EVALUATION_VERSION
from evaluation.evaluate import evaluate
from evaluation.results.record import library_versions, read_past, read_record
from evaluation.tasks.find import TaskSpec

TOLERANCE = 1e-4


@dataclass(frozen=True)
class Past:
    """A result that is to be made again.

    Attributes:
        path: of its record.
        record: the record's content.
    """

    path: Path
    record: Mapping[str, Any]

    @property
    def task(self) -> str:
        """Name of the task."""
        return str(self.record["task"])

    @property
    def name(self) -> str:
        """Name of the model, without mteb's organisation."""
        return str(self.record["model"]).split("/", 1)[-1]

    def prompts(self) -> dict[str, dict[str, str]]:
        """Return the prompts as they were, whatever a file, mteb or the adapter says today."""
        sides = self.record["sides"].values()
        return {self.task: {side["role"]: side["prompt"] for side in sides if side["prompt"] is not None}}

    def check(self, version: str, dataset: Mapping[str, Any]) -> None:
        """Raise a UserError if model, data or scoring are not those of the record."""
        then = self.record["encoder"].get("version")
        if then != version and not self.record["encoder"].get("compute_dtype") and _quantised(self.record):
            raise UserError(
                f"{self.path} is of a quantised base LLM and does not say in which dtype that computed; with its default "
                f"dtype it is a model of version {version}, not {then}. Score anew, without --rerun"
            )
        if then != version:
            raise UserError(
                f"{self.path} is of a model of version {then}, this one has version {version}: weights, base LLM, tokenizer, "
                "lengths or dtype have changed. Give the adapter of that time with --adapter_path"
            )
        if self.record["dataset"] != dict(dataset):
            raise UserError(
                f"{self.path} is of the data {self.record['dataset'].get('revision')}, now they are {dataset.get('revision')}: "
                "give the folder of that time with --data_dir"
            )
        if self.record["evaluation_version"] != EVALUATION_VERSION:
            raise UserError(
                f"{self.path} was scored by evaluation version {self.record['evaluation_version']}, this is "
                f"{EVALUATION_VERSION}: take the release of that time, or score anew without --rerun"
            )

    def report(self, scores: Mapping[str, Mapping[str, float]]) -> tuple[str, bool]:
        """Return a table of the scores then and now, and whether they are equal to `TOLERANCE`."""
        lines = [f"{self.task}, {self.record['main_score']}", f"  {'subset, split':<28}  {'then':>9}  {'now':>9}  difference"]
        equal = True
        for subset, of_subset in self.record["scores"].items():
            for split, then in of_subset.items():
                now = scores.get(subset, {}).get(split, float("nan"))
                equal = equal and abs(now - then) <= TOLERANCE
                lines.append(f"  {f'{subset}, {split}':<28}  {then:9.6f}  {now:9.6f}  {now - then:+.1e}")
        lines.append(f"the same to {TOLERANCE:g}" if equal else f"NOT the same to {TOLERANCE:g}")
        now_versions, then_versions = library_versions(), self.record.get("libraries", {})
        names = sorted({*now_versions, *then_versions})
        changed = [name for name in names if now_versions.get(name) != then_versions.get(name)]
        if changed:
            listed = ", ".join(f"{name} {then_versions.get(name)} -> {now_versions.get(name)}" for name in changed)
            lines.append(f"libraries that have changed: {listed}")
        return "\n".join(lines), equal


def _quantised(record: Mapping[str, Any]) -> bool:
    return bool((record["encoder"].get("base_model") or {}).get("quantisation"))


def origin(args: argparse.Namespace, loader: Callable[..., Any]) -> dict[str, Any]:
    """Return where things were found, for the record: directories as absolute paths, hub names as they are."""
    found = {"loader": args.loader or design_of(loader), "num_heads": args.num_heads}
    for name in ("adapter_path", "base_model", "cache_dir"):
        value = getattr(args, name)
        found[name] = str(Path(value).resolve()) if value and Path(value).exists() else value
    return found


def again(args: argparse.Namespace, model: Any, spec: TaskSpec, **options: Any) -> int:
    """Score the task of `args.rerun` once more, print the comparison, and return 0 if the scores are the same, else 1."""
    past = Past(Path(args.rerun), read_past(Path(args.rerun)))
    spec = replace(spec, subsets=tuple(past.record["subsets"]), splits=tuple(past.record["splits"]))
    past.check(str(model.version), spec.task().metadata.dataset)
    result = evaluate(
        model,
        [spec],
        args.output_dir,
        name=past.name,
        prompts=past.prompts(),
        prompt_template="",
        max_length=past.record["recipe"].get("max_length"),
        batch_size=args.batch_size,
        batch_tokens=args.batch_tokens,
        show_progress=sys.stderr.isatty(),
        log=lambda line: print(line, file=sys.stderr, flush=True),
        **options,
    )
    if result.failures:
        trace = result.folder / "failures" / f"{past.task}.txt"  # is removed with the folder
        why = result.failures[past.task].removesuffix(f" (traceback: {trace})")
        if why != result.failures[past.task]:
            print(trace.read_text(encoding="utf-8"), file=sys.stderr)
        raise UserError(f"{past.task} cannot be scored again: {why}")
    text, equal = past.report(read_record(result.folder, past.task)["scores"])
    print(text)
    return 0 if equal else 1
