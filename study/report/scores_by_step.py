"""Scores of checkpoints while designs trained, for a report: the curve of a study whose ``training`` has ``eval_tasks``."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean

from comparison.findings import Curve, Finding, Panel
from study.cell_progress import read_lines
from study.cells import Cell
from trainers.checkpoints.run_files import METRICS_FILE

SCORE = "eval_mean"  # of --eval_tasks, in a run's log

# Step -> a score of each run.
Scores = dict[int, list[float]]


def scores_by_step(cells: Sequence[Cell]) -> list[Finding]:
    """Return the curve of all systems whose runs have ended and were scored while they trained; nothing for none.

    Args:
        cells: of the study.
    """
    systems: defaultdict[str, list[dict[int, float]]] = defaultdict(list)
    for cell in cells:
        scores = scores_of_run(cell) if cell.done else {}
        if scores:
            systems[cell.system].append(scores)
    if not systems:
        return []
    curves, table = [], []
    steps = sorted({step for runs in systems.values() for scores in runs for step in scores})
    for system, runs in systems.items():
        together = joined(runs)
        curves.append(Curve(system, [float(step) for step in together], [estimate(values) for values in together.values()]))
        table.append([system, str(len(runs)), *(shown(together.get(step, [])) for step in steps)])
    caption = "Mean score over the tasks of eval_tasks by optimizer step: the mean of the runs, and the lowest and highest."
    sentences = [
        "While a run trained, it was scored on the tasks of eval_tasks. These scores enter no test, and other systems may have "
        "been ahead at other steps."
    ]
    panel = Panel("", "optimizer step", "mean score", curves)
    head = ["system", "runs", *(f"step {step}" for step in steps)]
    return [Finding("Scores while training", sentences, caption, [panel], head, table)]


def scores_of_run(cell: Cell) -> dict[int, float]:
    """Return the scores of a run's checkpoints by step; of a step that was scored twice the last."""
    scores = {}
    for line in read_lines(cell.adapter / METRICS_FILE):
        step, score = line.get("step"), line.get(SCORE)
        if isinstance(step, int) and isinstance(score, float) and math.isfinite(score):
            scores[step] = score
    return dict(sorted(scores.items()))


def joined(runs: Sequence[dict[int, float]]) -> Scores:
    """Return the scores of several runs at the steps that all of them have."""
    common = set(runs[0]).intersection(*runs[1:])
    return {step: [scores[step] for scores in runs] for step in sorted(common)}


def estimate(values: Sequence[float]) -> list[float]:
    """Return the mean, and the lowest and highest of several values."""
    if len(values) < 2:
        return list(values)
    return [fmean(values), min(values), max(values)]


def shown(values: Sequence[float]) -> str:
    """Return the mean of runs as text."""
    return f"{fmean(values):.4f}" if values else "–"
