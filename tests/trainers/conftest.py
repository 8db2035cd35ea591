"""A tiny training run, trained once a session, and copies of it for tests that read a run or go on from it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.tiny import triplets
from trainers.train import main

Command = Callable[..., list[str]]

POOLING = {"pooling_latents": 6, "pooling_heads": 2, "pooling_head_dim": 4}


@pytest.fixture
def unplanned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the memory plan out of the banner: it takes longer than a tiny run."""
    monkeypatch.setattr("trainers.run.banner.plan_or_reason", lambda *_: "not planned")
    monkeypatch.setattr("trainers.run.build.fit_memory", lambda *_: "not planned")


@pytest.fixture(scope="session")
def command(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Command:
    """Makes a command line of model3: six rows, batches of two, four steps, a checkpoint after each."""
    rows = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    lines = []
    for row in triplets(6):
        lines.append(json.dumps({"query": row["query"], "positive": row["positive"], "negative": row["negatives"]}))
    rows.write_text("\n".join(lines) + "\n")
    defaults = {
        "model_name_or_path": base,
        "dataset_name": rows,
        "use_cpu": "true",
        "disable_tqdm": "true",
        "per_device_train_batch_size": 2,
        "learning_rate": 0.01,
        "lora_dropout": 0.3,
        "logging_steps": 1,
        "save_steps": 1,
        "max_steps": 4,
        "resume_from_checkpoint": "true",
        **POOLING,
    }

    def make(output: Path, **flags: Any) -> list[str]:
        """Flags replace the defaults; a flag of None is left out."""
        words = []
        for name, value in {**defaults, "output_dir": output, **flags}.items():
            if value is not None:
                words += [f"--{name}", str(value)]
        return words

    return make


@pytest.fixture(scope="session")
def finished_run(command: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of four steps; not to be changed."""
    output = tmp_path_factory.mktemp("finished") / "run"
    assert main(command(output), design="model3") == 0
    return output


@pytest.fixture
def finished_copy(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of the finished run."""
    return shutil.copytree(finished_run, tmp_path / "run")


@pytest.fixture
def killed_run(finished_copy: Path) -> Path:
    """A copy of the run, as if it was killed before its end."""
    for name in ("train_result.json", "embedder.json", "adapter_model.safetensors", "pooling.safetensors"):
        (finished_copy / name).unlink()
    return finished_copy
