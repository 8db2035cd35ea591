"""A run whose evaluations are scripted: the best checkpoint is kept and saved, and the patience ends; also across starts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.trainers.checkpoints.tools import contents, evaluated_steps, metrics, weights
from tests.trainers.conftest import Command
from trainers.checkpoints.run_files import checkpoints
from trainers.run.trainer import ContrastiveTrainer
from trainers.train import main

Scripted = Callable[..., list[str]]
LOSSES = {1: 0.5, 2: 0.2, 3: 0.4, 4: 0.3, 5: 0.35, 6: 0.1}


@pytest.fixture
def scripted(command: Command, monkeypatch: pytest.MonkeyPatch, unplanned: None) -> Scripted:
    """Makes a command that evaluates and saves each step; the losses are those of `LOSSES`."""

    def held_out(self: ContrastiveTrainer, rows: Any) -> tuple[float, float]:
        return LOSSES[self.state.global_step], 0.5

    monkeypatch.setattr(ContrastiveTrainer, "held_out", held_out)

    def make(output: Path, **flags: Any) -> list[str]:
        argv = command(output, **{"eval_steps": 1, "save_total_limit": 1, "load_best_model_at_end": "true", **flags})
        return [*argv, "--eval_dataset", argv[argv.index("--dataset_name") + 1]]

    return make


def steps_of(output: Path) -> list[str]:
    return [path.name.removeprefix("checkpoint-") for path in checkpoints(output)]


def result_of(output: Path) -> dict[str, Any]:
    return json.loads((output / "train_result.json").read_text())


def test_the_best_checkpoint_is_the_adapter(scripted: Scripted, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "run"
    assert main(scripted(output), design="model3") == 0
    assert steps_of(output) == ["2", "4"]
    assert weights(output) == weights(output / "checkpoint-2") != weights(output / "checkpoint-4")
    assert json.loads((output / "embedder.json").read_text())["step"] == 2
    assert "step" not in json.loads((output / "checkpoint-2" / "embedder.json").read_text())
    assert result_of(output)["steps"] == 4
    assert result_of(output)["best"] == {"step": 2, "metric": "eval_loss", "value": 0.2}
    assert "after 4 steps, with the weights of step 2, the best by eval_loss (0.2000)" in capsys.readouterr().out
    # A longer run goes on from the last step, not from the best one.
    assert main(scripted(output, max_steps=6), design="model3") == 0
    assert steps_of(output) == ["6"] and weights(output) == weights(output / "checkpoint-6")


@pytest.mark.slow
def test_the_patience_ends(scripted: Scripted, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also where the run is killed before its adapter is written, or comes from a checkpoint before."""
    output, argv = tmp_path / "run", scripted(tmp_path / "run", max_steps=6, early_stopping_patience=2)
    assert main(argv, design="model3") == 0
    assert (
        "the run ends after step 4: no better eval_loss in 2 evaluations; the best is 0.2000, of step 2"
        in capsys.readouterr().out
    )
    assert evaluated_steps(output) == [1, 2, 3, 4] and result_of(output)["steps"] == 4
    adapter, logged = weights(output), metrics(output)
    assert main(argv, design="model3") == 0
    assert "is finished" in capsys.readouterr().out
    (output / "train_result.json").unlink()
    assert main(argv, design="model3") == 0
    assert weights(output) == adapter and metrics(output) == logged and result_of(output)["best"]["step"] == 2
    # A longer patience takes the run up again.
    assert main(scripted(output, max_steps=6, early_stopping_patience=3), design="model3") == 0
    assert evaluated_steps(output) == [1, 2, 3, 4, 5] and result_of(output)["best"]["step"] == 2


@pytest.mark.slow
def test_a_run_that_goes_on_knows_its_best_and_its_patience(
    scripted: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = {"max_steps": 6, "early_stopping_patience": 2}
    assert main(scripted(tmp_path / "whole", **flags), design="model3") == 0
    output = tmp_path / "run"
    with monkeypatch.context() as patch:
        step = ContrastiveTrainer.training_step

        def killed(self: ContrastiveTrainer, *args: Any, **kwargs: Any) -> Any:
            if self.state.global_step == 3:
                raise TypeError("killed")
            return step(self, *args, **kwargs)

        patch.setattr(ContrastiveTrainer, "training_step", killed)
        with pytest.raises(TypeError, match="killed"):
            main(scripted(output, **flags), design="model3")
    assert steps_of(output) == ["2", "3"]
    assert main(scripted(output, **flags), design="model3") == 0
    assert metrics(output) == metrics(tmp_path / "whole") and weights(output) == weights(tmp_path / "whole")
    assert result_of(output)["best"] == result_of(tmp_path / "whole")["best"]


def test_losses_of_other_evaluations_are_not_compared(
    scripted: Scripted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another batch or other rows change every loss; a run that chose nothing meanwhile has them in its log."""
    output = tmp_path / "run"
    assert main(scripted(output, max_steps=2), design="model3") == 0
    before = contents(output)
    for changes in ({"per_device_eval_batch_size": 3}, {"max_eval_samples": 4}):
        assert main(scripted(output, max_steps=3, **changes), design="model3") == 1
        assert "was computed on other data or in other batches" in capsys.readouterr().err
        assert contents(output) == before
    plain = {"load_best_model_at_end": "false", "save_total_limit": 9}
    assert main(scripted(output, max_steps=3, max_eval_samples=4, **plain), design="model3") == 0
    assert main(scripted(output, max_steps=4), design="model3") == 1
    assert main(scripted(output, max_steps=4, **plain), design="model3") == 0


@pytest.mark.slow
def test_a_best_checkpoint_that_is_damaged(scripted: Scripted, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The next best one is taken, and a line says so."""
    output = tmp_path / "run"
    assert main(scripted(output, save_total_limit=9), design="model3") == 0
    (output / "checkpoint-2" / "pooling.safetensors").unlink()
    (output / "train_result.json").unlink()
    assert main(scripted(output, save_total_limit=9), design="model3") == 0
    assert "step 2 has the better eval_loss (0.2000), but its checkpoint is not whole" in capsys.readouterr().err
    assert result_of(output)["best"]["step"] == 4


@pytest.mark.slow
def test_a_figure_that_is_not_evaluated(scripted: Scripted, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(scripted(tmp_path / "run", metric_for_best_model="mean"), design="model3") == 1
    assert (
        "--metric_for_best_model mean: the evaluations of this run have no such figure; they have loss"
        in capsys.readouterr().err
    )
