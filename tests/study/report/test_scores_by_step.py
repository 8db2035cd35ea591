"""The curve of scores while designs trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from study.cells import Cell
from study.report.scores_by_step import scores_by_step
from tests.study.tiny_study import Main, change, fake_cell, load, write_lines


def run_of(folder: Path, number: int, system: str, scores: dict[int, float]) -> Cell:
    """Return a finished cell whose run was scored at these steps, beside lines of losses."""
    cell = replace(fake_cell(folder, number, f"{system}-seed{number}"), system=system)
    lines: list[dict] = []
    for step, score in scores.items():
        lines += [{"step": step, "loss": 1.0}, {"step": step, "eval_mean": score, "eval_Words": score}]
    write_lines(cell.adapter / "metrics.jsonl", lines)
    return cell


@pytest.fixture
def always_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Cell, "done", True)


@pytest.mark.usefixtures("always_done")
def test_mean_and_range_of_the_runs_at_the_steps_that_all_have(tmp_path: Path) -> None:
    cells = [
        run_of(tmp_path, 1, "model1", {10: 0.2, 20: 0.4, 30: 0.5}),
        run_of(tmp_path, 2, "model1", {10: 0.4, 20: 0.8}),
        run_of(tmp_path, 3, "model3", {10: 0.1}),
        run_of(tmp_path, 4, "model4", {}),
    ]
    (finding,) = scores_by_step(cells)
    model1, model3 = finding.panels[0].curves
    assert (model1.system, model1.x) == ("model1", [10.0, 20.0])
    assert model1.estimates == [pytest.approx([0.3, 0.2, 0.4]), pytest.approx([0.6, 0.4, 0.8])]
    assert (model3.system, model3.x, model3.estimates) == ("model3", [10.0], [[0.1]])
    assert finding.head == ["system", "runs", "step 10", "step 20", "step 30"]
    assert finding.rows == [["model1", "2", "0.3000", "0.6000", "–"], ["model3", "1", "0.1000", "–", "–"]]


@pytest.mark.usefixtures("always_done")
def test_of_a_step_that_was_scored_twice_the_last_counts(tmp_path: Path) -> None:
    cell = run_of(tmp_path, 1, "model1", {10: 0.2})
    with (cell.adapter / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 10, "eval_mean": 0.3}\n{"step": 20, "eval_mean": NaN}\n{"step": 30, "eval')
    (finding,) = scores_by_step([cell])
    assert finding.panels[0].curves[0].estimates == [[0.3]]


def test_no_finding_without_such_scores(tmp_path: Path) -> None:
    assert scores_by_step([run_of(tmp_path, 1, "model1", {10: 0.2})]) == [], "the cell has not ended"
    assert scores_by_step([]) == []


@pytest.mark.slow
def test_a_study_scores_while_it_trains(copied: Path, main: Main) -> None:
    out, tasks = copied.parent / "out", copied.parent / "eval"
    training = yaml.safe_load(copied.read_text())["training"] | {
        "eval_tasks": [str(tasks / "WordPairs")],
        "eval_strategy": "steps",
        "eval_steps": 2,
    }
    tested = ["WordRetrieval", "WordPairs"]
    change(copied, training=training, designs=["model1"], baselines=["mean_pooling"], tasks=tested)
    status, _, errors = main(copied)
    assert status == 0, errors
    (finding,) = load(out / "study.json")["findings"]
    assert finding["title"] == "Scores while training" and finding["panels"][0]["curves"][0]["x"] == [2.0, 4.0]
    scored = [path for path in out.glob("cells/model1-*/scores.json") if (path.parent / "adapter" / "eval_tasks").is_dir()]
    (scores,) = map(load, scored)
    last = finding["panels"][0]["curves"][0]["estimates"][-1][0]
    assert last == pytest.approx(scores["scores"]["WordPairs"]["score"], abs=1e-6), "the last checkpoint is the cell's adapter"
    assert "Scores while training" in (out / "report" / "report.html").read_text()
