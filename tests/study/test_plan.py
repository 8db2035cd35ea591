"""``--plan``: what is done, and where time and memory of the rest come from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from run_study import main
from study.cells import make_cells
from study.config import read_study
from study.estimate import Estimate
from study.inputs import prepare
from study.plan_table import outlook, taken
from tests.study.conftest import change


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished.parent, tmp_path / "copy")
    change(tmp_path / "copy" / "study.yaml", output_dir=str(tmp_path / "copy" / "out"))
    return tmp_path / "copy" / "study.yaml"


def test_times_come_from_finished_cells(copied: Path, capsys: Any) -> None:
    change(copied, seeds=[42, 43], designs=["model1", "model3", "model5"])
    assert main([str(copied), "--plan"]) == 0
    told = capsys.readouterr().out
    lines = told.splitlines()
    assert [line.split()[:3] for line in lines[:4]] == [
        ["0", "done", "mean_pooling"], ["1", "done", "model1-seed42"], ["2", "done", "model3-seed42"],
        ["3", "unfinished", "model5-seed42"],
    ]  # fmt: skip
    assert "7 cells: 3 done, 4 unfinished" in told
    assert "from 2 finished cells of this study" in told
    assert "measured" in lines[4] and "measured" not in lines[3]  # model1 with another seed; a design that nobody has run
    config = read_study(copied)
    inputs = prepare(config, copied)
    cells = {cell.name: cell for cell in make_cells(config, inputs)}
    done = [taken(cells[f"{name}-seed42"]) for name in ("model1", "model3")]
    assert outlook(cells["model3-seed43"], done, config, inputs)[0] == done[1].seconds
    assert outlook(cells["model5-seed43"], done, config, inputs)[0] == pytest.approx((done[0].seconds + done[1].seconds) / 2)


def test_without_finished_cells_a_few_steps_are_tried(study_file: Path, capsys: Any) -> None:
    change(study_file, designs=["model3"], seeds=[1, 2], tasks=None)
    assert main([str(study_file), "--plan"]) == 0
    told = capsys.readouterr().out
    assert "measured on 3 steps" in told and "planned" in told and "time left: about" in told
    (found,) = json.loads((study_file.parent / "out" / "estimates.json").read_text()).values()  # both seeds
    assert found["training"] > 0 and found["evaluation"] > 0 and found["memory"] > 50_000
    assert not list((study_file.parent / "out").glob(".estimate-*"))
    assert not (study_file.parent / "out" / "cells").exists()


def test_a_base_that_is_too_large_is_counted_not_tried(study_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import study.estimate

    monkeypatch.setattr(study.estimate, "LARGE", 10)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    config = read_study(study_file)
    inputs = prepare(config, study_file)
    cell = make_cells(config, inputs)[2]
    found: Estimate = study.estimate.estimate(cell, config, inputs)
    assert found.how.startswith("computed") and found.training and found.evaluation is None and found.memory


def test_data_that_cannot_be_trained_on_are_told(study_file: Path, capsys: Any) -> None:
    with study_file.with_name("train.jsonl").open("a") as file:
        file.write('{"query": "q", "positive": ""}\n')
    assert main([str(study_file), "--plan"]) == 1
    told = capsys.readouterr()
    assert "train.jsonl:25" in told.err and told.err.count("error:") == 1
    assert "3 cells: 3 unfinished" in told.out


def test_a_typo_in_flags_is_told_by_the_plan_too(study_file: Path) -> None:
    content = yaml.safe_load(study_file.read_text())
    change(study_file, training={**content["training"], "learning_ratee": 0.1})
    with pytest.raises(SystemExit):
        main([str(study_file), "--plan"])


def test_a_base_that_the_hub_cannot_be_asked_for_is_told_before_anything_runs(
    study_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr("huggingface_hub.model_info", offline)
    change(study_file, base_model="org/nothing", baselines=[])
    for flags in (["--plan"], []):
        assert main([str(study_file), *flags]) == 1
        told = capsys.readouterr()
        assert "error: base_model: org/nothing is no directory" in told.err and "(ConnectionError: no network)" in told.err
        assert ("model3-seed42" in told.out) == bool(flags), "the plan is shown all the same"
    assert not list(study_file.parent.glob("out/cells/*"))


def test_a_base_that_cannot_be_planned_says_why(study_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import study.estimate

    monkeypatch.setattr("trainers.memory.plan_config.plan_config", lambda *_, **__: 1 / 0)
    config = read_study(study_file)
    inputs = prepare(config, study_file)
    found = study.estimate.estimate(make_cells(config, inputs)[2], config, inputs)
    assert "the model cannot be planned (ZeroDivisionError: division by zero)" in found.how
