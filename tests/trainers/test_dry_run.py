"""``--dry_run`` goes once through what a run does, says what it found and leaves nothing behind."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.tiny import ROOT, trained_parameters
from tests.trainers.commands import SMALL, arguments
from trainers.train import main


def everything(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.parametrize("options", [[], ["--chunk_tokens", "16", "--gradient_accumulation_steps", "3"]])
def test_it_says_what_it_found_and_leaves_nothing(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    argv = arguments(base, tmp_path, "--dry_run", *SMALL, *options)
    before = everything(tmp_path)
    assert main(argv, design="model3") == 0
    assert everything(tmp_path) == before
    told = capsys.readouterr().out
    assert re.search(r"dry run +2 steps on the 4 longest rows: \d+ tokens, the longest text \d+; \S+ s a step", told)
    assert "vectors equal within" in told
    found = re.search(r"memory +peak (\S+) MB measured \(tensors alive\); planned (\S+) MB", told)
    assert found, told
    assert float(found[2]) == pytest.approx(float(found[1]), rel=0.05)


def test_no_parent_of_the_output_directory_need_exist(base: Path, tmp_path: Path) -> None:
    argv = arguments(base, tmp_path, "--dry_run", "--output_dir", str(tmp_path / "runs" / "deep" / "out"))
    assert main(argv, design="model1") == 0
    assert everything(tmp_path) == {"rows.jsonl"}


def test_nothing_is_evaluated(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from trainers.run.trainer import ContrastiveTrainer

    def evaluate(*_: Any, **__: Any) -> None:
        raise AssertionError("the whole evaluation data would be encoded")

    monkeypatch.setattr(ContrastiveTrainer, "evaluate", evaluate)
    evaluated = [
        "--eval_dataset",
        str(tmp_path / "rows.jsonl"),
        "--eval_on_start",
        "--eval_strategy",
        "steps",
        "--eval_steps",
        "1",
    ]
    assert main(arguments(base, tmp_path, "--dry_run", *evaluated), design="model1") == 0


def test_it_leaves_a_run_alone(base: Path, tmp_path: Path) -> None:
    argv = arguments(base, tmp_path)
    argv[argv.index("--save_strategy") :] = ["--save_steps", "1", "--max_steps", "2", "--learning_rate", "0.01"]
    assert main(argv, design="model1") == 0
    files = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert main([*argv, "--max_steps", "4", "--resume_from_checkpoint", "true", "--dry_run"], design="model1") == 0
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == files
    assert main([*argv, "--dry_run"], design="model1") == 1  # what a run would be refused for


def test_an_adapter_that_loads_as_another_one_is_an_error(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import model_loaders.loading

    original = model_loaders.loading.load_design

    def changed(*args: Any, **options: Any) -> Any:
        model = original(*args, **options)
        for parameter in trained_parameters(model).values():
            parameter.data.add_(0.1)
        return model

    monkeypatch.setattr(model_loaders.loading, "load_design", changed)
    assert main(arguments(base, tmp_path, "--dry_run"), design="model1") == 1
    assert "encodes 4 texts differently" in capsys.readouterr().err
    assert everything(tmp_path) == {"rows.jsonl"}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_lora_that_the_loader_loses_is_seen(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    """Two steps at the default rate leave it at nearly zero, where nothing would be seen."""
    argv = arguments(base, tmp_path, "--dry_run", "--torch_dtype", dtype, "--learning_rate", "1e-7")
    assert main(argv, design="model1") == 0
    assert "vectors equal within 0e+00" in capsys.readouterr().out
    monkeypatch.setattr("model_loaders.loading.load_lora", lambda *_: None)
    assert main(argv, design="model1") == 1
    assert "LoRA of the adapter" in capsys.readouterr().err


def test_two_processes(base: Path, tmp_path: Path) -> None:
    argv = ["--design", "model1", *arguments(base, tmp_path, "--dry_run")]
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone"]
    done = subprocess.run(
        [*launch, str(ROOT / "trainers" / "train.py"), *argv], env=environment, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("vectors equal within") == 1
    assert everything(tmp_path) == {"rows.jsonl"}
