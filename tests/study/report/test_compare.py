"""The system that others are compared with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from common.files import write_json
from study.report.compare import compare, passed_over, scored_systems
from study.study import read_study
from tests.study.tiny_study import fake_cell


def test_scores_of_another_evaluation_are_no_scores(study_file: Path) -> None:
    cells = []
    for number, name in enumerate(("model1", "model3")):
        cells.append(replace(fake_cell(study_file.parent / "out" / "cells", number, name), design=name))
        cells[-1].folder.mkdir(parents=True)
    scores = {"scores": {"T": {"score": 0.5, "type": "STS"}}}
    write_json({"evaluation": "of longer texts", **scores}, cells[0].scores_file)
    write_json({"evaluation": cells[1].evaluation_key, **scores}, cells[1].scores_file)
    assert scored_systems(cells) == ["model3"]


def test_a_design_without_scores_is_passed_over(study_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cells = []
    for number, name in enumerate(("model1", "model3", "model5")):
        cells.append(replace(fake_cell(study_file.parent / "out" / "cells", number, name), design=name))
    study = replace(read_study(study_file), cells=cells)
    for cell in cells:
        cell.folder.mkdir(parents=True)
    assert passed_over(cells, study.config) == [], "nobody has scores"
    for cell in cells[1:]:
        write_json({"evaluation": cell.evaluation_key, "scores": {"T": {"score": 0.5, "type": "STS"}}}, cell.scores_file)
    write_json({"reason": "no memory"}, cells[0].failure_file)
    (sentence,) = passed_over(cells, study.config)
    assert "model1 stands before model3" in sentence and "(model1 failed: no memory)" in sentence
    assert compare(study) == 0 and sentence in capsys.readouterr().out
    config = replace(study.config, comparison={"baseline": "model1"})
    assert compare(replace(study, config=config)) == 1
    assert "baseline: model1 has no scores (model1 failed: no memory)" in capsys.readouterr().err


def test_a_report_that_is_given_away_has_no_texts(study_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = []
    for number, name in enumerate("ab"):
        cells.append(replace(fake_cell(study_file.parent / "out" / "cells", number, name), design=name))
    for cell in cells:
        cell.folder.mkdir(parents=True)
        write_json({"evaluation": cell.evaluation_key, "scores": {"T": {"score": 0.5, "type": "STS"}}}, cell.scores_file)
    study = replace(read_study(study_file), cells=cells)
    study = replace(study, inputs=replace(study.inputs, eval_dir="tasks"))
    asked: list[list[str]] = []
    monkeypatch.setattr("study.report.compare.compare_folders", lambda words: asked.append(words) or 0)
    compare(study)
    compare(replace(study, config=replace(study.config, comparison={"texts": False})))
    with_texts, without = asked
    assert with_texts[with_texts.index("--texts") + 1] == "tasks"
    assert not any("texts" in word for word in without)
