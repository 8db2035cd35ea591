"""``--dry_run`` goes once through a run, reports what it measured, and leaves nothing behind."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.contracts.warm import Warm
from tests.trainers.checkpoints.tools import contents
from tests.trainers.commands import SMALL, arguments
from tests.trainers.conftest import Command
from trainers.run.trainer import ContrastiveTrainer
from trainers.train import main


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_report_and_nothing_left(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with chunks, accumulated batches, an evaluation (which is left out), and an output directory without parents."""

    def evaluate(*_: Any, **__: Any) -> None:
        raise AssertionError("the whole evaluation data would be encoded")

    monkeypatch.setattr(ContrastiveTrainer, "evaluate", evaluate)
    argv = arguments(base, tmp_path, "--dry_run", *SMALL, "--output_dir", str(tmp_path / "runs" / "deep" / "out"))
    argv += ["--chunk_tokens", "48", "--gradient_accumulation_steps", "3"]
    argv += ["--eval_dataset", str(tmp_path / "rows.jsonl"), "--eval_on_start", "--eval_strategy", "steps", "--eval_steps", "1"]
    assert main(argv, design="model3") == 0
    assert names(tmp_path) == {"rows.jsonl"}
    report = capsys.readouterr().out
    assert re.search(r"dry run +2 steps on the 4 longest rows: \d+ tokens, the longest text \d+; \S+ s a step", report)
    assert "vectors equal within" in report
    memory = re.search(r"memory +peak (\S+) MB measured \(tensors alive\); planned (\S+) MB", report)
    assert memory, report
    assert float(memory[2]) == pytest.approx(float(memory[1]), rel=0.05, abs=0.11)  # both are rounded to 0.1


def test_existing_run_is_left_alone(finished_copy: Path, command: Command) -> None:
    before = contents(finished_copy)
    assert main(command(finished_copy, max_steps=6, dry_run="true"), design="model3") == 0
    assert contents(finished_copy) == before
    again = command(finished_copy, resume_from_checkpoint=None, dry_run="true")
    assert main(again, design="model3") == 1  # a run would be refused too


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_lora_that_the_loader_loses(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    """Two steps at the default rate leave it at nearly zero, where nothing would be noticed."""
    argv = arguments(base, tmp_path, "--dry_run", "--torch_dtype", dtype, "--learning_rate", "1e-7")
    if dtype == "bfloat16":  # rounded to the base LLM's dtype by the loader
        assert main(argv, design="model1") == 0
        assert "vectors equal within 0e+00" in capsys.readouterr().out
    monkeypatch.setattr("model_loaders.loading.load_lora", lambda *_: None)
    assert main(argv, design="model1") == 1
    assert "LoRA of the adapter" in capsys.readouterr().err
    assert names(tmp_path) == {"rows.jsonl"}


def test_adapter_that_encodes_differently(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainers.run.dry_run.tolerance_of", lambda *_: -1.0)
    assert main(arguments(base, tmp_path, "--dry_run"), design="model1") == 1
    assert "encodes 4 texts differently" in capsys.readouterr().err
    assert names(tmp_path) == {"rows.jsonl"}


def test_two_processes(warm: Warm, base: Path, tmp_path: Path) -> None:
    data, logs = tmp_path / "data", tmp_path / "logs"
    data.mkdir()
    logs.mkdir()
    pids = warm.start_two(arguments(base, data, "--dry_run"), logs / "log", design="model1")
    assert [warm.wait(pid) for pid in pids] == [0, 0], (logs / "log.0").read_text() + (logs / "log.1").read_text()
    report = (logs / "log.0").read_text()
    assert report.count("vectors equal within") == 1 and "vectors equal" not in (logs / "log.1").read_text()
    assert names(data) == {"rows.jsonl"}
