"""Run a study's cells, some at a time, each in a process of its own, and show the progress."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from common.words import short
from comparison.report.tables.terminal import terminal_width
from study.cell_progress import last_lines, progress_of
from study.cells import Cell
from study.launch import clean_environment, cores, read_accelerate

SECONDS_BETWEEN_LINES = 15.0
SECONDS_BETWEEN_LOOKS = 0.3
LEAST_NAME = 12  # columns that show a cell's name and share
IN_USE = 75  # exit status of a cell that another process runs: EX_TEMPFAIL


@dataclass(frozen=True)
class Slots:
    """How cells share a machine.

    Attributes:
        devices: ``CUDA_VISIBLE_DEVICES`` of each cell that runs at the same time; None for what is there.
        threads: CPU threads of each process; None for the machine's default.
    """

    devices: list[str | None]
    threads: int | None


def make_slots(jobs: int | None, accelerate: str | None) -> Slots:
    """Divide the machine: on GPUs a cell for each share of them, on the CPU two single-threaded ones, which beat one of two.

    Args:
        jobs: cells at a time, if the study says so.
        accelerate: the launcher's file, which says how many processes a cell has.
    """
    settings = read_accelerate(accelerate)
    processes = int(settings.get("num_processes") or 1)
    free = cores()
    if settings.get("use_cpu") or not torch.cuda.is_available():
        count = jobs or max(1, min(2, free // processes))
        return Slots([None] * count, max(1, free // (count * processes)))
    if settings.get("gpu_ids") not in (None, "all"):  # the file says which: two cells would share them
        return Slots([None] * (jobs or 1), None)
    shares = gpu_shares(processes)
    count = jobs or len(shares)
    return Slots([shares[number % len(shares)] for number in range(count)], None)


def gpu_shares(processes: int) -> list[str]:
    """Return the visible GPUs in shares of one for each process, as ``CUDA_VISIBLE_DEVICES`` names them."""
    names = list(map(str, range(torch.cuda.device_count())))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible:
        names = visible.split(",")
    if len(names) < processes:  # which the trainer refuses with the reason
        return [",".join(names)]
    return [",".join(names[start : start + processes]) for start in range(0, len(names) - processes + 1, processes)]


def run_cells(cells: Sequence[Cell], command: Callable[[Cell], list[str]], slots: Slots) -> dict[str, str]:
    """Run the cells that are not done; a diverged one is left as it is, since it would diverge again.

    Args:
        cells: of the study.
        command: makes a cell's command line.
        slots: how cells share the machine.

    Returns:
        Cells that are not done now, and why: name and reason. One failing cell does not stop the others.
    """
    # Two cells may be one training: where they differ in flags of the pooling alone, and the design has none.
    by_folder = {cell.folder: cell for cell in cells if cell.state not in ("done", "diverged")}
    waiting = list(by_folder.values())
    free = list(range(len(slots.devices)))
    running: dict[int, tuple[Cell, subprocess.Popen[bytes]]] = {}
    display = Display(cells)
    elsewhere: list[str] = []
    try:
        while waiting or running:
            while waiting and free:
                cell, slot = waiting.pop(0), free.pop(0)
                running[slot] = (cell, start(command(cell), cell, slots, slot))
                display.start(cell)
            time.sleep(SECONDS_BETWEEN_LOOKS)
            for slot, (cell, process) in list(running.items()):
                if process.poll() is None:
                    continue
                del running[slot]
                free.append(slot)
                if process.returncode == IN_USE:
                    elsewhere.append(cell.name)
                    display.line(f"{display.place(cell)} {cell.name}: another process runs it")
                else:
                    display.end(cell, outcome(cell))
            display.update([cell for cell, _ in running.values()])
    finally:  # Ctrl-C: the cells save what they have, and go on from there the next time
        for _, process in running.values():
            process.terminate()
        for _, process in running.values():
            process.wait()
        display.close()
    left = {}
    for cell in cells:
        if cell.name in elsewhere and not cell.done:
            left[cell.name] = "another process runs it"
        elif not cell.done:
            left[cell.name] = why(cell)
    return left


def outcome(cell: Cell) -> str:
    """Return how a cell's process ended."""
    if cell.state == "done":
        return "done"
    if cell.state == "diverged":
        return f"DIVERGED, see {cell.training_log},"
    return f"FAILED, see {cell.log_file},"


