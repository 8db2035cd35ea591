"""Progress, pace and last words of a cell, read from the files of its folder."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import read_json_or_empty
from common.json_text import parse_json
from common.lines import read_text
from study.cells import Cell, read_scores_file
from trainers.checkpoints.run_files import CONFIG_FILE, METRICS_FILE, RESULT_FILE
from trainers.flags.stages import STAGES_FOLDER

STARTED, TRAINING, TRAINED = 0.05, 0.75, 0.85  # shares of a cell: the start, all its steps, and both with the adapter saved


def read_scores(cell: Cell) -> dict[str, Any]:
    """Read ``scores.json``, empty where it is missing.

    Raises:
        UserError: it is damaged, or names a file outside of the cell's folder.
    """
    return read_scores_file(cell.scores_file)


def try_scores(cell: Cell) -> dict[str, Any]:
    """Read ``scores.json``, empty where it is missing or damaged."""
    try:
        return read_scores(cell)
    except UserError:
        return {}


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the whole lines of a JSON lines file, none where there is no file."""
    lines = []
    with contextlib.suppress(OSError):
        for line in read_text(path).splitlines():
            with contextlib.suppress(ValueError):  # a line that a kill cut short
                lines.append(parse_json(line))
    return lines


def training_seconds(cell: Cell) -> float | None:
    """Return the time that a cell's steps took, those of all its stages together; None where none is known."""
    folders = [*sorted((cell.adapter / STAGES_FOLDER).glob("*/")), cell.adapter]
    known = [seconds for folder in folders if (seconds := seconds_of_steps(folder)) is not None]
    return round(sum(known), 1) if known else None


def seconds_of_steps(run: Path) -> float | None:
    """Return the time that a run's steps took: the median of a step, times their number.

    So it is the same whether a run was stopped and went on or not; neither starting up nor scoring while training is counted.
    """
    result = read_json_or_empty(run / RESULT_FILE)
    steps = int(result.get("steps") or 0)
    paces = []
    before: dict[str, Any] | None = None
    scoring = 0.0  # seconds since the line before
    for line in read_lines(run / METRICS_FILE):
        if "loss" not in line:
            scoring += float(line.get("eval_seconds") or line.get("eval_runtime") or 0.0)
            continue
        if before is not None and line["step"] > before["step"]:
            paces.append((line["time"] - before["time"] - scoring) / (line["step"] - before["step"]))
        before, scoring = line, 0.0
    if paces and steps:
        median = sorted(paces)[len(paces) // 2]
        return round(float(median) * steps, 1)
    runtime = result.get("train_runtime")
    return None if runtime is None else round(float(runtime), 1)


def progress_of(cell: Cell) -> float:
    """Return the share of a cell that is done, 0 to 1, by the files of its folder."""
    if cell.state in ("done", "diverged"):
        return 1.0
    if cell.trained:
        return TRAINED
    try:
        lines = read_lines(cell.adapter / METRICS_FILE)
        steps = int(read_json_or_empty(cell.adapter / CONFIG_FILE)["max_steps"])
        if steps <= 0:
            return 0.4
        return STARTED + TRAINING * min(1.0, float(lines[-1].get("step", 0)) / steps)
    except (UserError, ValueError, IndexError, KeyError):
        return 0.0


def last_error(cell: Cell) -> str:
    """Return the last error in the trainer's log."""
    lines, killed, errors = [], [], []
    for line in map(str.strip, last_lines(cell.training_log, 200).splitlines()):
        if line:
            lines.append(line)
        if "died with <Signals." in line or "Signal 9 (SIGKILL)" in line:
            killed.append(line)
        if is_error(line):
            errors.append(line)
    if killed:  # by nobody of ours: nothing is left to tell why
        return f"a trainer was killed, for want of memory perhaps; the end of {cell.training_log}: {killed[-1][:200]}"
    return [*lines, *errors][-1] if lines else "(no log)"


def is_error(line: str) -> bool:
    """Whether a line of a log names an error, other than the launcher's about its processes."""
    if "CalledProcessError" in line or "ChildFailedError" in line:
        return False
    return line.startswith("error:") or ": error:" in line or "Error:" in line


def last_lines(path: Path, count: int = 12) -> str:
    """Return the end of a log file."""
    try:
        return "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-count:])
    except OSError:
        return "(no log)"
