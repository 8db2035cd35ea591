"""Results folders of others: one name for several runs, subsets twice, odd JSON, formulas as names, paths that lead out."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from common.csv_files import csv_cell, write_csv
from comparison.__main__ import main
from comparison.errors import ComparisonError
from comparison.reading.families import read_families
from comparison.reading.results_folder import read
from comparison.reading.selection import select

TASKS = ("STS12", "BIOSSES", "SICK-R")


def result(task: str, score: object) -> dict[str, Any]:
    """Return a result as mteb files it."""
    row = {"hf_subset": "default", "main_score": score, "cosine_spearman": score}
    return {"task_name": task, "mteb_version": "2", "scores": {"test": [row]}}


def add_model(folder: Path, model: str, score: float, revision: str = "1", name: str | None = None) -> Path:
    """Write a model's results and return the folder of its revision."""
    place = folder / model / revision
    place.mkdir(parents=True)
    for number, task in enumerate(TASKS):
        (place / f"{task}.json").write_text(json.dumps(result(task, score + number / 100)))
    if name:
        (place / "model_meta.json").write_text(json.dumps({"name": name}))
    return place


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A folder with the results of two models."""
    folder = tmp_path / "results"
    add_model(folder, "org__base", 0.5)
    add_model(folder, "org__other", 0.6)
    return folder


def test_runs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        local = "no_model_name_available"
        add_model(tmp_path / f"run{number}", local, number / 10, "no_revision_available")
    add_model(tmp_path, "org__base", 0.5)
    names = {system.name for system in read([tmp_path]).systems}
    assert len(names) == 4 and {name[-6:] for name in names} >= {"(run1)", "(run2)", "(run3)"}


def test_one_name_in_two_meta_files(tmp_path: Path) -> None:
    add_model(tmp_path, "a__first", 0.5, name="org/model")
    add_model(tmp_path, "a__second", 0.6, name="org/model")
    names = [system.name for system in read([tmp_path]).systems]
    assert len(set(names)) == 2 and "a__first" in names[0] and "a__second" in names[1]


def test_seeds_of_two_folders_stay_apart(tmp_path: Path) -> None:
    for folder in ("plain", "prompts"):
        for seed in (1, 2):
            add_model(tmp_path / folder, f"org__model-seed{seed}", seed / 10 + len(folder) / 100)
    systems = read([tmp_path]).systems
    assert [len(system.runs) for system in systems] == [2, 2]


def test_revisions_of_one_model_keep_their_names(tmp_path: Path) -> None:
    add_model(tmp_path / "a", "org__m", 0.5, "first")
    add_model(tmp_path / "b", "org__m", 0.6, "second")
    assert [system.name for system in read([tmp_path]).systems] == ["m@first", "m@second"]


def test_the_same_results_twice_are_refused(tmp_path: Path) -> None:
    add_model(tmp_path / "a", "org__m", 0.5)
    add_model(tmp_path / "b", "org__m", 0.5)
    with pytest.raises(ComparisonError, match=r"twice.*a.*b"):
        read([tmp_path])


def test_a_subset_twice_is_refused(results: Path) -> None:
    path = results / "org__base" / "1" / "STS12.json"
    content = json.loads(path.read_text())
    content["scores"]["test"] *= 2
    path.write_text(json.dumps(content))
    with pytest.raises(ComparisonError, match=r"STS12\.json.*'default'.*twice"):
        read([results])


ODD = {
    "deep": "[" * 100_000,
    "long": '{"task_name": "STS12", "scores": ' + "9" * 5000 + "}",
    "big": json.dumps(result("STS12", 10**400)),
    "latin": b'{"task_name": "\xe9"}',
}


@pytest.mark.parametrize("kind", ODD)
def test_odd_json_names_the_file(results: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    content = ODD[kind]
    path = results / "org__base" / "1" / "STS12.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert main([str(results), "--output_dir", str(results / "out")]) == 1
    error = capsys.readouterr().err
    assert "STS12.json" in error and error.count("\n") == 1


def test_a_task_name_never_leads_out(results: Path) -> None:
    path = results / "org__base" / "1" / "STS12.json"
    path.write_text(json.dumps(result("../../../secret", 0.5)))
    (results / "secret.jsonl.gz").write_bytes(b"")
    items = [score.items for system in read([results]).systems for run in system.runs for score in run.scores.values()]
    assert not any(items)


@pytest.mark.parametrize("place", ["/etc/items/x.jsonl.gz", "../../../results/org__base/1/items/STS12.jsonl.gz", 3, "a\0b/c/d"])
def test_a_study_names_no_place_outside(results: Path, place: object) -> None:
    study = results.parent / "study"
    for seed in (1, 2):
        cell = study / "cells" / f"model1-seed{seed}-0123456{seed}"
        cell.mkdir(parents=True)
        entry = {"score": 0.5, "type": "STS", "items": place if seed == 1 else None}
        (cell / "scores.json").write_text(json.dumps({"scores": {"STS12": entry}}))
    reading = read([study, results])
    assert len(reading.damaged) == 1 and "below" in reading.damaged[0]


@pytest.mark.parametrize("folder", ["/etc", "../../results", ".."])
def test_a_cells_folder_lies_in_the_study(results: Path, folder: str) -> None:
    study = results.parent / "study"
    (study / "cells").mkdir(parents=True)
    cells = [{"name": "model1-seed1", "design": "model1", "folder": folder}]
    (study / "study.json").write_text(json.dumps({"format": 1, "cells": cells}))
    with pytest.raises(ComparisonError, match="below"):
        read([study, results])


@pytest.mark.parametrize("name", ["-2+3", "=1+1", "+1+1", "@SUM(1)", "\t=1", "\r=1", "\n=1", " =1", "-", "＝1", "-1_0+x"])
def test_no_cell_is_a_formula(name: str, tmp_path: Path) -> None:
    assert csv_cell(name) == f"'{name}"
    write_csv(tmp_path / "a.csv", [["name", "score"], [name, -0.5]])
    with (tmp_path / "a.csv").open(newline="") as stream:
        assert list(csv.reader(stream))[1] == [f"'{name}", "-0.5"]


@pytest.mark.parametrize("value", [-0.5, "-0.5", "+1", "-1e-05", None, "plain", "a-b", "model=1", 3, True])
def test_other_cells_stay(value: object) -> None:
    assert csv_cell(value) is value


def test_formulas_reach_no_csv_of_a_comparison(results: Path) -> None:
    add_model(results, "org__odd", 0.7, name="-2+3+cmd|' /C calc'!A0")
    out = results.parent / "out"
    assert main([str(results), "--output_dir", str(out)]) == 0
    for path in out.glob("*.csv"):
        with path.open(newline="") as stream:
            for row in csv.reader(stream):
                assert not any(cell.startswith(("=", "@", "-2", "+2")) for cell in row), path
        if path.name != "items.csv":  # these results have no items
            assert "'-2+3" in path.read_text()


def test_a_full_disk_leaves_the_old_report(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = results.parent / "out"
    assert main([str(results), "--output_dir", str(out)]) == 0
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    add_model(results, "org__third", 0.7)
    write = Path.write_text

    def full(self: Path, *args: Any, **options: Any) -> int:
        if self.name == "table.tex":
            raise OSError(28, "No space left on device", str(self))
        return write(self, *args, **options)

    monkeypatch.setattr(Path, "write_text", full)
    capsys.readouterr()
    assert main([str(results), "--output_dir", str(out)]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "No space left" in error and ".part" not in error
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    monkeypatch.undo()
    assert main([str(results), "--output_dir", str(out)]) == 0
    assert not list(out.glob(".*")) and "third" in (out / "report.html").read_text()


def test_figures_that_no_axis_shows_are_cut(tmp_path: Path) -> None:
    curve = [{"step": step, "loss": (-1) ** step * 1e308, "grad_norm": 1e308, "learning_rate": 1e-4} for step in range(1, 30)]
    curve.append({"step": 10**300, "loss": 1.0, "grad_norm": 1.0, "learning_rate": 1e-4})
    cells = []
    for seed, status in ((1, "diverged"), (2, "done")):
        for design in ("model1", "model2"):
            folder = f"{design}-seed{seed}-0123456{seed}"
            place = tmp_path / "study" / "cells" / folder
            place.mkdir(parents=True)
            scores = {task: {"score": 0.5 + seed / 10 + 0.01 * len(task), "type": "STS"} for task in TASKS}
            (place / "scores.json").write_text(json.dumps({"scores": scores}))
            cost = {"training_seconds": 1e308, "evaluation_texts_per_second": 1e308, "trainable_parameters": 10**300}
            cell = {"name": f"{design}-seed{seed}", "design": design, "folder": folder, "seed": seed, "status": status}
            cells.append({**cell, **cost, "curve": curve, "peak_memory_bytes": 10**300})
    (tmp_path / "study" / "study.json").write_text(json.dumps({"format": 1, "cells": cells}))
    out = tmp_path / "out"
    assert main([str(tmp_path / "study"), "--output_dir", str(out)]) == 0
    assert "are cut to that" in (out / "report.html").read_text()


def test_a_file_without_scores_is_named(results: Path) -> None:
    place = add_model(results, "org__empty", 0.5)
    (place / "STS12.json").write_text(json.dumps({"task_name": "STS12", "scores": {}}))
    notes = select(read([results]), read_families()).notes
    assert any(f"empty on STS12 (no scores in {place / 'STS12.json'})" in note for note in notes)
