"""A run says how far it is: a line for each log, or one bar on a terminal; nothing twice, and on one process only."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from common.words import quantity
from tests.trainers.commands import arguments
from trainers.flags.command_line import parse
from trainers.monitor.progress import TrainingProgress, show_progress
from trainers.run.build import build_trainer
from trainers.train import main

LINE = re.compile(r"step (\d)/4  loss \S+  accuracy \S+  \S+ tokens/s  left 0:\d\d:\d\d")


def on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "120")


def test_plain_lines_without_a_terminal(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluated = ["--eval_dataset", str(tmp_path / "rows.jsonl"), "--eval_strategy", "steps", "--eval_steps", "4"]
    assert main(arguments(base, tmp_path, *evaluated), design="model1") == 0
    captured = capsys.readouterr()
    lines = [line for line in captured.out.splitlines() if line.startswith("step ")]
    assert re.fullmatch(r"step 1/4  loss \S+  left 0:\d\d:\d\d", lines[0])
    assert [match[1] for match in map(LINE.fullmatch, lines[1:3]) if match] == ["2", "4"], lines
    assert re.fullmatch(r"step 4/4  eval_loss \S+  eval_accuracy \S+", lines[3])
    assert len(lines) == 4
    assert "{'" not in captured.out + captured.err  # no dicts of Trainer's own callbacks
    assert "train: " not in captured.err  # no bar


def test_a_bar_on_a_terminal(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    on_a_terminal(monkeypatch)
    assert main(arguments(base, tmp_path), design="model1") == 0
    captured = capsys.readouterr()
    assert re.search(r"train: +100%.* 4/4 .*loss \S+  accuracy \S+  \S+ tokens/s", captured.err)
    assert "step 2/4" not in captured.out
    assert "{'" not in captured.out + captured.err


def test_disable_tqdm_gives_lines_on_a_terminal(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    on_a_terminal(monkeypatch)
    assert main(arguments(base, tmp_path, "--disable_tqdm", "true"), design="model1") == 0
    captured = capsys.readouterr()
    assert len([line for line in captured.out.splitlines() if LINE.fullmatch(line)]) == 2
    assert "train: " not in captured.err


def test_only_the_first_process_speaks(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    on_a_terminal(monkeypatch)
    args = SimpleNamespace(disable_tqdm=False)
    for first in (False, True):
        state = SimpleNamespace(is_world_process_zero=first, global_step=1, max_steps=4)
        progress = TrainingProgress()
        for event in (progress.on_train_begin, progress.on_step_end, progress.on_train_end):
            event(args, state, None)
        progress.on_log(args, state, None, {"loss": 1.0})
        captured = capsys.readouterr()
        assert bool(captured.out + captured.err) == first


def test_nothing_reports_elsewhere_unless_asked(base: Path, tmp_path: Path) -> None:
    trainer = build_trainer(parse(arguments(base, tmp_path), design="model1"))
    show_progress(trainer)
    names = {type(callback).__name__ for callback in trainer.callback_handler.callbacks}
    assert names == {"DefaultFlowCallback", "MetricsFile", "TrainingProgress"}


def test_quantities() -> None:
    assert [quantity(value) for value in (7.0, 532, 14_230, 2_500_000)] == ["7", "532", "14.2k", "2.5M"]
