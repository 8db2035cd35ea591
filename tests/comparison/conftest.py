"""Result folders that tests make themselves, in mteb's layout and in a study's."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

Write = Callable[..., Path]


def write_result(folder: Path, task: str, score: Any, **about: Any) -> Path:
    """Write one result file; `score` is a number, or the whole `scores` mapping."""
    metric = about.pop("metric", "ndcg_at_10")
    if not isinstance(score, Mapping):
        score = {"test": [{"hf_subset": "default", "main_score": score, metric: score}]}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{task}.json"
    content = {"task_name": task, "dataset_revision": "r1", "mteb_version": "2.26.24", "scores": score, **about}
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def write_items(folder: Path, task: str, rows: list[dict[str, Any]]) -> Path:
    """Write scores item by item of the default test cell."""
    path = folder / "items" / f"{task}.jsonl.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", encoding="utf-8") as file:
        for number, row in enumerate(rows):
            file.write(json.dumps({"subset": "default", "split": "test", "id": str(number), **row}) + "\n")
    return path


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write models' scores by task: ``write({"model": {"task": 0.5}}, root="a")``; returns the root."""

    def make(models: Mapping[str, Mapping[str, Any]], root: str = "results", revision: str = "rev", **about: Any) -> Path:
        for model, tasks in models.items():
            for task, score in tasks.items():
                write_result(tmp_path / root / model.replace("/", "__") / revision, task, score, **about)
        return tmp_path / root

    return make


@pytest.fixture
def write_study(tmp_path: Path) -> Write:
    """Write a study: ``write_study({"model1-seed1": {"task": 0.5}}, failed={"model2-seed1": "reason"})``."""

    def make(
        cells: Mapping[str, Mapping[str, float]], root: str = "study", failed: Mapping[str, str] | None = None, **about: Any
    ) -> Path:
        folders = {}
        for number, (cell, tasks) in enumerate(cells.items()):
            folder = tmp_path / root / "cells" / f"{cell}-{number:08x}"
            folders[cell] = folder.name
            results = folder / "evaluation" / "results" / "ours__x" / f"rev{number}"
            scores = {}
            for task, score in tasks.items():
                write_result(results, task, score)
                items = write_items(results, task, [{"ndcg_at_10": score - 0.01}, {"ndcg_at_10": score + 0.01}])
                kind = {"score": score, "metric": "ndcg_at_10", "type": "Retrieval", "items": str(items.relative_to(folder))}
                scores[task] = kind
            (folder / "scores.json").write_text(json.dumps({"cell": cell, "scores": scores, "untrained": {}}), encoding="utf-8")
        content = {"failed": dict(failed or {}), "cells": list(folders.values()), **about}
        (tmp_path / root / "comparison.json").write_text(json.dumps(content), encoding="utf-8")
        return tmp_path / root

    return make
