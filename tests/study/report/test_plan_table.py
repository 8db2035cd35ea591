"""``--plan``: time and memory of cells before any has finished, and mistakes that are told before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from study import estimate
from study.study import read_study
from tests.study.tiny_study import Main, change, load


def test_a_few_steps_are_tried(study_file: Path, main: Main) -> None:
    change(study_file, designs=["model3"], seeds=[1, 2], tasks=None)
    status, told, errors = main(study_file, "--plan")
    assert status == 0
    said = [line for line in errors.splitlines() if line.startswith("[plan")]
    assert len(said) == 1 and "model3-seed1: planning memory" in said[0], "what is being measured; the second seed is not tried"
    assert "[plan" not in told
    assert "measured on 3 steps" in told and "planned" in told and "time left: about" in told
    out = study_file.parent / "out"
    (figures,) = load(out / "estimates.json").values()  # both seeds
    assert figures["training"] > 0 and figures["evaluation"] > 0 and figures["memory"] > 50_000
    assert not list(out.glob(".estimate-*"))
    assert not (out / "cells").exists()


def test_a_large_base_is_counted_not_tried(study_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "LARGE", 10)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    study = read_study(study_file)
    figures = estimate.estimate(study, study.cells[2])
    assert figures.how.startswith("computed") and figures.training and figures.evaluation is None and figures.memory


def test_data_that_cannot_be_trained_on(study_file: Path, main: Main) -> None:
    with study_file.with_name("train.jsonl").open("a") as file:
        file.write('{"query": "q", "positive": ""}\n')
    status, told, errors = main(study_file, "--plan")
    assert status == 1
    assert "train.jsonl:25" in errors and errors.count("error:") == 1
    assert "3 cells: 3 unfinished" in told


@pytest.mark.parametrize("flags", [["--plan"], []])
def test_a_typo_in_training_flags(study_file: Path, main: Main, flags: list[str], capsys: Any) -> None:
    training = yaml.safe_load(study_file.read_text())["training"]
    change(study_file, training=training, recipes={"fast": {"learning_ratee": 0.1}})
    with pytest.raises(SystemExit) as stop:
        main(study_file, *flags)
    out, errors = capsys.readouterr()
    assert stop.value.code == 2 and "learning_rate" in errors
    assert "started" not in out


def test_a_base_that_the_hub_does_not_have(study_file: Path, main: Main, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr("huggingface_hub.model_info", offline)
    change(study_file, base_model="org/nothing", baselines=[])
    for flags in (["--plan"], []):
        status, told, errors = main(study_file, *flags)
        assert status == 1
        assert "error: base_model: org/nothing is no directory" in errors and "(ConnectionError: no network)" in errors
        assert ("model3-seed42" in told) == bool(flags), "the plan is shown all the same"
    assert not list(study_file.parent.glob("out/cells/*"))


def test_a_base_that_cannot_be_planned(study_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "plan_config", lambda *_, **__: 1 / 0)
    study = read_study(study_file)
    figures = estimate.estimate(study, study.cells[2])
    assert "the model cannot be planned (ZeroDivisionError: division by zero)" in figures.how
