"""Runs that go on: to the weights and metrics of an undisturbed run, bit for bit."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.trainers.checkpoints.tools import cut, evaluated_steps, flip, metrics, weights
from tests.trainers.conftest import Command
from trainers.checkpoints.resuming import cut_later_metrics
from trainers.checkpoints.run_files import SEAL_FILE, checkpoints
from trainers.run.stopping import SIGNALS
from trainers.run.trainer import ContrastiveTrainer
from trainers.train import main

pytestmark = pytest.mark.usefixtures("unplanned")


def test_damaged_checkpoints_are_put_aside(
    killed_run: Path, finished_run: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    flip(killed_run / "checkpoint-4" / "pooling.safetensors")
    cut(killed_run / "checkpoint-3" / "optimizer.pt")
    assert main(command(killed_run), design="model3") == 0
    output = capsys.readouterr().out
    assert "checkpoint-4 is damaged: pooling.safetensors" in output and "checkpoint-3 is damaged: optimizer.pt" in output
    assert (killed_run / "damaged-checkpoint-4").is_dir() and (killed_run / "damaged-checkpoint-3").is_dir()
    assert weights(killed_run) == weights(finished_run) and metrics(killed_run) == metrics(finished_run)


def test_killed_in_the_final_save(killed_run: Path, finished_run: Path, command: Command) -> None:
    """Four steps end within an epoch of three; Trainer alone would train a fifth."""
    (killed_run / ".stage" / "checkpoint-4").mkdir(parents=True)  # of a kill before that; takes room on the disk
    assert main(command(killed_run), design="model3") == 0
    assert not (killed_run / ".stage").exists()
    assert weights(killed_run) == weights(finished_run) and metrics(killed_run) == metrics(finished_run)
    assert json.loads((killed_run / "train_result.json").read_text())["steps"] == 4


def test_longer_run(command: Command, tmp_path: Path) -> None:
    constant = {"lr_scheduler_type": "constant", "save_steps": 2, "save_total_limit": 2}
    assert main(command(tmp_path / "short", max_steps=2, **constant), design="model3") == 0
    assert main(command(tmp_path / "short", max_steps=5, **constant), design="model3") == 0
    assert main(command(tmp_path / "long", max_steps=5, **constant), design="model3") == 0
    assert weights(tmp_path / "short") == weights(tmp_path / "long")
    assert metrics(tmp_path / "short") == metrics(tmp_path / "long")
    for run in ("short", "long"):
        assert [path.name for path in checkpoints(tmp_path / run)] == ["checkpoint-4", "checkpoint-5"]


def test_no_checkpoints(finished_run: Path, command: Command, tmp_path: Path) -> None:
    """A run whose end was cut starts again."""
    argv = command(tmp_path / "run", save_strategy="no")
    assert main(argv, design="model3") == 0
    (tmp_path / "run" / "train_result.json").unlink()
    assert main(argv, design="model3") == 0
    assert weights(tmp_path / "run") == weights(finished_run)


def test_another_output_directory(killed_run: Path, command: Command, tmp_path: Path) -> None:
    """Metrics are logged as often as this command asks, not the one before."""
    argv = command(tmp_path / "second", resume_from_checkpoint=killed_run / "checkpoint-2", logging_steps=2)
    assert main(argv, design="model3") == 0
    assert [line["step"] for line in metrics(tmp_path / "second")] == [4]


def test_other_spelling(
    killed_run: Path, finished_run: Path, command: Command, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    argv = command(killed_run)
    shutil.copy(argv[argv.index("--dataset_name") + 1], tmp_path / "same.jsonl")
    monkeypatch.chdir(tmp_path)
    shutil.rmtree(killed_run / "checkpoint-4")
    spelled = {"dataset_name": "same.jsonl", "model_name_or_path": base / ".." / base.name, "ddp_timeout": 60}
    assert main(command(killed_run, **spelled), design="model3") == 0
    assert weights(killed_run) == weights(finished_run) and metrics(killed_run) == metrics(finished_run)
    by_path = [word.replace("--dataset_name", "--dataset_file_path") for word in argv]
    assert main(by_path, design="model3") == 0  # finished, by whatever name
    assert weights(killed_run) == weights(finished_run) and metrics(killed_run) == metrics(finished_run)


def test_weights_that_are_not_finite(command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The optimizer's step made them, after the check of gradients: nothing is saved, and the advice is not to try again."""
    argv = command(tmp_path / "run", learning_rate=1e38, max_grad_norm=0, optim="sgd", max_steps=1)
    assert main(argv, design="model3") == 1
    error = capsys.readouterr().err
    assert "diverged" in error and "--learning_rate" in error and "full disk" not in error
    assert not list((tmp_path / "run").glob("checkpoint-*"))


# Metrics and evaluations


