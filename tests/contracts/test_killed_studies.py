"""Killed anywhere, the study goes on to the same report: the same scores, claims and curves."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from study.study import read_study
from tests.study.tiny_study import change, load, run_in_process, write_study
from tests.tiny import ROOT

# What may differ from run to run: times, and what was measured of them.
TIMES = ("training_seconds", "evaluation_texts_per_second", "evaluation_tokens_per_second", "peak_memory_bytes")


@pytest.fixture
def study_file(base: Path, tmp_path: Path) -> Path:
    return write_study(tmp_path, base)


def report(out: Path) -> Any:
    """Everything that a report shows, without times and places."""
    study = load(out / "study.json")
    for cell in study["cells"]:
        for name in TIMES:
            assert cell.get(name) or cell["kind"] == "baseline", f"{cell['name']} lacks {name}"
            cell.pop(name, None)
        curve = []
        if cell.get("curve"):
            for line in map(json.loads, (out / cell["curve"]).read_text().splitlines()):
                if "loss" in line:
                    curve.append({name: line.get(name) for name in ("step", "loss", "grad_norm", "accuracy")})
        cell["curve"] = curve
    del study["commands"]
    comparison = load(out / "report" / "comparison.json")
    del comparison["directories"]
    # When the plan was declared; the hash of the study file, which names its own folder.
    comparison = json.loads(re.sub(r"\(SHA-256 \w+\) on [-+:\dT]+", "(…) on a day", json.dumps(comparison)))
    return study, comparison, load(out / "headline.json")


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes], seconds: float = 240) -> None:
    until = time.monotonic() + seconds
    while not condition() and process.poll() is None:
        assert time.monotonic() < until, "what was waited for did not come"
        time.sleep(0.05)


def start(study_file: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(ROOT / "run_study.py"), str(study_file)]
    return subprocess.Popen(command, cwd=study_file.parent, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def running(process: subprocess.Popen[bytes], word: str) -> list[psutil.Process]:
    """Processes below this one whose command line holds a word."""
    try:
        children = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    matching = []
    for child in children:
        with contextlib.suppress(psutil.Error):
            if any(word in part for part in child.cmdline()):
                matching.append(child)
    return matching


@pytest.mark.slow
def test_the_same_report_after_kills(base: Path, tmp_path: Path) -> None:
    undisturbed = write_study(tmp_path / "undisturbed", base)
    disturbed = write_study(tmp_path / "disturbed", base)
    assert run_in_process(undisturbed).returncode == 0
    out = disturbed.parent / "out"
    cells = read_study(disturbed).cells
    trained = [cell for cell in cells if cell.kind == "design"]

    moments: dict[str, tuple[Callable[[], bool], str]] = {
        "in its first second": (lambda: True, "study"),
        "when a trainer has begun": (lambda: any(cell.training_log.exists() for cell in trained), "study"),
        "with a checkpoint": (lambda: any(list(cell.adapter.glob("checkpoint-*")) for cell in trained), "training.py"),
        "with an adapter": (lambda: any(cell.trained for cell in trained), "--cell"),
        "in the evaluation": (lambda: any(cell.folder.glob("evaluation/results/*/*/*.json") for cell in trained), "study"),
        "before the comparison": (lambda: all(cell.done for cell in cells), "study"),
    }
    for moment, (condition, victim) in moments.items():
        process = start(disturbed)
        wait_for(condition, process)
        time.sleep(0.3)
        if victim != "study":
            for child in running(process, victim):
                child.kill()
            # A cell that lost its trainer or itself is told as failed, and the study ends by itself.
            process.wait(300)
        below = running(process, "")
        process.kill()
        process.wait()
        _, alive = psutil.wait_procs(below, timeout=90)
        assert not alive, f"killed {moment}: {alive} live on"
    done = run_in_process(disturbed)
    assert done.returncode == 0, done.stderr
    first, second = report(undisturbed.parent / "out"), report(out)
    assert json.dumps(first).replace("undisturbed", "disturbed") == json.dumps(second)


@pytest.mark.slow
def test_a_signal_saves_and_leaves(study_file: Path) -> None:
    content = change(study_file, designs=["model1"], baselines=[], headline=None)
    change(study_file, training={**content["training"], "max_steps": 4000, "save_steps": 4000})
    (cell,) = read_study(study_file).cells
    process = start(study_file)
    wait_for(lambda: (cell.adapter / "metrics.jsonl").exists(), process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(120) == 143
    assert list(cell.adapter.glob("checkpoint-*"))
    assert cell.state == "unfinished"


@pytest.mark.slow
def test_concurrent_cells_do_not_meet(study_file: Path) -> None:
    """As an array job starts them: all at once, on data that nobody has prepared."""
    command = [sys.executable, str(ROOT / "run_study.py"), str(study_file)]
    processes = []
    for number in (0, 1, 2, 2):
        environment = {**os.environ, "SLURM_ARRAY_TASK_ID": str(number)}
        process = subprocess.Popen(
            [*command, "--cell", str(number)], cwd=study_file.parent, env=environment, stderr=subprocess.DEVNULL
        )
        processes.append(process)
    statuses = [process.wait(300) for process in processes]
    assert statuses[:2] == [0, 0]
    assert sorted(statuses[2:]) in ([0, 75], [0, 0])  # the same cell twice: one waits, or is told that it is being run
    assert run_in_process(study_file, "--compare").returncode == 0


@pytest.mark.slow
def test_a_cell_of_two_processes(study_file: Path) -> None:
    accelerate = ROOT / "configs" / "accelerate" / "cpu.yaml"
    change(study_file, designs=["model3"], baselines=["mean_pooling"], accelerate_config=str(accelerate))
    done = run_in_process(study_file)
    assert done.returncode == 0, done.stdout + done.stderr
    cell = load(study_file.parent / "out" / "study.json")["cells"][1]
    assert cell["status"] == "done" and cell["device"].startswith("2 × CPU")
