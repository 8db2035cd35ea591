"""`study.json`: the documented example is valid, mistakes are told with their place, and cells are read as it says."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from comparison.__main__ import main
from comparison.errors import ComparisonError
from comparison.reading.results_folder import read
from comparison.reading.study_data import CellData, StudyData
from comparison.reading.study_file import read_study_file
from comparison.reading.study_folder import note_on_grid
from comparison.reading.systems import Reading, grid_cells
from tests.comparison.conftest import Write
from tests.tiny import ROOT

CELL = {"name": "model3-seed42", "design": "model3"}


def save(folder: Path, **content: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.json").write_text(json.dumps({"format": 1, **content}), encoding="utf-8")
    return folder


def documented() -> dict[str, Any]:
    text = (ROOT / "docs" / "report_data.md").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text.split("```json")[1].split("```")[0])
    return found


def test_the_documented_example_is_read(tmp_path: Path) -> None:
    content = documented()
    metrics = tmp_path / content["cells"][0]["curve"]
    metrics.parent.mkdir(parents=True)
    lines = [{"step": 5, "loss": 4.5, "grad_norm": 2.0, "time": 1.0}, {"step": 10, "eval_loss": 1.0}, {"step": 10, "loss": 3.5}]
    metrics.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 15, "lo', encoding="utf-8")
    (tmp_path / "study.json").write_text(json.dumps(content), encoding="utf-8")
    found = read_study_file(tmp_path)
    assert found is not None
    assert [(point.step, point.loss, point.grad_norm) for point in found.cells[0].curve] == [(5, 4.5, 2.0), (10, 3.5, None)]
    assert found.cells[0].compared_as == "model3" and found.attention[0].mass[1][2] == 0.4
    assert found.leakage is not None and found.leakage[0].total == 3108
    assert read_study_file(tmp_path / "cells") is None


def test_a_run_that_went_back_and_one_that_diverged(tmp_path: Path) -> None:
    nan = float("nan")
    curve = [{"step": s, "loss": v} for s, v in [(1, 5.0), (2, 4.0), (3, 3.0), (4, 3.0), (2, 3.9), (3, nan)]]
    found = read_study_file(save(tmp_path, cells=[{**CELL, "curve": curve, "status": "diverged", "reason": "loss is NaN"}]))
    assert found is not None
    assert [(point.step, point.loss) for point in found.cells[0].curve] == [(1, 5.0), (2, 3.9), (3, None)]


def test_scores_while_training_belong_to_their_step(tmp_path: Path) -> None:
    lines = [
        {"step": 0, "eval_mean": 0.1},
        {"step": 2, "loss": 4.0},
        {"step": 2, "eval_mean": 0.2},
        {"step": 3, "eval_loss": 1.0},
    ]
    again = [{"step": 2, "loss": 3.9}, {"step": 2, "eval_mean": 0.3}]
    for curve, expected in ((lines, 0.2), ([*lines, *again], 0.3)):
        found = read_study_file(save(tmp_path, cells=[{**CELL, "curve": curve}]))
        points = [(point.step, point.loss, point.eval_mean) for point in found.cells[0].curve]
        assert points == [(0, None, 0.1), (2, 4.0 if expected == 0.2 else 3.9, expected)]
    assert found.leakage is None, "nobody looked"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"format": 2}, 'expected "format": 1'),
        ({"cels": []}, "unknown key 'cels' (did you mean 'cells'?)"),
        ({"cells": [{"name": "a"}]}, "cells[0]: the key 'design' is missing"),
        ({"cells": [CELL, CELL]}, "'model3-seed42' stands there twice"),
        ({"cells": [{**CELL, "status": "diverge"}]}, "cells[0]: status is 'diverge', not one of 'done'"),
        ({"cells": [{**CELL, "seed": "42"}]}, "cells[0]: seed is '42', not a whole number"),
        ({"cells": [{**CELL, "training_seconds": -1}]}, "cells[0]: training_seconds: -1.0 is negative"),
        ({"cells": [{**CELL, "curve": "../other/metrics.jsonl"}]}, "must be below the study's folder"),
        ({"cells": [{**CELL, "curve": "nowhere.jsonl"}]}, "'nowhere.jsonl' cannot be read"),
        ({"cells": [{**CELL, "curve": [{"loss": 1.0}]}]}, "expected a whole number as step"),
        ({"cells": [CELL], "attention": [{"cell": "model3-seed4", "texts": "x", "by": "head", "mass": [[1.0]]}]},
         "there is no cell 'model3-seed4' (did you mean 'model3-seed42'?)"),
        ({"cells": [CELL], "attention": [{"cell": "model3-seed42", "texts": "x", "by": "head", "mass": [[0.5, 0.4]]}]},
         "attention[0]: mass[0]: a row's masses are positive and add up to 1, not 0.9"),
        ({"cells": [CELL], "attention": [{"cell": "model3-seed42", "texts": "x", "by": "head", "mass": [[1.0], []]}]},
         "rows of equal length"),
        ({"truncation": [{"task": "a", "side": "query", "texts": 3, "cut": 4}]}, "4 of 3 texts are cut"),
        ({"leakage": [{"training_file": "a", "task": "b", "count": 4, "total": 3}]}, "4 of 3 texts are found"),
        ({"recipe": []}, "recipe is [], not an object"),
    ],
)  # fmt: skip
def test_mistakes_are_told_with_their_place(tmp_path: Path, content: dict[str, Any], said: str) -> None:
    with pytest.raises(ComparisonError) as error:
        read_study_file(save(tmp_path, **content))
    assert said in str(error.value) and "study.json" in str(error.value)


def test_a_file_that_is_no_json_is_refused_by_the_command(write_study: Write, tmp_path: Path, capsys: Any) -> None:
    root = write_study({"model1-seed1": {"NQ": 0.5}, "model2-seed1": {"NQ": 0.6}})
    (root / "study.json").write_text("{", encoding="utf-8")
    assert main([str(root), "--output_dir", str(tmp_path / "out")]) == 1
    assert "study.json cannot be read" in capsys.readouterr().err


def test_cells_are_systems_and_runs_as_the_file_says(write_study: Write) -> None:
    root = write_study({"a-seed1": {"NQ": 0.5}, "a-seed2": {"NQ": 0.6}, "b-seed1": {"NQ": 0.4}}, failed={"z-seed1": "old"})
    cells = [
        {"name": "a-seed1", "design": "model1", "seed": 1},
        {"name": "a-seed2", "design": "model1", "seed": 2, "status": "diverged", "reason": "the loss rose"},
        {"name": "a-seed3", "design": "model1", "seed": 3, "status": "diverged", "reason": "loss is NaN"},
        {"name": "b-seed1", "design": "model1", "system": "model1 on org/B", "seed": 1},
        {"name": "b-seed2", "design": "model1", "system": "model1 on org/B", "seed": 2, "status": "unfinished"},
        {"name": "b-seed3", "design": "model1", "system": "model1 on org/B", "seed": 3, "status": "unfinished"},
    ]
    found = read([save(root, cells=cells)])
    assert [system.name for system in found.systems] == ["model1", "model1 on org/B"]
    runs = found.systems[0].runs
    assert [run.label for run in runs] == ["seed 1", "seed 2", "seed 3"]
    assert runs[1].scores and not runs[2].scores and runs[2].failed == {"NQ": "loss is NaN"}
    assert any("b-seed2, b-seed3 are not finished" in note for note in found.notes)
    assert found.studies[0].names == {"model1": "model1", "model1 on org/B": "model1 on org/B"}


@pytest.mark.parametrize("status", ["unfinished", "failed"])
def test_scores_of_another_evaluation_are_not_compared(write_study: Write, status: str) -> None:
    """A cell that is not done may have scores.json of a longer text or of other prompts."""
    root = write_study({"a-seed1": {"NQ": 0.5}, "b-seed1": {"NQ": 0.4}, "c-seed1": {"NQ": 0.3}})
    cells = [{"name": f"{name}-seed1", "design": name, "seed": 1} for name in "abc"]
    cells[1]["status"] = status
    found = read([save(root, cells=cells)])
    with_scores = [system.name for system in found.systems if any(run.scores for run in system.runs)]
    assert with_scores == ["a", "c"]


def tuned_cells(last: str = "done") -> list[CellData]:
    """Two designs, of which one chose settings of its own, and was trained with them twice."""
    cells = []
    for design, attention in (("model1", "causal"), ("bidirectional_eos", "bidirectional")):
        for seed in (1, 2):
            cells.append(CellData(f"{design}-{seed}", design, attention=attention, pooling="EOS", seed=seed))
    for seed, status in ((1, "done"), (2, last)):
        about: dict[str, Any] = {"attention": "causal", "pooling": "EOS", "setting": "high", "seed": seed, "status": status}
        cells.append(CellData(f"model1-high-{seed}", "model1", "model1, tuned", **about))
    return cells


def test_a_grid_has_each_design_once_at_the_settings_that_it_chose() -> None:
    chosen = [cell.compared_as for cell in grid_cells(tuned_cells())]
    assert list(dict.fromkeys(chosen)) == ["model1, tuned", "bidirectional_eos"]
    before = [cell.compared_as for cell in grid_cells(tuned_cells("unfinished"))]
    assert list(dict.fromkeys(before)) == ["model1", "bidirectional_eos"], "not some tuned and others not"
    (note,) = note_on_grid(StudyData(cells=tuned_cells()))
    assert note.endswith("model1, tuned; bidirectional_eos")
    assert not note_on_grid(StudyData(cells=tuned_cells()[:4]))


def test_a_comparison_says_what_was_planned(write_study: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = write_study({"model1-seed1": {"NQ": 0.5}, "model2-seed1": {"NQ": 0.6}})
    cells = [{"name": f"{name}-seed1", "design": name, "seed": 1} for name in ("model1", "model2")]
    (study / "study.json").write_text(json.dumps({"format": 1, "cells": cells}))
    plan = {"date": "2026-11-29", "study_file": "s.yaml", "sha256": "ab" * 32, "cells_with_scores": 0, "baseline": "model1"}
    (study / "declared_plan.json").write_text(json.dumps({"format": 1, "declarations": [plan]}))
    assert main([str(study), "--baseline", "model2", "--output_dir", str(tmp_path / "out")]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "Planned, by s.yaml (SHA-256 abababababab) on 2026-11-29, before a score existed: margin 1 point," in printed
    assert "Not planned: baseline model2 (planned: model1)." in printed
    assert "Not planned: baseline model2" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def cells_of(reading: Reading) -> dict[str, str]:
    """Return the folder of each system's only cell."""
    cells = {}
    for system in reading.systems:
        file = system.runs[0].scores["NQ"].file
        cells[system.name] = file.relative_to(system.source / "cells").parts[0]
    return cells


def test_a_design_at_two_settings_has_no_newest(write_study: Write) -> None:
    """Both folders are called `model1-seed1`, as the hash has the setting; the record says which cell each belongs to."""
    study = write_study({"model1-seed1": {"NQ": 0.5}, "model2-seed1": {"NQ": 0.6}})
    folders = {folder.name.rsplit("-", 1)[0]: folder for folder in (study / "cells").iterdir()}
    tuned = study / "cells" / "model1-seed1-ffffffff"
    folders["model2-seed1"].rename(tuned)
    about = {"design": "model1", "seed": 1}
    common = {"name": "model1-seed1", "folder": folders["model1-seed1"].name, **about}
    own = {"name": "model1-steep-seed1", "system": "model1, tuned", "folder": tuned.name, "setting": "steep", **about}
    reading = read([save(study, cells=[common, own])])
    assert cells_of(reading) == {"model1": common["folder"], "model1, tuned": tuned.name}
    assert not any("newest" in note for note in reading.notes)
    os.utime(tuned, (2e9, 2e9))
    unnamed = {key: value for key, value in common.items() if key != "folder"}
    assert cells_of(read([save(study, cells=[unnamed, own])])) == cells_of(reading), "not the newest, which is the other's"