def why(cell: Cell) -> str:
    """Return the reason why a cell is not done."""
    if cell.state == "diverged":
        return f"{cell.reason} (It stands in the comparison as diverged; to train it again, delete {cell.folder}.)"
    if not cell.reason and not cell.log_file.is_file():
        return "not run, or not by this command"
    return cell.reason or f"it ended without a reason; the end of {cell.log_file}:\n{last_lines(cell.log_file)}"


def start(command: list[str], cell: Cell, slots: Slots, slot: int) -> subprocess.Popen[bytes]:
    """Start a cell's process; what it prints goes to its log file."""
    cell.folder.mkdir(parents=True, exist_ok=True)
    # A study that was itself started by a launcher must not make its cells believe that they are one of its processes.
    environment = clean_environment(os.environ, threads=slots.threads, devices=slots.devices[slot])
    with cell.log_file.open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True)


class Display:
    """One line that is written over on a terminal, cut to its width; plain lines, seldom, elsewhere.

    A line that is wider than the terminal wraps, and only its last row would be written over: a new row every second.
    """

    def __init__(self, cells: Sequence[Cell]) -> None:
        self.cells = list(cells)
        self.started = time.monotonic()
        self.before = self.fraction()  # done by an earlier run: takes no time now
        self.terminal = terminal_width() is not None
        self.last = self.started
        self.begun: dict[str, float] = {}

    def fraction(self) -> float:
        """Return the share of the whole study that is done."""
        return sum(progress_of(cell) for cell in self.cells) / max(1, len(self.cells))

    def update(self, running: Sequence[Cell]) -> None:
        """Show progress and the time left."""
        now = time.monotonic()
        if now - self.last < (1.0 if self.terminal else SECONDS_BETWEEN_LINES):
            return
        self.last = now
        width = terminal_width()
        text = state_line(self.fraction(), self.before, now - self.started, shares_of(running), width)
        if self.terminal:
            print(f"\r\033[K{text}", end="", flush=True)
        else:
            print(text, flush=True)

    def start(self, cell: Cell) -> None:
        """Print that a cell begins."""
        self.begun[cell.name] = time.monotonic()
        self.line(f"{self.place(cell)} {cell.name}: started")

    def end(self, cell: Cell, what: str) -> None:
        """Print how a cell ended, and after how long."""
        seconds = time.monotonic() - self.begun.get(cell.name, self.started)
        self.line(f"{self.place(cell)} {cell.name}: {what} after {duration(seconds)}")

    def place(self, cell: Cell) -> str:
        """Return a cell's place among all, such as ``[3/8]``."""
        return f"[{self.cells.index(cell) + 1}/{len(self.cells)}]"

    def line(self, text: str) -> None:
        """Print a line that stays."""
        print(f"\r\033[K{text}" if self.terminal else text, flush=True)

    def close(self) -> None:
        """Remove the progress line."""
        if self.terminal:
            print("\r\033[K", end="", flush=True)


def shares_of(cells: Sequence[Cell]) -> list[str]:
    """Return the name of each cell with the share of it that is done."""
    return [f"{cell.name} {progress_of(cell):.0%}" for cell in cells]


def state_line(done: float, before: float, elapsed: float, running: Sequence[str], width: int | None) -> str:
    """Return a line on a study's progress.

    >>> state_line(0.25, 0.0, 90.0, ["model1-seed1 40%", "model2-seed1 10%"], 64)
    ' 25% · 1:30 min, about 4:30 min left · model1-seed1 40% +1 more'

    Args:
        done: share of the whole study that is done.
        before: share that an earlier run has done.
        elapsed: seconds of this run.
        running: the cells that run, with their shares.
        width: columns of the terminal, of which the last stays empty; None for a line of any length.
    """
    rate = (done - before) / max(elapsed, 1e-9)
    left = "estimating the time left"
    if rate > 0:
        left = f"about {duration((1.0 - done) / rate)} left"
    text = f"{done:4.0%} · {duration(elapsed)}, {left}"
    if width is None:
        return " · ".join([text, ", ".join(running)]) if running else text
    rest = ""
    for shown in range(len(running), 0, -1):
        rest = f" +{len(running) - shown} more" if shown < len(running) else ""
        line = f"{text} · {', '.join(running[:shown])}{rest}"
        if len(line) < width:
            return line
    room = width - len(f"{text} · {rest}") - 1
    if not running or room < LEAST_NAME:
        return text[: width - 1]
    return f"{text} · {short(running[0], room)}{rest}"


def duration(seconds: float) -> str:
    """Return minutes and seconds, or hours and minutes."""
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02d} h"
