"""Command lines that reproduce a study, and the light command line of the script itself."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from comparison.places import from_project
from study.command_line import study_line, training_line
from study.report.study_json import tidy
from study.study import Study, read_study
from tests.study.tiny_study import change
from tests.tiny import ROOT


def test_commands_count_from_the_project(study_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = study_file.parent
    content = yaml.safe_load(study_file.read_text())
    training = {name: value for name, value in content["training"].items() if not name.startswith("pooling_")}
    change(study_file, base_model="quickstart/base", designs=["model1"], output_dir="out", training=training)
    monkeypatch.chdir(here)
    study = read_study(Path("study.yaml"), {"train_file": "train.jsonl"})
    (cell,) = (cell for cell in study.cells if cell.kind == "design")
    places = ["--output_dir", str(here / "out"), "--train_file", str(here / "train.jsonl")]
    assert shlex.split(study_line(study)) == ["python", "run_study.py", str(study_file), *places]
    words = shlex.split(training_line(study, cell))
    values = {name: words[words.index(f"--{name}") + 1] for name in ("model_name_or_path", "dataset_name", "output_dir")}
    assert values == {
        "model_name_or_path": "quickstart/base",
        "dataset_name": str(here / "train.jsonl"),
        "output_dir": str(here / "out" / "cells" / cell.folder.name / "adapter"),
    }
    monkeypatch.chdir(ROOT)
    shipped = Study(ROOT / "configs" / "quickstart.yaml", study.config, study.inputs, [])
    assert study_line(shipped) == "python run_study.py configs/quickstart.yaml"


def test_reports_name_no_folder_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    value = {"a": [f"see {tmp_path}/x and {ROOT}/y", f"{ROOT.parent}/z"], "b": float("nan"), "c": f"/other{ROOT}/y"}
    beside = f"{ROOT.parent}/z" if ROOT.parent.parent == ROOT.parent else "../z"
    assert tidy(value) == {"a": ["see x and y", beside], "b": None, "c": f"/other{ROOT}/y"}
    assert [from_project(ROOT / "a" / ".." / "b"), from_project("b")] == ["b", str(tmp_path / "b")]


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys, run_study\n"
        "try:\n    run_study.main(['--help'])\n"
        "except SystemExit:\n    pass\n"
        "print([name for name in ('torch', 'transformers', 'mteb', 'numpy', 'yaml') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.startswith("usage: ") and done.stdout.endswith("[]\n")
