"""One cell: its baseline's dtype, its lock, and the reasons that its files give."""

from __future__ import annotations

import fcntl
from functools import partial
from pathlib import Path

import pytest
import yaml

from common.files import write_json
from common.locks import locked
from model_loaders.text.named import named_recipe
from study.cell_progress import last_error
from study.run_cell import make_baseline, run_cell
from study.scheduler import why
from study.study import read_study
from tests.study.tiny_study import Main, change, fake_cell


@pytest.mark.parametrize(("dtype", "kernel"), [("float32", "eager"), ("float32", "sdpa"), ("bfloat16", "sdpa")])
def test_the_baseline_computes_as_the_designs(study_file: Path, dtype: str, kernel: str) -> None:
    training = yaml.safe_load(study_file.read_text())["training"]
    change(study_file, training={**training, "torch_dtype": dtype, "attn_implementation": kernel})
    study = read_study(study_file)
    encoder = make_baseline(study, study.cells[0])
    assert (encoder.dtype, encoder.attn_implementation) == (dtype, "eager" if dtype == "bfloat16" else kernel)


def test_a_recipe_is_a_baseline(study_file: Path) -> None:
    change(study_file, baselines=["mean_pooling", "prompteol", "echo"])
    study = read_study(study_file)
    cells = [cell for cell in study.cells if cell.kind == "baseline"]
    assert [cell.system for cell in cells] == ["mean_pooling", "prompteol", "echo"]
    for cell in cells[1:]:
        encoder = make_baseline(study, cell)
        named = named_recipe(cell.design)
        assert (encoder.recipe, encoder.design_name, encoder.has_lora) == (named.recipe, named.design, False)
    assert len({cell.folder for cell in cells}) == 3


def test_a_cell_of_another_process_is_left_alone(study_file: Path, main: Main, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = read_study(study_file).cells[0]
    cell.folder.mkdir(parents=True)
    monkeypatch.setattr("study.command.run_cell", partial(run_cell, patience=0.2))
    with (cell.folder / ".cell.lock").open("w") as lock:
        lock.write("process 1 on elsewhere")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        status, _, errors = main(study_file, "--cell", "mean_pooling")
        assert status == 75 and "process 1 on elsewhere" in errors
    with locked(cell.folder / ".cell.lock", "it", patience=0):  # a lock ends with its holder
        pass


def test_unknown_cell_and_missing_file(study_file: Path, main: Main) -> None:
    status, _, errors = main(study_file, "--cell", "model7-seed42")
    assert status == 1 and "did you mean 'model" in errors
    status, _, errors = main(study_file.with_name("nothing.yaml"))
    assert status == 1 and "nothing.yaml" in errors


def test_a_done_cell_is_skipped(tmp_path: Path, study_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cell = fake_cell(tmp_path, 0, "model1")
    cell.folder.mkdir()
    write_json({"evaluation": "key"}, cell.scores_file)
    run_cell(read_study(study_file), cell)
    assert capsys.readouterr().out == "model1: done, nothing to do\n"


def test_damaged_scores_are_a_reason(tmp_path: Path) -> None:
    cell = fake_cell(tmp_path, 0, "model1")
    cell.folder.mkdir()
    assert (cell.state, cell.reason) == ("unfinished", "")
    cell.scores_file.write_text('{"scores": {')
    assert cell.state == "unfinished" and f"{cell.scores_file} cannot be read" in why(cell)


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        (
            "step 3/9\nerror: step 4 is wrong\nTraceback\nsubprocess.CalledProcessError: Command [...] returned 1.",
            "step 4 is wrong",
        ),
        ("step 3/9\nsubprocess.CalledProcessError: Command [...] died with <Signals.SIGKILL: 9>.", "want of memory"),
        ("step 3/9\nValueError: shapes\nChildFailedError: x", "ValueError: shapes"),
        ("step 3/9\n\n", "step 3/9"),
        ("", "no log"),
    ],
)
def test_the_reason_in_the_log(log: str, reason: str, tmp_path: Path) -> None:
    cell = fake_cell(tmp_path, 0, "cell")
    cell.folder.mkdir()
    cell.training_log.write_text(log)
    assert reason in last_error(cell)
