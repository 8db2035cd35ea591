"""``--plan``: the cells with their numbers, what is done, and what the rest will take in time and memory."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from common.errors import UserError
from common.files import one_line, read_json_or_empty
from common.words import gigabytes
from comparison.report.tables.terminal import for_terminal, terminal_width
from evaluation.results.record import Record
from study.cell_progress import progress_of, read_scores
from study.cells import Cell
from study.estimate import estimate
from study.scheduler import duration, make_slots
from study.study import Study
from study.training import COST_FILE


@dataclass(frozen=True)
class Taken:
    """Time and memory of a finished cell: seconds of training and of evaluation, peak bytes."""

    cell: Cell
    training: float
    evaluation: float
    memory: int | None

    @property
    def seconds(self) -> float:
        """Both together."""
        return self.training + self.evaluation


@dataclass(frozen=True)
class Outlook:
    """Time and memory of a cell, measured or expected.

    Attributes:
        seconds: from start to end, None if not known.
        memory: as text.
        source: of the seconds, as text.
    """

    seconds: float | None
    memory: str
    source: str


@dataclass
class PlanTable:
    """The rows of the table, and what it leaves to do.

    Attributes:
        rows: number, state, name, time and memory of each cell, as text.
        left: seconds that each unfinished cell will take, None if not known.
        sources: of these seconds.
        problems: errors that would stop cells.
    """

    rows: list[tuple[str, str, str, str, str]] = field(default_factory=list)
    left: list[float | None] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def add(self, study: Study, cell: Cell, done: Sequence[Taken], say: Callable[[str], None] | None = None) -> None:
        """Add a cell's row; `say` gets a line before what takes long."""
        try:
            view = outlook(study, cell, done, say)
        except UserError as error:
            view = Outlook(None, "", "cells that cannot start are not counted")
            self.problems.append(str(error))
        share = progress_of(cell)
        if cell.state not in ("done", "diverged"):
            self.left.append(None if view.seconds is None else view.seconds * (1 - share))
            self.sources.append(view.source)
        state: str = cell.state
        if state == "unfinished" and share > 0:
            state = f"started {share:.0%}"
        time = "" if view.seconds is None else duration(view.seconds)
        self.rows.append((str(cell.number), state, cell.name, time, view.memory))

    def print_rows(self) -> None:
        """Print the rows in columns."""
        widths = [max(map(len, column)) for column in zip(*self.rows, strict=True)]
        for number, state, name, seconds, memory in self.rows:
            line = f"{number:>{widths[0]}}  {state:{widths[1]}}  {name:{widths[2]}}  {seconds:>{widths[3]}}  {memory}"
            print(line.rstrip())

    def print_time_left(self, slots: int) -> None:
        """Print the time left with ``slots`` cells at a time, and where the figures come from."""
        known = [seconds for seconds in self.left if seconds is not None]
        if known:
            whole = sum(known)
            together = max(whole / slots, *known) if len(known) > 1 else whole
            unknown = ""
            if len(known) < len(self.left):
                unknown = f", {len(self.left) - len(known)} cells not counted"
            times = f"about {duration(whole)} one after the other, {duration(together)} with {slots} at a time"
            show(f"time left: {times}{unknown}")
        sources = "; ".join(dict.fromkeys(self.sources))
        show(f"times: {sources}. The start of each process, half a minute or less, comes on top")
        show(
            "memory: of one process of a training run, as measured; or as planned: tensors of a step, every text at its longest"
        )


def show(text: str) -> None:
    """Print a sentence, wrapped where stdout is a terminal."""
    print(for_terminal(text, terminal_width()))


def print_plan(study: Study) -> list[str]:
    """Print the table; return the errors that would stop cells, as far as a try shows them."""
    cells = study.cells
    done = [taken(cell) for cell in cells if cell.done]
    table = PlanTable()
    started = time.monotonic()

    def say(line: str) -> None:  # on stderr: the table alone is the output
        print(f"[plan {time.monotonic() - started:4.0f} s] {line}", file=sys.stderr, flush=True)

    for cell in cells:
        table.add(study, cell, done, say)
    table.print_rows()
    for cell in cells:
        if cell.reason:
            print(f"{cell.name} {cell.state}: {one_line(cell.reason)[:200]}")
    states = [cell.state for cell in cells]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    print(f"\n{len(cells)} cells: {counts}")
    if not table.left:
        return []
    table.print_time_left(len(make_slots(study.config.jobs, study.inputs.accelerate).devices))
    return list(dict.fromkeys(table.problems))


def taken(cell: Cell) -> Taken:
    """Return the time and memory of a finished cell, by its records."""
    scores = read_scores(cell)
    evaluation = 0.0
    for task in scores["scores"]:
        record = Record.read(cell.folder / scores["results"], task)
        if record is not None:
            evaluation += record.seconds
    training = float(scores["training_seconds"] or 0.0)
    memory = read_json_or_empty(cell.folder / COST_FILE).get("peak_memory_bytes")
    return Taken(cell, training, evaluation, memory)


def outlook(study: Study, cell: Cell, done: Sequence[Taken], say: Callable[[str], None] | None = None) -> Outlook:
    """Return the time and memory of a cell, from finished cells or from a try.

    Finished cells decide, the likest ones first: other seeds of the same; other designs of the same base and flags; any.
    """
    kin = [other for other in done if other.cell.kind == cell.kind]
    own = [other for other in kin if other.cell == cell]
    same = [other for other in kin if other.cell.system == cell.system]
    near = [other for other in kin if (other.cell.base, other.cell.recipe) == (cell.base, cell.recipe)]
    peaks = [other.memory for other in own or same if other.memory]
    memory = f"{gigabytes(statistics.median(peaks))} measured" if peaks else ""
    likest = own or same or near or kin
    if likest:
        trained = [other for other in done if other.cell.trains]
        source = f"from {len(trained)} finished cells of this study"
        return Outlook(statistics.mean(other.seconds for other in likest), memory, source)
    if not cell.trains:
        return Outlook(None, "", "baselines not counted")
    expected = estimate(study, cell, say)
    memory = f"{gigabytes(expected.memory)} planned" if expected.memory else ""
    if expected.training is None:
        return Outlook(None, memory, expected.how)
    if not expected.evaluation:
        return Outlook(expected.training, memory, f"{expected.how} (evaluation not counted)")
    return Outlook(expected.training + expected.evaluation, memory, expected.how)
