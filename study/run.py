"""Run a study's cells, some at a time, each in a process of its own, and show how far it is."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from study.cell import last_lines, progress_of
from study.config import Cell

ENTRY = Path(__file__).resolve().parents[1] / "run_study.py"
SECONDS_BETWEEN_LINES = 15.0


def run_cells(cells: Sequence[Cell], command: Callable[[Cell], list[str]], *, jobs: int, threads: int | None) -> dict[str, str]:
    """Run the cells that are not done.

    Args:
        cells: of the study.
        command: makes a cell's command line.
        jobs: how many run at a time.
        threads: CPU threads of each, ``None`` for the machine's default.

    Returns:
        Failed cells: name and reason. One failing cell does not stop the others.
    """
    waiting = [cell for cell in cells if not cell.done]
    running: dict[str, tuple[Cell, subprocess.Popen[bytes]]] = {}
    failed: dict[str, str] = {}
    display = Display(cells)
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                cell = waiting.pop(0)
                running[cell.name] = (cell, start(command(cell), cell, threads))
                display.line(f"{cell.name}: started")
            time.sleep(0.5)
            for name, (cell, process) in list(running.items()):
                if process.poll() is None:
                    continue
                del running[name]
                if process.returncode == 0 and cell.done:
                    display.line(f"{name}: done")
                else:
                    failed[name] = f"exit status {process.returncode}, see {cell.log_file}:\n{last_lines(cell.log_file)}"
                    display.line(f"{name}: FAILED, see {cell.log_file}")
            display.update([cell for cell, _ in running.values()])
    finally:  # Ctrl-C: the cells keep what they have, and go on from there the next time
        for _, process in running.values():
            process.terminate()
        display.close()
    return failed


def start(command: list[str], cell: Cell, threads: int | None) -> subprocess.Popen[bytes]:
    """Start a cell's process; what it prints goes to its log file."""
    cell.folder.mkdir(parents=True, exist_ok=True)
    environment = dict(os.environ)
    if threads is not None:
        environment |= {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    # A study that was itself started by a launcher must not make its cells believe that they are one of its processes.
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        environment.pop(name, None)
    with cell.log_file.open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)


class Display:
    """One line that is written over on a terminal; plain lines, seldom, elsewhere."""

    def __init__(self, cells: Sequence[Cell]) -> None:
        self.cells = list(cells)
        self.started = time.monotonic()
        self.before = self.fraction()  # done by an earlier run: takes no time now
        self.terminal = sys.stdout.isatty()
        self.last = self.started

    def fraction(self) -> float:
        """Return the share of the whole study that is done."""
        return sum(progress_of(cell) for cell in self.cells) / max(1, len(self.cells))

    def update(self, running: Sequence[Cell]) -> None:
        """Show progress and the time left."""
        now = time.monotonic()
        if now - self.last < (1.0 if self.terminal else SECONDS_BETWEEN_LINES):
            return
        self.last = now
        done, elapsed = self.fraction(), now - self.started
        rate = (done - self.before) / elapsed
        left = f"about {duration((1.0 - done) / rate)} left" if rate > 0 else "estimating the time left"
        names = ", ".join(f"{cell.name} {progress_of(cell):.0%}" for cell in running)
        text = f"{done:4.0%} · {duration(elapsed)} elapsed, {left} · {names}"
        if self.terminal:
            print(f"\r\033[K{text}", end="", flush=True)
        else:
            print(text, flush=True)

    def line(self, text: str) -> None:
        """Print a line that stays."""
        print(f"\r\033[K{text}" if self.terminal else text, flush=True)

    def close(self) -> None:
        """Leave the progress line."""
        if self.terminal:
            print()


def duration(seconds: float) -> str:
    """Return minutes and seconds, or hours and minutes."""
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02d} h"
