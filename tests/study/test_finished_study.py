"""A whole study on tiny data: it trains, scores and compares, goes on where it was, and shows what went wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from study.report.plan_table import outlook, taken
from study.report.study_json import trainable_parameters
from study.study import read_study
from tests.study.tiny_study import Main, change, load, record_of, run_in_process, write_lines

PAPER = ("model1", "model2", "model3", "model4", "model5")


def times_of_change(out: Path, pattern: str) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in out.glob(pattern) if path.is_file()}


def test_from_start_to_comparison(finished: Path) -> None:
    out = finished.parent / "out"
    rows = load(out / "headline.json")["rows"]
    assert {row["name"] for row in rows} == {"mean_pooling", "model1", "model3"}
    scores = [row["scores"]["WordRetrieval"] for row in rows]
    assert scores == sorted(scores, reverse=True), "the best first"
    for row in (row for row in rows if row["name"] != "mean_pooling"):
        assert row["gains"]["mean_pooling"]["items"] == 16
        assert row["scores"]["WordRetrieval"] != row["untrained"]
    (category,) = load(out / "report" / "comparison.json")["categories"]
    contrasts = category["contrasts"]
    assert [(contrast["a"], contrast["b"]) for contrast in contrasts] == [("mean_pooling", "model1"), ("model3", "model1")]
    assert contrasts[0]["these_tasks"]["tasks"]["WordRetrieval"]["units"] == 16
    assert "One seed a design" in (finished.parent / "stdout.txt").read_text()


def test_the_report_shows_what_the_table_shows(finished: Path) -> None:
    """Absolute scores by task and gains over the untrained design stood in the printed table alone."""
    out = finished.parent / "out"
    page = (out / "report" / "report.html").read_text()
    section = page.split('<section id="gains"')[1].split("</section>")[0]
    assert "WordRetrieval: untrained" in section and "gain over untrained" in section and "One seed a design" in section
    for row in load(out / "headline.json")["rows"]:
        assert row["name"] in section and row["scores"]
        for score in row["scores"].values():
            assert f"<td>{score:.3f}</td>" in section
        for gain in row["gains"].values():
            assert f"{gain['mean']:+.3f} [{gain['low']:+.3f}, {gain['high']:+.3f}]" in section
    gains = record_of(finished).gains
    assert gains is not None and {row[0] for row in gains.rows} == {"mean_pooling", "model1", "model3"}


def test_what_reports_need(finished: Path) -> None:
    record = record_of(finished)
    baseline, model1, model3 = record.cells
    assert (baseline.kind, baseline.seed, baseline.trainable_parameters) == ("baseline", None, None)
    assert (model3.attention, model3.pooling, model3.status, model3.seed) == ("causal", "multi-layer trainable", "done", 42)
    assert model1.trainable_parameters and model3.trainable_parameters > model1.trainable_parameters
    for cell in (model1, model3):
        adapter = finished.parent / "out" / "cells" / cell.folder / "adapter"
        recorded = load(adapter / "train_result.json")["trainable_parameters"]
        assert cell.trainable_parameters == recorded == trainable_parameters(adapter), "kept where the weights are not"
        assert [point.step for point in cell.curve] == [1, 2, 3, 4]
        assert cell.training_seconds and cell.peak_memory_bytes and cell.device.startswith(("CPU", "NVIDIA"))
        assert cell.evaluation_texts_per_second and cell.evaluation_tokens_per_second
    assert {table.cell for table in record.attention} == {"model3-seed42"}
    by = {table.by: table for table in record.attention}
    assert len(by["head"].mass) == 2 and len(by["latent"].mass) == 4 and len(by["head"].mass[0]) == 3
    assert by["head"].count == 32
    assert record.leakage == []
    cuts = {(cut.side, cut.texts, cut.max_length) for cut in record.truncation}
    assert cuts == {("query", 16, 16), ("document", 16, 16)}
    assert all(entry.hash for entry in record.data)
    assert {entry.role: entry.rows for entry in record.data} == {"training": 24, "evaluation": 32, "base model": None}
    assert record.commands[0].line.startswith("python run_study.py") and "--design model3" in record.commands[2].line
    assert {"torch", "python", "mteb", "numpy", "scipy", "accelerate"} <= record.versions.keys()
    assert record.recipe["lora"]["r"] == 16


def test_nothing_is_done_twice(copied: Path, main: Main) -> None:
    out = copied.parent / "out"
    before = times_of_change(out, "cells/*/*")
    rows = load(out / "headline.json")["rows"]
    status, told, _ = main(copied)
    assert status == 0 and "started" not in told
    assert times_of_change(out, "cells/*/*") == before
    assert load(out / "headline.json")["rows"] == rows


def test_another_task_trains_nothing(copied: Path, main: Main) -> None:
    out = copied.parent / "out"
    patterns = ("cells/*/adapter/*.safetensors", "cells/*/evaluation/results/*/*/recipes/WordRetrieval.json")
    before = [times_of_change(out, pattern) for pattern in patterns]
    change(copied, tasks=None, designs=["model1"], baselines=[])
    assert main(copied, "--cell", "model1-seed42")[0] == 0
    assert main(copied, "--compare")[0] == 0
    assert [times_of_change(out, pattern) for pattern in patterns] == before  # results that were there are taken
    page = (out / "report" / "report.html").read_text()  # one system is left: the old report must not pass for the new one
    assert "Nothing to compare" in page and "<td>model1-seed42</td><td>done</td>" in page
    assert {path.name for path in (out / "report").iterdir()} == {"report.html", "comparison.md"}
    assert (out / "report.before" / "comparison.json").is_file()
    (scores,) = (load(path)["scores"] for path in out.glob("cells/model1*/scores.json"))
    assert set(scores) == {"WordRetrieval", "WordPairs"}
    # All 24 pairs are training rows, in other capitals and with a full stop.
    (pairs,) = (leak for leak in record_of(copied).leakage or [] if leak.unit == "pairs")
    assert (pairs.task, pairs.count, pairs.total) == ("WordPairs", 24, 24)


def test_a_diverging_cell_is_not_repeated(copied: Path, main: Main) -> None:
    training = yaml.safe_load(copied.read_text())["training"]
    training["pooling_learning_rate"] = 1e30  # model1 has no pooling and stays as it is
    change(copied, training=training)
    status, _, errors = main(copied, "--cell", "model3-seed42")
    assert status == 1 and "is not finite" in errors
    status, told, errors = main(copied)  # it would diverge again
    assert status == 1 and "started" not in told
    assert "model3-seed42 diverged" in errors and "is not finite" in errors
    states = {cell.name: cell.status for cell in record_of(copied).cells}
    assert states == {"mean_pooling": "done", "model1-seed42": "done", "model3-seed42": "diverged"}
    report = (copied.parent / "out" / "report" / "comparison.md").read_text()
    assert "failed, with the number of runs: model3 on WordRetrieval (1)" in report


def test_planned_times_come_from_finished_cells(copied: Path, main: Main) -> None:
    change(copied, seeds=[42, 43], designs=["model1", "model3", "model5"])
    status, told, _ = main(copied, "--plan")
    lines = told.splitlines()
    assert status == 0
    assert [line.split()[:3] for line in lines[:4]] == [
        ["0", "done", "mean_pooling"],
        ["1", "done", "model1-seed42"],
        ["2", "done", "model3-seed42"],
        ["3", "unfinished", "model5-seed42"],
    ]
    assert "7 cells: 3 done, 4 unfinished" in told
    assert "from 2 finished cells of this study" in told
    assert "measured" in lines[4] and "measured" not in lines[3]  # model1 with another seed; a design that nobody has run
    study = read_study(copied)
    cells = {cell.name: cell for cell in study.cells}
    model1, model3 = (taken(cells[f"{name}-seed42"]) for name in ("model1", "model3"))
    assert outlook(study, cells["model3-seed43"], [model1, model3]).seconds == model3.seconds
    mean = (model1.seconds + model3.seconds) / 2
    assert outlook(study, cells["model5-seed43"], [model1, model3]).seconds == pytest.approx(mean)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "kernel"), [("float32", "eager"), ("float32", "sdpa"), ("bfloat16", "sdpa"), ("bfloat16", None)]
)
def test_cells_are_scored_as_they_are_trained(study_file: Path, dtype: str, kernel: str | None) -> None:
    training = yaml.safe_load(study_file.read_text())["training"] | {"torch_dtype": dtype}
    if kernel is not None:
        training["attn_implementation"] = kernel
    change(study_file, designs=list(PAPER), training=training)
    done = run_in_process(study_file)
    assert done.returncode == 0, done.stdout + done.stderr
    records = [load(path)["encoder"] for path in (study_file.parent / "out").rglob("recipes/WordRetrieval.json")]
    assert len(records) >= 1 + len(PAPER)
    expected = (dtype, "eager" if dtype == "bfloat16" else kernel)
    assert {(record["dtype"], record["attention_kernel"]) for record in records} == {expected}


@pytest.mark.slow
def test_a_failing_task_is_tried_again(copied: Path, main: Main) -> None:
    broken = copied.parent / "eval" / "WordPairs" / "test.jsonl.gz"
    whole = broken.read_bytes()
    write_lines(broken, [{"sentence1": "a", "sentence2": "b", "score": 1}, {"sentence1": "a"}])
    change(copied, tasks=["WordRetrieval", "WordPairs"], designs=["model1"], baselines=[])
    status, _, errors = main(copied)
    assert status == 1 and "model1-seed42 failed: 1 tasks failed: WordPairs" in errors
    broken.write_bytes(whole)
    assert main(copied)[0] == 0


@pytest.mark.slow
def test_a_cell_by_its_number(study_file: Path, main: Main) -> None:
    assert main(study_file, "--cell", "0")[0] == 0
    out = study_file.parent / "out"
    assert [path.parent.name.rpartition("-")[0] for path in out.glob("cells/*/scores.json")] == ["mean_pooling"]
    assert not (out / "study.json").exists()
    status, _, errors = main(study_file, "--compare")
    assert status == 1 and "model1-seed42, model3-seed42 are not finished: not run" in errors
    states = {cell.name: cell.status for cell in record_of(study_file).cells}
    assert states == {"mean_pooling": "done", "model1-seed42": "unfinished", "model3-seed42": "unfinished"}
