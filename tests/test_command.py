"""The command `pooling-attention` and systems that are not supported, each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import pooling_attention
from pooling_attention import COMMANDS, shipped
from tests.tiny import ROOT


def python(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, *words], cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert pooling_attention.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"  {name}" in text for name in COMMANDS)
    assert pooling_attention.main([]) == 2


def test_an_unknown_command_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert pooling_attention.main(["evalute"]) == 2
    assert "did you mean evaluate?" in capsys.readouterr().err


def test_shipped_files_are_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert shipped("configs/quickstart.yaml") == str(ROOT / "configs" / "quickstart.yaml")
    assert shipped("--config=configs/mistral-7b.yaml") == f"--config={ROOT / 'configs' / 'mistral-7b.yaml'}"
    assert [shipped(word) for word in ("configs/mine.yaml", "runs/x", "--lr=3")] == ["configs/mine.yaml", "runs/x", "--lr=3"]
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "quickstart.yaml").write_text("mine: 1\n")
    assert shipped("configs/quickstart.yaml") == "configs/quickstart.yaml"


@pytest.mark.parametrize("name", ["train", "evaluate", "study"])
def test_a_wrong_flag_is_told_with_the_command(tmp_path: Path, name: str) -> None:
    done = python("-m", "pooling_attention", name, "--no_such_flag", "1", cwd=tmp_path)
    assert done.returncode == 2 and f"pooling-attention {name}: error:" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("script", ["run_study.py", "run_mteb.py", "trainers/model1_trainer.py", "trainers/train.py"])
def test_windows_is_refused_at_once(tmp_path: Path, script: str) -> None:
    words = [str(ROOT / script), "configs/quickstart.yaml"] if script == "run_study.py" else [str(ROOT / script)]
    pretend = (
        f"import sys, runpy; sys.platform = 'win32'; sys.argv = {words!r}; runpy.run_path({words[0]!r}, run_name='__main__')"
    )
    done = python("-c", pretend, cwd=tmp_path)
    assert done.returncode == 1 and done.stderr.startswith("error: Windows is not supported"), done.stderr[-500:]
    assert len(done.stderr.strip().splitlines()) == 1 and "WSL" in done.stderr
