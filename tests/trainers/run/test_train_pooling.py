"""`--train pooling`: the base LLM stays as it is, and the adapter holds the pooling alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

import model_loaders
from tests.trainers.conftest import Command
from trainers.flags.command_line import parse
from trainers.run.build import build_trainer
from trainers.train import main

pytestmark = pytest.mark.usefixtures("unplanned")
FLAGS = {"train": "pooling", "lora_dropout": None}


def test_only_the_pooling_has_gradients(command: Command, tmp_path: Path) -> None:
    trainer = build_trainer(parse(command(tmp_path / "run", resume_from_checkpoint=None, **FLAGS), design="model3"))
    trainable = [name for name, parameter in trainer.model.named_parameters() if parameter.requires_grad]
    assert trainable and all(name.startswith("pooling.") for name in trainable)


def test_goes_on_to_the_same_weights(command: Command, base: Path, tmp_path: Path) -> None:
    for name in ("whole", "killed"):
        assert main(command(tmp_path / name, **FLAGS), design="model4") == 0
    run = tmp_path / "whole"
    assert not (run / "adapter_model.safetensors").exists()
    assert json.loads((run / "embedder.json").read_text())["lora"] is False
    assert torch.isfinite(torch.tensor(model_loaders.load(run).encode(["word1"]))).all()
    for name in ("train_result.json", "embedder.json"):
        (tmp_path / "killed" / name).unlink()
    for name in ("checkpoint-3", "checkpoint-4"):
        shutil.rmtree(tmp_path / "killed" / name)
    assert main(command(tmp_path / "killed", **FLAGS), design="model4") == 0
    weights = [(tmp_path / name / "pooling.safetensors").read_bytes() for name in ("whole", "killed")]
    assert weights[0] == weights[1]


@pytest.mark.parametrize(("design", "words"), [("model1", []), ("model3", ["--lora_r", "4"])])
def test_what_does_nothing_is_refused(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str], design: str, words: list[str]
) -> None:
    without = {"pooling_latents": None, "pooling_heads": None, "pooling_head_dim": None} if design == "model1" else {}
    argv = command(tmp_path / "run", **FLAGS, **without)
    with pytest.raises(SystemExit):
        parse([*argv, *words], design=design)
    assert "--train pooling" in capsys.readouterr().err
