"""A whole study on tiny data: it trains, scores and compares, goes on where it was, and shows what went wrong."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from common.files import write_json
from common.locks import locked
from comparison.places import from_project
from comparison.reading.study_data import StudyData
from comparison.reading.study_file import read_study_file
from run_study import main, make_parser, reproduced
from study.cells import Cell, make_cells
from study.config import read_study
from study.inputs import Inputs, prepare
from study.launch import clean_environment
from study.run_cell import last_error, make_baseline, run_cell
from study.scheduler import Slots, make_slots, run_cells, why
from study.study_json import commands, compare, passed_over, tidy
from tests.study.conftest import change, write_lines
from tests.tiny import ROOT

PAPER = ("model1", "model2", "model3", "model4", "model5")
Run = Callable[..., subprocess.CompletedProcess[str]]


def load(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def record_of(study_file: Path) -> StudyData:
    found = read_study_file(study_file.parent / "out")
    assert found is not None
    return found


@pytest.mark.parametrize(("dtype", "kernel"), [("float32", "eager"), ("float32", "sdpa"), ("bfloat16", "sdpa")])
def test_the_baseline_computes_as_the_designs_do(study_file: Path, dtype: str, kernel: str) -> None:
    written = yaml.safe_load(study_file.read_text())["training"]
    change(study_file, training={**written, "torch_dtype": dtype, "attn_implementation": kernel})
    config = read_study(study_file)
    inputs = prepare(config, study_file)
    encoder = make_baseline(make_cells(config, inputs)[0], config, inputs)
    assert (encoder.dtype, encoder.attn_implementation) == (dtype, "eager" if dtype == "bfloat16" else kernel)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "kernel"), [("float32", "eager"), ("float32", "sdpa"), ("bfloat16", "sdpa"), ("bfloat16", None)]
)
def test_all_cells_are_scored_in_the_dtype_and_kernel_of_their_training(
    study_file: Path, run: Run, dtype: str, kernel: str | None
) -> None:
    written = yaml.safe_load(study_file.read_text())["training"]
    flags = {"torch_dtype": dtype} | ({"attn_implementation": kernel} if kernel else {})
    change(study_file, designs=list(PAPER), training={**written, **flags})
    done = run(study_file)
    assert done.returncode == 0, done.stdout + done.stderr
    records = [load(path)["encoder"] for path in (study_file.parent / "out").rglob("recipes/WordRetrieval.json")]
    assert len(records) >= 1 + len(PAPER)
    found = {(record["dtype"], record["attention_kernel"]) for record in records}
    assert found == {(dtype, "eager" if dtype == "bfloat16" else kernel)}


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished study that a test may change."""
    shutil.copytree(finished.parent, tmp_path / "copy")
    change(tmp_path / "copy" / "study.yaml", output_dir=str(tmp_path / "copy" / "out"))
    return tmp_path / "copy" / "study.yaml"


def test_a_study_from_start_to_comparison(finished: Path) -> None:
    out = finished.parent / "out"
    rows = load(out / "headline.json")["rows"]
    assert [row["name"] for row in rows] == ["mean_pooling", "model1", "model3"]
    for row in rows[1:]:
        assert row["gains"]["mean_pooling"]["items"] == 16
        assert row["scores"]["WordRetrieval"] != row["untrained"]
    (category,) = load(out / "report" / "comparison.json")["categories"]
    assert [(one["a"], one["b"]) for one in category["contrasts"]] == [("mean_pooling", "model1"), ("model3", "model1")]
    assert category["contrasts"][0]["these_tasks"]["tasks"]["WordRetrieval"]["units"] == 16
    assert "One seed a design" in (finished.parent / "stdout.txt").read_text()


def test_what_the_report_needs_is_there(finished: Path) -> None:
    record = record_of(finished)
    baseline, model1, model3 = record.cells
    assert (baseline.kind, baseline.seed, baseline.trainable_parameters) == ("baseline", None, None)
    assert (model3.attention, model3.pooling, model3.status, model3.seed) == ("causal", "multi-layer trainable", "done", 42)
    assert model1.trainable_parameters and model3.trainable_parameters > model1.trainable_parameters
    for cell in (model1, model3):
        assert [point.step for point in cell.curve] == [1, 2, 3, 4]
        assert cell.training_seconds and cell.peak_memory_bytes and cell.device.startswith(("CPU", "NVIDIA"))
        assert cell.evaluation_texts_per_second and cell.evaluation_tokens_per_second
    by = {one.by: one for one in record.attention}
    assert {one.cell for one in record.attention} == {"model3-seed42"}
    assert len(by["head"].mass) == 2 and len(by["latent"].mass) == 4 and len(by["head"].mass[0]) == 3
    assert by["head"].count == 32
    assert record.leakage == []
    assert {(one.side, one.texts, one.max_length) for one in record.truncation} == {("query", 16, 16), ("document", 16, 16)}
    assert {one.role for one in record.data} == {"training", "evaluation", "base model"}
    assert all(one.hash for one in record.data)
    assert {one.role: one.rows for one in record.data} == {"training": 24, "evaluation": 32, "base model": None}
    assert record.commands[0].line.startswith("python run_study.py") and "--design model3" in record.commands[2].line
    assert {"torch", "python", "mteb", "numpy", "scipy", "accelerate"} <= record.versions.keys()
    assert record.recipe["lora"]["r"] == 16


