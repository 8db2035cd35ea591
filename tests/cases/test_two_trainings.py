"""Two trainings into one output directory: the second is told of the first, which goes on undisturbed."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from pathlib import Path

import pytest

from common.locks import locked
from tests.contracts.warm import Warm
from tests.trainers.commands import arguments
from trainers.checkpoints.run_files import LOCK_FILE
from trainers.train import main


def wait_for(path: Path, log: Path) -> None:
    end = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.01)


def test_the_second_training_leaves_at_once(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = arguments(base, tmp_path)
    with locked(tmp_path / "out" / LOCK_FILE, "it", patience=0):
        assert main(flags, design="model1") == 1
    error = capsys.readouterr().err
    assert re.search(rf"--output_dir \S+out is in use .*process {os.getpid()} on \S+ since \d{{4}}-", error)
    assert error.count("\n") == 1
    assert not (tmp_path / "out" / "train_config.json").exists()


def test_the_folder_is_free_after_a_kill(base: Path, tmp_path: Path, warm: Warm) -> None:
    flags = [*arguments(base, tmp_path), "--dataloader_num_workers", "2"]  # workers outlive a killed parent for a while
    long = [*flags[:-2], "--dataloader_num_workers", "2", "--max_steps", "100000", "--logging_steps", "1"]
    pid = warm.start(long, tmp_path / "first", design="model1")
    wait_for(tmp_path / "out" / "metrics.jsonl", tmp_path / "first")
    second = warm.start([*flags, "--learning_rate", "0.5"], tmp_path / "second", design="model1")
    assert warm.wait(second) == 1
    assert f"process {pid} on" in (tmp_path / "second").read_text()
    assert json.loads((tmp_path / "out" / "train_config.json").read_text())["learning_rate"] == 0.01
    os.kill(pid, signal.SIGKILL)
    warm.wait(pid)
    third = warm.start(flags, tmp_path / "third", design="model1")
    assert warm.wait(third) == 0, (tmp_path / "third").read_text()
    assert not (tmp_path / "out" / LOCK_FILE).exists()


def test_a_run_that_never_began_leaves_no_folder(base: Path, tmp_path: Path) -> None:
    flags = arguments(base, tmp_path)
    (tmp_path / "rows.jsonl").write_text("{}\n")
    assert main(flags, design="model1") == 1
    assert not (tmp_path / "out").exists()
