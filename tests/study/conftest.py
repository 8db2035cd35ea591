"""A study of tiny models on tiny data, and one that has been run."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.tiny import ROOT, triplets


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
    training = {"per_device_train_batch_size": 8, "max_steps": 4, "learning_rate": 0.01, "max_seq_length": 16,
                "pooling_latents": 4, "pooling_heads": 2, "pooling_head_dim": 4, "save_steps": 2,
                "logging_steps": 1}  # fmt: skip
    content = {"base_model": str(base), "output_dir": str(folder / "out"), "designs": ["model1", "model3"],
               "jobs": 2, "train_file": "train.jsonl", "eval_dir": "eval", "headline": "WordRetrieval",
               "tasks": ["WordRetrieval"],
               "baselines": ["mean_pooling"], "training": training}  # fmt: skip
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in (content | changes).items() if value is not None}))
    return path


def change(study_file: Path, **changes: Any) -> dict[str, Any]:
    """Change keys of a study file; None takes one out."""
    content = yaml.safe_load(study_file.read_text()) | changes
    content = {key: value for key, value in content.items() if value is not None}
    study_file.write_text(yaml.safe_dump(content))
    return content


@pytest.fixture
def study_file(base: Path, tmp_path: Path) -> Path:
    return write_study(tmp_path, base)


@pytest.fixture(scope="session")
def run() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a study as a user does."""

    def run(study_file: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
        import os

        command = [sys.executable, str(ROOT / "run_study.py"), str(study_file), *options]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=600, cwd=study_file.parent, env={**os.environ, **environment}
        )

    return run


@pytest.fixture(scope="session")
def finished(base: Path, tmp_path_factory: pytest.TempPathFactory, run: Callable[..., Any]) -> Path:
    """The file of a study that has been run; look, and leave it as it is."""
    study_file = write_study(tmp_path_factory.mktemp("finished"), base)
    leftovers = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_PORT": "1", "ACCELERATE_USE_FSDP": "true",
                 "ACCELERATE_MIXED_PRECISION": "fp8", "TORCHELASTIC_RUN_ID": "outer"}  # fmt: skip
    done = run(study_file, **leftovers)  # as in a job of another launcher
    assert done.returncode == 0, done.stdout + done.stderr
    (study_file.parent / "stdout.txt").write_text(done.stdout)
    return study_file
