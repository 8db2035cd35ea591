"""A study file is hashed with its date before scores exist, and the report says which choices were planned."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from common.file_hashes import file_hash
from comparison.errors import ComparisonError
from comparison.reading.declared_plan import FILE, Declaration, planned, read_declarations
from study.report.declared_plan import declare
from study.study import read_study
from tests.study.tiny_study import change


def test_a_study_declares_once_until_its_file_changes(study_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(study_file.parent)
    study = read_study(study_file)
    path = declare(study)
    (first,) = read_declarations(study.output_dir)
    assert first.sha256 == file_hash(study_file) and first.cells_with_scores == 0 and first.baseline == "model1"
    before = path.read_bytes()
    assert declare(study).read_bytes() == before
    change(study_file, comparison={"margin": 0.02})
    (study.cells[0].folder).mkdir(parents=True)
    (study.cells[0].folder / "scores.json").write_text(json.dumps({"scores": {"STS": {"score": 0.5}}}))
    declare(read_study(study_file))
    first_again, second = read_declarations(study.output_dir)
    assert first_again == first and second.margin == 0.02 and second.cells_with_scores == 1


def test_scores_of_earlier_settings_count(study_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has seen a whole study and changes its rate and its baseline has planned nothing."""
    monkeypatch.chdir(study_file.parent)
    study = read_study(study_file)
    declare(study)
    study.cells[1].folder.mkdir(parents=True)
    study.cells[1].scores_file.write_text(json.dumps({"scores": {"STS": {"score": 0.5}}}))
    training = {**study.config.training, "learning_rate": 0.02}
    change(study_file, training=training, comparison={"baseline": "model3"})
    later = read_study(study_file)
    assert later.cells[1].folder != study.cells[1].folder
    declare(later)
    assert [entry.cells_with_scores for entry in read_declarations(study.output_dir)] == [0, 1]


def test_half_a_file_of_scores_stops_no_study(study_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(study_file.parent)
    study = read_study(study_file)
    study.cells[1].folder.mkdir(parents=True)
    study.cells[1].scores_file.write_text('{"scores": {"ST')
    declare(study)
    (entry,) = read_declarations(study.output_dir)
    assert entry.cells_with_scores == 0


PLAN = Declaration("2026-11-29T20:15:00+00:00", "study.yaml", "ab" * 32, 0, "model1")


def test_what_was_planned_is_said() -> None:
    assert planned([PLAN], replace(PLAN, date="")) == (
        "Planned, by study.yaml (SHA-256 abababababab) on 2026-11-29T20:15:00+00:00, before a score existed: baseline model1, "
        "margin 1 point, file of families none, --unrelated False, --same_revision False."
    )
    other = planned([PLAN], replace(PLAN, baseline="model2", margin=0.02))
    assert "Not planned: baseline model2 (planned: model1), margin 2 points (planned: 1 point)." in other
    late = replace(PLAN, cells_with_scores=3, sha256="cd" * 32)
    assert "changed once after scores existed; its last hash is cdcdcdcdcdcd" in planned([PLAN, late], PLAN)
    assert planned([late], PLAN).startswith("No plan was kept before scores existed") and planned([], PLAN) == planned(
        [late], PLAN
    )


def test_a_damaged_plan_is_named(tmp_path: Path) -> None:
    assert read_declarations(tmp_path) == []
    for content in ("{", "[]", '{"declarations": [{"margin": "x"}]}', '{"declarations": 3}'):
        (tmp_path / FILE).write_text(content)
        with pytest.raises(ComparisonError, match=FILE):
            read_declarations(tmp_path)
