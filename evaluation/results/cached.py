"""A result that is there already: read, checked, and taken or refused."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from mteb.abstasks import AbsTask
from mteb.cache import ResultCache
from mteb.results import TaskResult

from common.errors import UserError
from evaluation.results.outcome import TaskScore
from evaluation.results.record import totals


class Scored:
    """Where mteb puts a task's scores until they are complete and checked: an older result stands until then."""

    def __init__(self, output_dir: Path, meta: Any, task: AbsTask) -> None:
        shutil.rmtree(output_dir, ignore_errors=True)  # what a killed run left
        self.meta, self.name = meta, task.metadata.name
        self.cache = ResultCache(output_dir)
        self.folder = Path(self.cache.get_task_result_path("any", meta)).parent
        self.predictions = self.folder / "predictions"

    def result(self) -> TaskResult:
        """Return the result, as rounded when it was saved."""
        return self.cache.load_task_result(self.name, self.meta)


def check_numbers(task: AbsTask, result: TaskResult) -> None:
    """Raise a UserError if a main score is not a number: a mean with it would be none either."""
    for subset, scores in _main_scores(task, result).items():
        for split, score in scores.items():
            if not np.isfinite(score):
                raise UserError(
                    f"{task.metadata.main_score} of {task.metadata.name} ({subset}, {split}) is not a number: all its gold "
                    "scores or labels are the same, or all its vectors, as where a prompt is as long as --max_length and "
                    "leaves no room for the text. Such a task measures nothing: mend that, or leave the task out"
                )


def readable(path: Path) -> bool:
    """Return whether a file holds JSON."""
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True


def _hash(path: Path) -> str | None:
    """Hash a file's bytes; None where there is none."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def _digest(result: TaskResult) -> str:
    """Hash all scores of a result, the main one and the others."""
    return hashlib.sha256(json.dumps(result.scores, sort_keys=True, default=str).encode()).hexdigest()


def _main_scores(task: AbsTask, result: TaskResult) -> dict[str, dict[str, float]]:
    """Return the main score by subset and split."""
    scores: dict[str, dict[str, float]] = {}
    for split in task.eval_splits:
        for entry in result.scores[split]:
            if entry["hf_subset"] in task.hf_subsets:
                scores.setdefault(entry["hf_subset"], {})[split] = float(entry["main_score"])
    return scores


def _tells_of(record: Mapping[str, Any], scores: Mapping[str, Mapping[str, float]]) -> bool:
    """Return whether a record has these scores, and is one that can be read."""
    try:
        totals(record)
        recorded = record["scores"]
        return all(recorded.get(subset, {}).items() >= of.items() for subset, of in scores.items())
    except (KeyError, AttributeError, TypeError, ValueError):  # an older one, or JSON of another shape
        return False


def _task_score(task: AbsTask, result: TaskResult, cached: bool, items: Path | None, record: Mapping[str, Any]) -> TaskScore:
    means = {subset: float(np.mean(list(of.values()))) for subset, of in _main_scores(task, result).items()}
    sums = totals(record)
    return TaskScore(
        name=task.metadata.name,
        type=task.metadata.type,
        metric=task.metadata.main_score,
        score=float(np.mean(list(means.values()))),
        subsets=means,
        seconds=float(result.evaluation_time or 0.0),
        cached=cached,
        items=items,
        again=sums.again,
        texts=sums.texts,
        tokens=sums.tokens,
        cut=sums.cut,
        mteb_version=result.mteb_version,
    )
