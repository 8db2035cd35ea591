"""A run with a Matryoshka loss: what it logs, saves and says, and that it goes on to the same weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import model_loaders
from tests.trainers.checkpoints.tools import metrics, weights
from tests.trainers.conftest import Command
from trainers.flags.command_line import parse
from trainers.run.build import build_trainer
from trainers.train import main

pytestmark = pytest.mark.usefixtures("unplanned")

FLAGS = {"matryoshka_dims": "32,8", "matryoshka_weights": "1,0.3"}


@pytest.fixture(scope="module")
def run(command: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("matryoshka") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trainers.run.build.fit_memory", lambda *_: "not planned")
        assert main(command(output, **FLAGS), design="model3") == 0
    return output


def test_the_adapter_knows_its_widths(run: Path) -> None:
    assert json.loads((run / "embedder.json").read_text())["trained_dimensions"] == [32, 8]
    model = model_loaders.load(run)
    assert model.trained_dimensions == (32, 8)
    whole, narrow = model.encode(["word1 word2"]), model.encode(["word1 word2"], dimensions=8)
    assert np.allclose(narrow[0], whole[0, :8] / np.linalg.norm(whole[0, :8]), atol=1e-6)


def test_figures_are_logged_by_width(run: Path) -> None:
    logged = [line for line in metrics(run) if "margin" in line]
    assert logged and all("margin_8" in line and "effective_rank_8" in line for line in logged)


def test_goes_on_to_the_same_weights(run: Path, command: Command, tmp_path: Path) -> None:
    killed = shutil.copytree(run, tmp_path / "run")
    for name in ("train_result.json", "embedder.json"):
        (killed / name).unlink()
    shutil.rmtree(killed / "checkpoint-4")
    shutil.rmtree(killed / "checkpoint-3")
    assert main(command(killed, **FLAGS), design="model3") == 0
    assert weights(killed) == weights(run) and metrics(killed) == metrics(run)


def test_dry_run(command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = command(tmp_path / "run", resume_from_checkpoint=None, **FLAGS)
    assert main([*argv, "--dry_run"], design="model3") == 0
    assert "vectors equal within" in capsys.readouterr().out
    assert not (tmp_path / "run").exists()


def test_the_banner_says_what_is_not_trained(command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build_trainer(parse(command(tmp_path / "run", matryoshka_dims="16,8", resume_from_checkpoint=None), design="model3"))
    output = capsys.readouterr().out
    assert "summed over the widths 16 (weight 1), 8 (weight 1)" in output
    assert "behind the first 16 of 32 are in no loss" in output


def test_a_width_beyond_the_vectors_is_refused(command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(tmp_path / "run", matryoshka_dims="64"), design="model3") == 1
    assert "--matryoshka_dims 64: the vectors of this model have 32 numbers" in capsys.readouterr().err
