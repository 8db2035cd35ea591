"""The curve of a run: its loss, and the scores of its evaluations, by optimizer step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from transformers import TrainerCallback

from common.files import replacing
from trainers.scoring.selection import MEAN, PREFIX, Log, Selection

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState, TrainingArguments

CURVE_FILE = "training_curve.svg"
MOST_TASKS = 10  # lines of their own; of more tasks the mean alone is drawn


class CurveFile(TrainerCallback):  # type: ignore[misc]
    """Draws the curve into the output directory after each evaluation, on the first process.

    Args:
        path: of the picture.
        tasks: names of those that are scored.
        selection: marks the best evaluation; None for no mark.
    """

    def __init__(self, path: Path, tasks: Sequence[str], selection: Selection | None) -> None:
        self.path, self.tasks, self.selection = path, tasks, selection

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Draw the run so far."""
        if state.is_world_process_zero:
            draw(state.log_history, self.tasks, self.selection, self.path)


def draw(log: Log, tasks: Sequence[str], selection: Selection | None, path: Path) -> None:
    """Draw loss and scores, one above the other."""
    figure = Figure(figsize=(6, 5), layout="constrained")
    losses, scores = figure.subplots(2, 1, sharex=True)
    line(losses, log, "loss", label="training loss")
    line(losses, log, f"{PREFIX}loss", label="held-out loss", marker="o")
    losses.set_ylabel("loss")
    if losses.lines:  # an evaluation may come before the first loss is logged
        losses.legend()
    if 1 < len(tasks) <= MOST_TASKS:
        for task in tasks:
            line(scores, log, PREFIX + task, label=task, marker=".", linewidth=0.8)
    line(scores, log, PREFIX + MEAN, label=tasks[0] if len(tasks) == 1 else f"mean of {len(tasks)} tasks", marker="o")
    ranked = [] if selection is None else selection.ranked(log)
    for axes in (losses, scores):
        axes.grid(alpha=0.4)
        if ranked:
            axes.axvline(ranked[0].step, color="black", linestyle=":", linewidth=1)
    if selection is not None and ranked:
        scores.set_title(f"dotted: step {ranked[0].step}, the best by {PREFIX}{selection.metric}", fontsize=9)
    scores.set_ylabel("main score")
    scores.set_xlabel("optimizer step")
    scores.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        figure.savefig(part, format="svg")


def line(axes: Axes, log: Log, name: str, **look: Any) -> None:
    """Draw a figure of the log where it is known; of a step that was evaluated twice the last."""
    points = {entry["step"]: entry[name] for entry in log if name in entry}
    if points:
        axes.plot(list(points), list(points.values()), **look)
