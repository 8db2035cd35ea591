"""A tiny study as tests write, change and run it."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from comparison.reading.study_data import StudyData
from comparison.reading.study_file import read_study_file
from run_study import main
from study.cells import Cell
from tests.tiny import ROOT, triplets

Main = Callable[..., tuple[int, str, str]]


def write_lines(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt", encoding="utf-8") as stream:
        stream.writelines(json.dumps(row) + "\n" for row in rows)


def write_study(folder: Path, base: Path, **changes: Any) -> Path:
    """Write triplets, a retrieval task of other texts, an STS task of training texts, and a study of them."""
    rows = triplets(24)
    write_lines(folder / "train.jsonl", [{**row, "negative": row["negatives"]} for row in rows])
    task = folder / "eval" / "WordRetrieval"
    held_out = triplets(40)[24:]
    write_lines(task / "corpus.jsonl.gz", [{"id": f"d{i}", "title": "", "text": r["positive"]} for i, r in enumerate(held_out)])
    write_lines(task / "queries.jsonl.gz", [{"id": f"q{i}", "text": r["query"]} for i, r in enumerate(held_out)])
    gold = [{"query-id": f"q{i}", "corpus-id": f"d{i}", "score": 1} for i in range(len(held_out))]
    write_lines(task / "qrels.test.jsonl.gz", gold)
    pairs = [
        {"sentence1": row["query"].upper(), "sentence2": row["positive"] + " .", "score": i % 5} for i, row in enumerate(rows)
    ]
    write_lines(folder / "eval" / "WordPairs" / "test.jsonl.gz", pairs)
    training = {
        "per_device_train_batch_size": 8,
        "max_steps": 4,
        "learning_rate": 0.01,
        "max_seq_length": 16,
        "pooling_latents": 4,
        "pooling_heads": 2,
        "pooling_head_dim": 4,
        "save_steps": 2,
        "logging_steps": 1,
    }
    content = {
        "base_model": str(base),
        "output_dir": str(folder / "out"),
        "designs": ["model1", "model3"],
        "jobs": 2,
        "train_file": "train.jsonl",
        "eval_dir": "eval",
        "headline": "WordRetrieval",
        "tasks": ["WordRetrieval"],
        "baselines": ["mean_pooling"],
        "training": training,
    }
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in (content | changes).items() if value is not None}))
    return path


def change(study_file: Path, **changes: Any) -> dict[str, Any]:
    """Change keys of a study file; None takes one out."""
    content = yaml.safe_load(study_file.read_text()) | changes
    content = {key: value for key, value in content.items() if value is not None}
    study_file.write_text(yaml.safe_dump(content))
    return content


def run_in_process(
    study_file: Path, *options: str, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a study in a process of its own, as a user does."""
    command = [sys.executable, str(ROOT / "run_study.py"), str(study_file), *options]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=600, cwd=study_file.parent, env=environment, check=False
    )


def run_main(capsys: pytest.CaptureFixture[str], study_file: Path, *options: str) -> tuple[int, str, str]:
    """Run ``run_study.py`` in this process; returns exit status, output and errors."""
    capsys.readouterr()
    status = main([str(study_file), *options])
    out, err = capsys.readouterr()
    return status, out, err


def load(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def record_of(study_file: Path) -> StudyData:
    """Read ``study.json`` as a report does."""
    record = read_study_file(study_file.parent / "out")
    assert record is not None
    return record


def fake_cell(folder: Path, number: int, name: str) -> Cell:
    return Cell(number, name, name, "design", "model1", number, "base", "", folder / name, "key")
