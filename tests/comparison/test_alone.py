"""`pip install ./comparison`: the comparison in an environment that has neither the project nor torch."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.comparison.conftest import Write
from tests.tiny import ROOT

PIP = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
NO_TORCH = "import sys; import comparison.run; sys.exit(bool({'torch', 'common', 'mteb', 'study'} & set(sys.modules)))"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that pip installed the comparison into, from a copy of a clone's two folders."""
    pytest.importorskip("pip")
    folder = tmp_path_factory.mktemp("alone")
    for room in ("comparison", "common"):
        shutil.copytree(ROOT / room, folder / "clone" / room, ignore=shutil.ignore_patterns("__pycache__"))
    before = sorted(folder.rglob("*"))
    done = subprocess.run(
        [*PIP, "--target", str(folder / "target"), str(folder / "clone" / "comparison")],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    left = [path for path in sorted((folder / "clone").rglob("*")) if path not in before]
    assert not left, "the build leaves nothing in the clone"
    return folder / "target"


def environment(installed: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(installed), "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.mark.slow
def test_the_comparison_runs_alone(installed: Path, write: Write, tmp_path: Path) -> None:
    tasks = ["ArguAna", "FiQA2018", "HotpotQA", "NFCorpus", "NQ", "SCIDOCS", "SciFact"]
    scores = {task: 0.4 + 0.01 * number for number, task in enumerate(tasks)}
    root = write({"o/a": scores, "o/b": {task: score + 0.03 for task, score in scores.items()}})
    words = [sys.executable, "-m", "comparison", str(root), "--output_dir", str(tmp_path / "out")]
    done = subprocess.run(words, cwd=tmp_path, env=environment(installed), capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "choose b" in done.stdout and (tmp_path / "out" / "report.html").stat().st_size > 10_000


@pytest.mark.slow
def test_it_brings_one_name_and_no_torch(installed: Path, tmp_path: Path) -> None:
    assert sorted(path.name for path in installed.iterdir() if not path.name.endswith(".dist-info") and path.name != "bin") == [
        "comparison"
    ]
    done = subprocess.run([sys.executable, "-c", NO_TORCH], cwd=tmp_path, env=environment(installed), timeout=600)
    assert done.returncode == 0
    assert not (installed / "comparison" / "setup.py").exists()
