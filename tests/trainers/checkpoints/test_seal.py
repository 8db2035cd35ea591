"""Damage to a checkpoint's files is noticed: when they are written, and before a run goes on from them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from common.errors import UserError
from tests.trainers.checkpoints.tools import cut, flip
from trainers.checkpoints.read_back import read_back
from trainers.checkpoints.run_files import SEAL_FILE, checkpoints
from trainers.checkpoints.seal import damage
from trainers.run.trainer import ContrastiveTrainer
from trainers.train import main

pytestmark = pytest.mark.usefixtures("unplanned")


@pytest.mark.parametrize("harm", [flip, cut, Path.unlink], ids=["flipped", "cut", "missing"])
def test_damaged_file_is_named(finished_run: Path, tmp_path: Path, harm: Callable[[Path], None]) -> None:
    whole = finished_run / "checkpoint-4"
    assert damage(whole) is None
    for file in sorted(whole.iterdir()):
        copy = shutil.copytree(whole, tmp_path / "copy")
        harm(copy / file.name)
        named = "" if file.name == SEAL_FILE and harm is flip else file.name  # it may be another file's checksum that is wrong
        trouble = damage(copy)
        assert trouble is not None and named in trouble, file.name
        shutil.rmtree(copy)


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_unreadable_state_is_named(finished_run: Path, tmp_path: Path, name: str) -> None:
    copy = shutil.copytree(finished_run / "checkpoint-4", tmp_path / "copy")
    read_back(copy, {}, step=4, ranks=1)
    (copy / name).write_bytes((copy / name).read_bytes()[: (copy / name).stat().st_size // 2])
    with pytest.raises(UserError, match=name):
        read_back(copy, {}, step=4, ranks=1)


def test_wrong_write_is_removed(
    command: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save = ContrastiveTrainer._save_rng_state

    def save_wrongly(self: ContrastiveTrainer, directory: str) -> None:
        save(self, directory)
        if self.state.global_step == 2:
            flip(Path(directory) / "pooling.safetensors")

    monkeypatch.setattr(ContrastiveTrainer, "_save_rng_state", save_wrongly)
    run = tmp_path / "run"
    assert main(command(run), design="model3") == 1
    error = capsys.readouterr().err
    assert "pooling.safetensors does not read back" in error and "MB free" in error
    assert [path.name for path in checkpoints(run)] == ["checkpoint-1"]
    assert not (run / ".stage").exists() and damage(run / "checkpoint-1") is None
