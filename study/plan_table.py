"""``--plan``: the cells with their numbers, what is done, and what the rest will take in time and memory."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from common.errors import UserError
from common.files import read_json_or_empty
from evaluation.results.record import Record
from study.cells import Cell
from study.config import StudyConfig
from study.estimate import Estimate, estimate
from study.inputs import Inputs
from study.run_cell import progress_of, read_scores
from study.scheduler import duration, make_slots
from study.training import COST_FILE


@dataclass(frozen=True)
class Taken:
    """What a finished cell took: seconds of training and of evaluation, peak bytes."""

    cell: Cell
    training: float
    evaluation: float
    memory: int | None

    @property
    def seconds(self) -> float:
        """Both together."""
        return self.training + self.evaluation


def print_plan(cells: Sequence[Cell], config: StudyConfig, inputs: Inputs) -> list[str]:
    """Print the table; returns what cells would stop with, as far as a try shows it."""
    problems: list[str] = []
    done = {cell.name: taken(cell) for cell in cells if cell.done}
    rows, left, sources = [], [], []
    for cell in cells:
        try:
            seconds, memory, how = outlook(cell, list(done.values()), config, inputs)
        except UserError as error:
            seconds, memory, how = None, "", "cells that cannot start are not counted"
            problems.append(str(error))
        share = progress_of(cell)
        if cell.state not in ("done", "diverged"):
            left.append(None if seconds is None else seconds * (1 - share))
            sources.append(how)
        state = f"started {share:.0%}" if cell.state == "unfinished" and share > 0 else cell.state
        rows.append((str(cell.index), state, cell.name, "" if seconds is None else duration(seconds), memory))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for number, state, name, time, memory in rows:
        line = f"{number:>{widths[0]}}  {state:{widths[1]}}  {name:{widths[2]}}  {time:>{widths[3]}}  {memory}"
        print(line.rstrip())
    for cell in cells:
        if cell.reason:
            print(f"{cell.name} {cell.state}: {' '.join(cell.reason.split())[:200]}")
    states = [cell.state for cell in cells]
    print(f"\n{len(cells)} cells: " + ", ".join(f"{states.count(one)} {one}" for one in dict.fromkeys(states)))
    if not left:
        return []
    slots = make_slots(config.jobs, inputs.accelerate)
    known = [one for one in left if one is not None]
    if known:
        whole = sum(known)
        together = max(whole / len(slots.devices), *known) if len(known) > 1 else whole
        unknown = f", {len(left) - len(known)} cells not counted" if len(known) < len(left) else ""
        count = len(slots.devices)
        print(f"time left: about {duration(whole)} one after the other, {duration(together)} with {count} at a time{unknown}")
    print(f"times: {'; '.join(dict.fromkeys(sources))}. The start of each process, half a minute or less, comes on top")
    print("memory: of one process of a training run, as measured; or as planned: tensors of a step, every text at its longest")
    return list(dict.fromkeys(problems))


def taken(cell: Cell) -> Taken:
    """Return what a finished cell took, by its records."""
    scores = read_scores(cell)
    evaluation = 0.0
    for task in scores["scores"]:
        record = Record.read(cell.folder / scores["results"], task)
        evaluation += record.seconds if record is not None else 0.0
    return Taken(
        cell,
        float(scores["training_seconds"] or 0.0),
        evaluation,
        read_json_or_empty(cell.folder / COST_FILE).get("peak_memory_bytes"),
    )


def outlook(cell: Cell, done: Sequence[Taken], config: StudyConfig, inputs: Inputs) -> tuple[float | None, str, str]:
    """Return a cell's seconds from start to end, its memory as text, and where the time comes from.

    Finished cells decide, the likest ones first: other seeds of the same; other designs of the same base and recipe; any.
    """
    from common.words import gigabytes

    own = [one for one in done if one.cell == cell]
    same = [one for one in done if (one.cell.system, one.cell.kind) == (cell.system, cell.kind)]
    near = [one for one in done if one.cell.kind == cell.kind and (one.cell.base, one.cell.recipe) == (cell.base, cell.recipe)]
    some = own or same or near or [one for one in done if one.cell.kind == cell.kind]
    measured = [one.memory for one in own or same if one.memory]
    memory = f"{gigabytes(statistics.median(measured))} measured" if measured else ""
    if some:
        count = len([one for one in done if one.cell.kind == "design"])
        return statistics.mean(one.seconds for one in some), memory, f"from {count} finished cells of this study"
    if cell.kind == "baseline":
        return None, "", "baselines not counted"
    found: Estimate = estimate(cell, config, inputs)
    seconds = None if found.training is None else found.training + (found.evaluation or 0.0)
    without = "" if found.evaluation or found.training is None else " (evaluation not counted)"
    return seconds, f"{gigabytes(found.memory)} planned" if found.memory else "", found.how + without