def test_later_metrics_are_cut(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    lines = ['{"step": 1, "loss": 3}', '{"step": 2, "loss": 2}', '{"step": 2, "eval_loss": 2}', '{"step": 3, "loss": 1}']
    path.write_text("\n".join([*lines, '{"step": 3, "train_run']))
    cut_later_metrics(path, 3, 1)
    assert path.read_text().splitlines() == lines
    cut_later_metrics(path, 2, 2)
    assert path.read_text().splitlines() == lines[:3]
    cut_later_metrics(path, 2, 1)
    assert path.read_text().splitlines() == lines[:2]
    path.write_text("\n".join([*lines, '{"step": 3, "train_runtime": 9}', '{"step": 4, "loss": 1}', ""]))
    cut_later_metrics(path, 4, 1)
    assert path.read_text().splitlines() == lines
    cut_later_metrics(path, -1, 0)
    assert path.read_text() == ""


def test_epoch_evaluation_before_the_save(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The epoch's last step is saved when its evaluation is logged: a kill cannot come between."""
    run, argv = tmp_path / "run", command(tmp_path)
    rows = argv[argv.index("--dataset_name") + 1]
    argv = command(run, eval_dataset=rows, eval_strategy="epoch", logging_strategy="epoch", max_steps=4)
    with monkeypatch.context() as patch:
        patch.setattr(ContrastiveTrainer, "evaluate", None)
        with pytest.raises(TypeError, match="NoneType"):
            main(argv, design="model3")
    assert [path.name for path in checkpoints(run)] == ["checkpoint-1", "checkpoint-2"]
    assert main(argv, design="model3") == 0
    history = json.loads((run / "checkpoint-3" / "trainer_state.json").read_text())["log_history"]
    assert [line["step"] for line in history if "eval_loss" in line] == [3]
    assert [line["step"] for line in history if "loss" in line] == [3]

    shutil.rmtree(run / "checkpoint-4")
    before, logged = weights(run), metrics(run)
    (run / "train_result.json").unlink()
    assert main(argv, design="model3") == 0
    assert weights(run) == before and metrics(run) == logged


def signal_in(step: int, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the process sent a signal in the middle of a step."""
    train = ContrastiveTrainer.training_step

    def training_step(self: ContrastiveTrainer, *args: Any, **kwargs: Any) -> Any:
        if self.state.global_step == step - 1:
            os.kill(os.getpid(), number)
        return train(self, *args, **kwargs)

    monkeypatch.setattr(ContrastiveTrainer, "training_step", training_step)


def test_evaluation_that_a_stop_left_out(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is made up for when the run goes on, and again if that is killed before the next checkpoint; it is logged once."""
    run, argv = tmp_path / "run", command(tmp_path)
    evaluated = {
        "eval_dataset": argv[argv.index("--dataset_name") + 1],
        "eval_strategy": "steps",
        "eval_steps": 2,
        "save_strategy": "no",
    }
    assert main(command(tmp_path / "whole", **evaluated), design="model3") == 0
    argv = command(run, **evaluated)
    with monkeypatch.context() as patch:
        signal_in(2, signal.SIGTERM, patch)
        assert main(argv, design="model3") == 143
    assert evaluated_steps(run) == []
    with monkeypatch.context() as patch:
        patch.setattr(ContrastiveTrainer, "training_step", None)
        with pytest.raises(TypeError, match="NoneType"):
            main(argv, design="model3")
    assert evaluated_steps(run) == [2]
    assert main(argv, design="model3") == 0
    assert evaluated_steps(run) == [2, 4]
    assert metrics(run) == metrics(tmp_path / "whole") and weights(run) == weights(tmp_path / "whole")


def test_cut_texts_of_the_whole_run(command: Command, tmp_path: Path) -> None:
    """Those are counted too that no line has reported yet when the checkpoint is written."""
    run = tmp_path / "run"
    argv = command(run, max_seq_length=4, query_max_length=5, save_steps=3, logging_steps=2)
    assert main(argv, design="model3") == 0
    result = run / "train_result.json"

    def shares() -> dict[str, float]:
        return {name: value for name, value in json.loads(result.read_text()).items() if "truncated" in name}

    def go_on_from(step: int) -> dict[str, float]:
        result.unlink()
        if step == 3:
            shutil.rmtree(run / "checkpoint-4")
        assert main(argv, design="model3") == 0
        return shares()

    first = shares()
    assert len(first) == 2 and first["truncated_documents"] > 0
    assert go_on_from(3) == first
    seal = run / "checkpoint-4" / SEAL_FILE
    content = json.loads(seal.read_text())
    assert content["seen"][1:3] == [8, 16]  # four batches of two queries, each with two documents
    assert go_on_from(4) == first
    del content["seen"]
    seal.write_text(json.dumps(content))
    assert go_on_from(4) == {}  # rather than those of a part


# Signals


def test_signal_saves_and_leaves(
    finished_run: Path,
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    run = tmp_path / "run"
    argv = command(run, save_strategy="no", save_only_model="true")
    with monkeypatch.context() as patch:
        signal_in(2, signal.SIGTERM, patch)
        assert main(argv, design="model3") == 143
    assert [signal.getsignal(number) for number in SIGNALS] == before
    error = capsys.readouterr().err
    assert "after step 2" in error and "checkpoint-2" in error and "--resume_from_checkpoint true" in error
    assert [path.name for path in checkpoints(run)] == ["checkpoint-2"]
    assert not (run / "train_result.json").exists() and not (run / "embedder.json").exists()
    assert main(argv, design="model3") == 0
    assert weights(run) == weights(finished_run) and metrics(run) == metrics(finished_run)


def test_signal_in_the_last_step(finished_run: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    signal_in(4, signal.SIGTERM, monkeypatch)
    assert main(command(tmp_path / "run", save_strategy="no"), design="model3") == 0
    assert weights(tmp_path / "run") == weights(finished_run)


def test_signal_before_the_first_step(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("trainers.run.train_run.build_trainer", lambda _: os.kill(os.getpid(), signal.SIGTERM))
    assert main(command(tmp_path / "run"), design="model3") == 143
    assert "before the first step" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
