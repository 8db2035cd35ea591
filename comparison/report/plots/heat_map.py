"""By-task heat map: every task's difference from the baseline, or from the mean where there is no baseline."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from comparison.claims.outcome import ALPHA, Category, Comparison
from comparison.report.plots.drawing import COLOURS, Plot, render
from comparison.report.words.names import name, short_names

EDGES = (1, 3, 6, 12)  # times the margin: where the next stronger colour begins
ROW, COLUMN = 0.205, 0.56  # inches
Cell = tuple[float, float]


@dataclass(frozen=True)
class Entry:
    """One cell of the map.

    Attributes:
        difference: what colours it; None for none.
        text: the number.
        mark: ``o`` where the difference holds on this task, or nothing.
        checkpoint: whether the mark speaks of two trained files.
    """

    difference: float | None
    text: str
    mark: str = ""
    checkpoint: bool = False

    @property
    def drawn(self) -> str:
        """What is written in the map: ``+1.2 oc``."""
        return f"{self.text} {self.mark}{'c' if self.checkpoint else ''}" if self.mark else self.text

    @property
    def told(self) -> str:
        """What stands in the table of numbers: ``+1.2 o checkpoint``."""
        return f"{self.text} {self.mark}{' checkpoint' if self.checkpoint else ''}" if self.mark else self.text


def draw_heat_map(found: Comparison, stem: str) -> Plot:
    """Draw all tasks, by category, against all systems."""
    systems, head = _columns(found)
    labels = short_names(systems, 26)
    rows = [(category, task) for category in found.categories for task in category.tasks]
    tasks = short_names([task for _, task in rows], 44)
    height = ROW * (len(rows) + 1.2 * len(found.categories))
    figure = Figure(figsize=(COLUMN * len(systems) + 0.2, height + 0.3))
    axes = figure.add_axes((0, 0, 1, 1))
    boxes: dict[int, list[Cell]] = defaultdict(list)
    data, at, ticks, last = [], 0.0, [], None
    for category, task in rows:
        if category is not last:
            at, last = at + 1.2, category
            axes.text(-0.08, at - 0.85, name(category.name)[:60], ha="right", va="center", fontweight="bold", fontsize=9)
        entries = _entries(found, category, task, systems)
        for column, entry in enumerate(entries):
            _write(axes, boxes, entry, (column, at), found.margin)
        ticks.append((at, tasks[task]))
        data.append([name(category.name), name(task), *(entry.told for entry in entries)])
        at += 1
    for step, cells in boxes.items():
        axes.add_patch(rectangles(cells, COLOURS[f"h{step}"]))
    axes.set_xlim(0, len(systems))
    axes.set_ylim(at - 0.4, 0.4)
    axes.set_yticks([y for y, _ in ticks], [label for _, label in ticks], fontsize=8)
    axes.set_xticks([x + 0.5 for x in range(len(systems))], [labels[one] for one in systems], fontsize=8)
    head_columns(axes)
    svg, png = render(figure)
    return Plot(stem, "Task by task", _alt(found, rows), _caption(found), svg, png, ["kind of task", "task", *head], data)


def _columns(found: Comparison) -> tuple[list[str], list[str]]:
    if found.baseline is None:
        return list(found.systems), [name(one) for one in found.systems]
    others = [one for one in found.systems if one != found.baseline]
    return [found.baseline, *others], [f"{name(found.baseline)} (score)", *(name(one) for one in others)]


def _entries(found: Comparison, category: Category, task: str, systems: list[str]) -> list[Entry]:
    scores = {one: category.scores[one][task] for one in systems if task in category.scores.get(one, {})}
    if found.baseline is None:
        mean = float(np.mean(list(scores.values()))) if scores else 0.0
        return [Entry(scores[one] - mean, f"{100 * scores[one]:.1f}") if one in scores else Entry(None, "–") for one in systems]
    made = [Entry(None, f"{100 * scores[found.baseline]:.1f}" if found.baseline in scores else "–")]
    contrasts = {one.a: one for one in category.contrasts}
    for system in systems[1:]:
        one = contrasts.get(system)
        if one is None or task not in one.differences:
            made.append(Entry(None, "–"))
            continue
        shown = one.these_tasks is not None and one.these_tasks.p_tasks.get(task, 1.0) <= ALPHA
        difference = one.differences[task]
        made.append(Entry(difference, f"{100 * difference:+.1f}", "o" if shown else "", one.checkpoint))
    return made


def step_of(difference: float, margin: float) -> int:
    """Return which of nine colours a difference has, 4 within the margin."""
    strength = int(np.searchsorted(EDGES, abs(difference) / margin * (1 - 1e-9)))
    return 4 + (strength if difference > 0 else -strength)


def _write(axes: Axes, boxes: dict[int, list[Cell]], entry: Entry, at: Cell, margin: float) -> None:
    colour = COLOURS["muted"]
    if entry.difference is not None:
        step = step_of(entry.difference, margin)
        boxes[step].append(at)
        colour = COLOURS[f"t{step}"]
    axes.text(at[0] + 0.5, at[1], entry.drawn, ha="center", va="center", fontsize=7.5, color=colour)


def head_columns(axes: Axes) -> None:
    """Put the columns' names above them, slanted, and take away what a table does not need."""
    axes.xaxis.tick_top()
    for tick in axes.get_xticklabels():
        tick.set(rotation=40, ha="left", rotation_mode="anchor")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def rectangles(cells: list[Cell], colour: str) -> PathPatch:
    """Return all cells of one colour as one path: a hundred times smaller than one each."""
    corners = [(0.02, -0.46), (0.98, -0.46), (0.98, 0.46), (0.02, 0.46), (0.02, -0.46)]
    points = [(x + dx, y + dy) for x, y in cells for dx, dy in corners]
    codes = [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY] * len(cells)
    return PathPatch(Path(points, codes), facecolor=colour, lw=0, zorder=0)


def _alt(found: Comparison, rows: list[tuple[Category, str]]) -> str:
    what = f"difference from {name(found.baseline)}" if found.baseline is not None else "score"
    return (
        f"Heat map of the {what} on {len(rows)} tasks for {len(found.systems)} systems, in points; every cell shows its "
        "number, and the table below has the same numbers."
    )


def _caption(found: Comparison) -> str:
    edges = ", ".join(f"{100 * found.margin * edge:g}" for edge in EDGES)
    scale = f"Blue is better, orange worse; the colour grows stronger at {edges} points, and grey is within the margin."
    if found.baseline is None:
        return (
            f"Scores in points. {scale} Colours are differences from the mean of the systems that have the task; – no result."
        )
    checkpoint = any(one.checkpoint and one.these_tasks for category in found.categories for one in category.contrasts)
    of = " “c”: speaks of checkpoints, not of designs." if checkpoint else ""
    return (
        f"First column: the baseline's score; others: differences from it, in points. {scale} “o”: holds on this task, "
        f"corrected for all tasks and comparisons of its kind.{of} –: no result."
    )
