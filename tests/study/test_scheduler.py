"""Cells share a machine, and the end of one is no other's."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from study.launch import clean_environment
from study.scheduler import Display, Slots, make_slots, run_cells, state_line
from tests.study.tiny_study import fake_cell


def test_cores_of_this_process_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    for cores, slots in ((1, Slots([None], 1)), (6, Slots([None, None], 3))):
        monkeypatch.setattr("os.sched_getaffinity", lambda _, cores=cores: set(range(cores)), raising=False)
        assert make_slots(None, None) == slots


def test_a_failing_cell_stops_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cell's process may die, say that another one runs it, or leave scores or a failure."""
    monkeypatch.setattr("study.scheduler.SECONDS_BETWEEN_LOOKS", 0.02)
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
    left = run_cells(cells, lambda cell: [sys.executable, "-S", "-c", scripts[cell.name]], Slots([None], 1))
    assert set(left) == {"dies", "taken", "fails"}
    assert left["taken"] == "another process runs it" and left["fails"] == "no memory"
    told = capsys.readouterr().out
    assert "[3/5] good: done after 0:0" in told and "[1/5] dies: FAILED" in told and "before" not in told
    assert "\r" not in told and "\033" not in told, "no terminal: plain lines"


def test_cells_get_a_clean_environment() -> None:
    outer = {
        "RANK": "3",
        "WORLD_SIZE": "4",
        "ACCELERATE_USE_FSDP": "true",
        "TORCHELASTIC_RUN_ID": "x",
        "MASTER_ADDR": "there",
        "HF_HOME": "/cache",
        "SLURM_JOB_ID": "7",
    }
    assert clean_environment(outer, threads=2, devices="1") == {
        "HF_HOME": "/cache",
        "SLURM_JOB_ID": "7",
        "OMP_NUM_THREADS": "2",
        "MKL_NUM_THREADS": "2",
        "CUDA_VISIBLE_DEVICES": "1",
    }


def test_cells_get_shares_of_the_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = tmp_path / "two.yaml"
    pairs.write_text("distributed_type: MULTI_GPU\nnum_processes: 2\n")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")
    assert make_slots(None, None).devices == ["4", "5", "6", "7"]
    assert make_slots(None, str(pairs)).devices == ["4,5", "6,7"]
    assert make_slots(1, str(pairs)).devices == ["4,5"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4")
    assert make_slots(None, str(pairs)).devices == ["4"]  # too few, which the trainer refuses
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert make_slots(None, None) == Slots([None, None], 4)
    assert make_slots(4, str(pairs)) == Slots([None] * 4, 1)


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_the_progress_line_is_never_wider_than_the_terminal(width: int) -> None:
    names = [f"model{number}-a-long-base-name-seed{number} 10%" for number in range(8)]
    line = state_line(0.5, 0.0, 60.0, names, width)
    assert len(line) < width and line.startswith(" 50%")
    assert state_line(0.5, 0.0, 60.0, names, None).count("seed") == 8


def test_a_narrow_terminal_is_not_flooded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line was not cut: it wrapped, and each second left a row behind."""
    monkeypatch.setattr("study.scheduler.terminal_width", lambda: 80)
    cells = [fake_cell(tmp_path, number, f"causal-mean-on-a-base-with-a-name-seed{number}") for number in range(4)]
    display = Display(cells)
    for _ in range(3):
        display.last -= 2
        display.update(cells)
    display.close()
    out = capsys.readouterr().out
    assert "\n" not in out and out.endswith("\r\033[K"), "one line, which goes at the end"
    drawn = [part.removeprefix("\033[K") for part in out.split("\r") if part]
    assert len(drawn) == 4 and max(map(len, drawn)) < 80 and "+3 more" in drawn[0]