def test_commands_are_those_of_the_projects_folder(study_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = study_file.parent
    content = yaml.safe_load(study_file.read_text())
    training = {name: value for name, value in content["training"].items() if not name.startswith("pooling_")}
    change(study_file, base_model="quickstart/base", designs=["model1"], output_dir="out", training=training)
    monkeypatch.chdir(here)
    args = make_parser().parse_args(["study.yaml", "--train_file", "train.jsonl"])
    config = read_study(args.study)
    inputs = prepare(config, args.study)
    (cell,) = (cell for cell in make_cells(config, inputs) if cell.kind == "design")
    whole, alone = commands([cell], config, inputs, shlex.join(reproduced(args, config)))
    assert shlex.split(whole["line"])[2:] == [str(study_file), "--output_dir", str(here / "out"), "--train_file",
                                              str(here / "train.jsonl")]  # fmt: skip
    words = shlex.split(alone["line"])
    values = {name: words[words.index(f"--{name}") + 1] for name in ("model_name_or_path", "dataset_name", "output_dir")}
    assert values == {"model_name_or_path": "quickstart/base", "dataset_name": str(here / "train.jsonl"),
                      "output_dir": str(here / "out" / "cells" / cell.folder.name / "adapter")}  # fmt: skip
    monkeypatch.chdir(ROOT)
    args = make_parser().parse_args([str(ROOT / "configs" / "quickstart.yaml")])
    assert reproduced(args, read_study(args.study)) == ["python", "run_study.py", "configs/quickstart.yaml"]


def test_what_others_read_names_no_folder_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    value = {"a": [f"see {tmp_path}/x and {ROOT}/y", f"{ROOT.parent}/z"], "b": float("nan"), "c": f"/other{ROOT}/y"}
    beside = f"{ROOT.parent}/z" if ROOT.parent.parent == ROOT.parent else "../z"
    assert tidy(value) == {"a": ["see x and y", beside], "b": None, "c": f"/other{ROOT}/y"}
    assert [from_project(ROOT / "a" / ".." / "b"), from_project("b")] == ["b", str(tmp_path / "b")]


def test_nothing_is_done_twice(copied: Path, run: Run) -> None:
    out = copied.parent / "out"
    before = {path: path.stat().st_mtime_ns for path in out.glob("cells/*/*") if path.is_file()}
    rows = load(out / "headline.json")["rows"]
    again = run(copied)
    assert again.returncode == 0, again.stderr
    assert "started" not in again.stdout
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert load(out / "headline.json")["rows"] == rows


def test_another_task_trains_nothing(copied: Path, run: Run) -> None:
    out = copied.parent / "out"
    adapters = {path: path.stat().st_mtime_ns for path in out.glob("cells/*/adapter/*.safetensors")}
    recipes = {path: path.stat().st_mtime_ns for path in out.glob("cells/*/evaluation/results/*/*/recipes/WordRetrieval.json")}
    change(copied, tasks=None, designs=["model1"], baselines=[])
    done = run(copied)
    assert done.returncode == 0, done.stderr
    assert {path: path.stat().st_mtime_ns for path in adapters} == adapters
    assert {path: path.stat().st_mtime_ns for path in recipes} == recipes  # results that were there are taken
    page = (out / "report" / "report.html").read_text()  # one system is left: the old report must not pass for the new one
    assert "Nothing to compare" in page and "<td>model1-seed42</td><td>done</td>" in page
    assert {path.name for path in (out / "report").iterdir()} == {"report.html", "comparison.md"}
    assert (out / "report.before" / "comparison.json").is_file()
    (scores,) = (load(path)["scores"] for path in out.glob("cells/model1*/scores.json"))
    assert set(scores) == {"WordRetrieval", "WordPairs"}
    # All 24 pairs are training rows, in other capitals and with a full stop.
    (found,) = (one for one in record_of(copied).leakage or [] if one.unit == "pairs")
    assert (found.task, found.count, found.total) == ("WordPairs", 24, 24)


def test_a_diverging_cell_is_shown_and_not_repeated(copied: Path, run: Run) -> None:
    content = yaml.safe_load(copied.read_text())
    content["training"] |= {"pooling_learning_rate": 1e30}  # model1 has no pooling and stays as it is
    change(copied, training={**content["training"], "max_steps": 4}, headline=None)
    done = run(copied)
    assert done.returncode == 1
    assert "model3-seed42 diverged" in done.stderr and "is not finite" in done.stderr
    states = {cell.name: cell.status for cell in record_of(copied).cells}
    assert states == {"mean_pooling": "done", "model1-seed42": "done", "model3-seed42": "diverged"}
    report = (copied.parent / "out" / "report" / "comparison.md").read_text()
    assert "failed, with the number of runs: model3 on WordRetrieval (1)" in report
    again = run(copied)  # it would diverge again
    assert again.returncode == 1 and "started" not in again.stdout and "model3-seed42 diverged" in again.stderr


@pytest.mark.slow
def test_a_failing_task_is_told_and_tried_again(copied: Path, run: Run) -> None:
    broken = copied.parent / "eval" / "WordPairs" / "test.jsonl.gz"
    good = broken.read_bytes()
    write_lines(broken, [{"sentence1": "a", "sentence2": "b", "score": 1}, {"sentence1": "a"}])
    change(copied, tasks=["WordRetrieval", "WordPairs"], designs=["model1"], baselines=[])
    done = run(copied)
    assert done.returncode == 1
    assert "model1-seed42 failed: 1 tasks failed: WordPairs" in done.stderr
    broken.write_bytes(good)
    assert run(copied).returncode == 0


@pytest.mark.slow
def test_one_cell_by_its_number(copied: Path, run: Run) -> None:
    shutil.rmtree(copied.parent / "out")
    done = run(copied, "--cell", "0")
    assert done.returncode == 0, done.stderr
    out = copied.parent / "out"
    assert [path.parent.name.rpartition("-")[0] for path in out.glob("cells/*/scores.json")] == ["mean_pooling"]
    assert not (out / "study.json").exists()
    compared = run(copied, "--compare")
    assert compared.returncode == 1  # cells are missing
    assert "model3-seed42 is not finished" in compared.stderr
    states = {cell.name: cell.status for cell in record_of(copied).cells}
    assert states == {"mean_pooling": "done", "model1-seed42": "unfinished", "model3-seed42": "unfinished"}


def test_a_cell_that_another_process_runs_is_left_to_it(study_file: Path, capsys: Any) -> None:
    import fcntl

    (cell, *_) = make_cells(read_study(study_file), prepare(read_study(study_file), study_file))
    cell.folder.mkdir(parents=True)
    with (cell.folder / ".cell.lock").open("w") as lock:
        lock.write("process 1 on elsewhere")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert main([str(study_file), "--cell", "mean_pooling"]) == 75
        assert "process 1 on elsewhere" in capsys.readouterr().err
    with locked(cell.folder / ".cell.lock", "it", patience=0):  # a lock ends with its holder
        pass


def test_unknown_cell_and_missing_file(study_file: Path, capsys: Any) -> None:
    assert main([str(study_file), "--cell", "model7-seed42"]) == 1
    assert "did you mean 'model" in capsys.readouterr().err
    assert main([str(study_file.with_name("nothing.yaml"))]) == 1
    assert "nothing.yaml" in capsys.readouterr().err


def fake_cell(folder: Path, index: int, name: str) -> Cell:
    return Cell(index, name, name, "design", "model1", index, "base", "", folder / name, "key")


def test_a_first_design_without_scores_is_passed_over_and_said(study_file: Path, capsys: Any) -> None:
    config = read_study(study_file)
    cells = [replace(fake_cell(study_file.parent / "out" / "cells", at, name), system=name, design=name, kind="design")
             for at, name in enumerate(("model1", "model3", "model5"))]  # fmt: skip
    for cell in cells:
        cell.folder.mkdir(parents=True)
    assert passed_over(cells, config) == [], "nobody has scores"
    for cell in cells[1:]:
        write_json({"scores": {"T": {"score": 0.5, "type": "STS"}}}, cell.scores_file)
    write_json({"reason": "no memory"}, cells[0].failure_file)
    (said,) = passed_over(cells, config)
    assert "model1 stands before model3" in said and "(model1 failed: no memory)" in said
    assert compare(cells, config, study_file) == 0 and said in capsys.readouterr().out
    assert compare(cells, replace(config, comparison={"baseline": "model1"}), study_file) == 1
    assert "baseline: model1 has no scores (model1 failed: no memory)" in capsys.readouterr().err


def test_a_cell_that_is_done_says_so(tmp_path: Path, study_file: Path, capsys: Any) -> None:
    cell = fake_cell(tmp_path, 0, "model1")
    cell.folder.mkdir()
    write_json({"evaluation": "key"}, cell.scores_file)
    run_cell(cell, read_study(study_file), Inputs({}, {}, {}, {}, {}, None, {}, None, None))
    assert capsys.readouterr().out == "model1: done, nothing to do\n"


def test_cores_that_this_process_may_not_use_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    for cores, slots in ((1, Slots([None], 1)), (6, Slots([None, None], 3))):
        monkeypatch.setattr("os.sched_getaffinity", lambda _, cores=cores: set(range(cores)), raising=False)
        assert make_slots(None, None) == slots


def test_damaged_scores_are_a_reason(tmp_path: Path) -> None:
    cell = fake_cell(tmp_path, 0, "model1")
    cell.folder.mkdir()
    assert (cell.state, cell.reason) == ("unfinished", "")
    cell.scores_file.write_text('{"scores": {')
    assert cell.state == "unfinished" and f"{cell.scores_file} cannot be read" in why(cell)


def test_one_failing_cell_stops_no_other(tmp_path: Path, capsys: Any) -> None:
    """What a cell's process does is its own business: it dies, says that another one runs it, or leaves scores."""
    cells = [fake_cell(tmp_path, number, name) for number, name in enumerate(["dies", "taken", "good", "fails", "before"])]
    for name in ("good", "before"):
        (tmp_path / name).mkdir()
    (tmp_path / "before" / "scores.json").write_text('{"evaluation": "key"}')
    scripts = {
        "dies": "import os; os.kill(os.getpid(), 9)",
        "taken": "raise SystemExit(75)",
        "good": f"open({str(tmp_path / 'good' / 'scores.json')!r}, 'w').write('{{\"evaluation\": \"key\"}}')",
        "fails": f"open({str(tmp_path / 'fails' / 'failure.json')!r}, 'w').write('{{\"reason\": \"no memory\"}}')",
    }
    left = run_cells(cells, lambda cell: [sys.executable, "-c", scripts[cell.name]], Slots([None], 1))
    assert set(left) == {"dies", "taken", "fails"}
    assert left["taken"] == "another process runs it" and left["fails"] == "no memory"
    told = capsys.readouterr().out
    assert "good: done" in told and "dies: FAILED" in told and "before" not in told


def test_cells_get_a_clean_environment_and_their_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outer = {"RANK": "3", "WORLD_SIZE": "4", "ACCELERATE_USE_FSDP": "true", "TORCHELASTIC_RUN_ID": "x", "MASTER_ADDR": "there",
             "HF_HOME": "/cache", "SLURM_JOB_ID": "7"}  # fmt: skip
    assert clean_environment(outer, threads=2, devices="1") == {
        "HF_HOME": "/cache", "SLURM_JOB_ID": "7", "OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2", "CUDA_VISIBLE_DEVICES": "1",
    }  # fmt: skip
    import torch

    pairs = tmp_path / "two.yaml"
    pairs.write_text("distributed_type: MULTI_GPU\nnum_processes: 2\n")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")
    assert make_slots(None, None).devices == ["4", "5", "6", "7"]
    assert make_slots(None, str(pairs)).devices == ["4,5", "6,7"]
    assert make_slots(1, str(pairs)).devices == ["4,5"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert make_slots(None, None) == Slots([None, None], 4)
    assert make_slots(4, str(pairs)) == Slots([None] * 4, 1)


@pytest.mark.parametrize(
    ("log", "told"),
    [
        (
            "step 3/9\nerror: step 4 is wrong\nTraceback\nsubprocess.CalledProcessError: Command [...] returned 1.",
            "step 4 is wrong",
        ),
        ("step 3/9\nsubprocess.CalledProcessError: Command [...] died with <Signals.SIGKILL: 9>.", "want of memory"),
        ("step 3/9\nValueError: shapes\nChildFailedError: x", "ValueError: shapes"),
        ("", "no log"),
    ],
)
def test_the_reason_is_taken_from_the_trainers_log(log: str, told: str, tmp_path: Path) -> None:
    cell = fake_cell(tmp_path, 0, "cell")
    cell.folder.mkdir()
    cell.training_log.write_text(log)
    assert told in last_error(cell)
