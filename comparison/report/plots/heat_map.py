"""By-task heat map: every task's difference from the baseline, or from the mean where there is no baseline."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from comparison.claims.outcome import Category, Comparison, Contrast
from comparison.report.plots.drawing import COLOURS, Plot, render
from comparison.report.words.marks import any_checkpoint, beside_task
from comparison.report.words.names import name, short_names
from comparison.report.words.wording import DASH, when

EDGES = (1, 3, 6, 12)  # times the margin: where the next stronger colour begins
ROW, COLUMN = 0.205, 0.56  # inches
NARROW, SMALL_FONT = 0.13, 5.5  # inches of a column without numbers, points of its name
MOST_NUMBERS = 2_500  # cells with a number in them: more are too small to read, and take minutes to draw
HEADING = 1.2  # rows above a category's first task
CORNERS = [(0.02, -0.46), (0.98, -0.46), (0.98, 0.46), (0.02, 0.46), (0.02, -0.46)]
OUTLINE = [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY]
Position = tuple[float, float]  # of a cell, in columns and rows


@dataclass(frozen=True)
class MapCell:
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
        """The text in the map: ``+1.2 oc``."""
        return self.text + when(self.mark, f" {self.mark}{when(self.checkpoint, 'c')}")

    @property
    def printed(self) -> str:
        """The text in the table of numbers: ``+1.2 o checkpoint``."""
        return self.text + when(self.mark, f" {self.mark}{when(self.checkpoint, ' checkpoint')}")


class ColouredCells:
    """Cells collected by colour, so that each colour is one path: a hundred times smaller than one path each."""

    def __init__(self, axes: Axes, margin: float, cells: int = 0) -> None:
        """Collect on axes; above `MOST_NUMBERS` cells only colours are drawn."""
        self.axes = axes
        self.margin = margin
        self.numbers = cells <= MOST_NUMBERS
        self.positions: dict[int, list[Position]] = defaultdict(list)

    def write(self, text: str, position: Position, difference: float | None, size: float) -> None:
        """Write a text into a cell, which is coloured by a difference; without one it stays empty."""
        colour = COLOURS["muted"]
        if difference is not None:
            step = step_of(difference, self.margin)
            self.positions[step].append(position)
            colour = COLOURS[f"t{step}"]
        x, y = position
        if not self.numbers:
            return
        self.axes.text(x + 0.5, y, text, ha="center", va="center", fontsize=size, color=colour)

    def fill(self) -> None:
        """Draw the rectangles below the texts."""
        for step, positions in self.positions.items():
            self.axes.add_patch(_rectangles(positions, COLOURS[f"h{step}"]))


def draw_heat_map(comparison: Comparison, stem: str) -> Plot:
    """Draw all tasks, by category, against all systems."""
    systems, head = _columns(comparison)
    every: list[str] = []
    for category in comparison.categories:
        every += category.tasks
    labels = short_names(every, 44)
    height = ROW * (len(every) + HEADING * len(comparison.categories))
    cells_in_all = len(every) * len(systems)
    column_width, font = COLUMN, 8.0
    if cells_in_all > MOST_NUMBERS:
        column_width, font = NARROW, SMALL_FONT
    figure = Figure(figsize=(column_width * len(systems) + 0.2, height + 0.3))
    axes = figure.add_axes((0, 0, 1, 1))
    coloured = ColouredCells(axes, comparison.margin, cells_in_all)
    rows, ticks, place = [], [], 0.0
    for category in comparison.categories:
        place += HEADING
        title = name(category.name)[:60]
        axes.text(-0.08, place - 0.85, title, ha="right", va="center", fontweight="bold", fontsize=9)
        for task in category.tasks:
            cells = _cells(comparison, category, task, systems)
            for column, cell in enumerate(cells):
                coloured.write(cell.drawn, (column, place), cell.difference, size=7.5)
            ticks.append(place)
            rows.append([name(category.name), name(task), *(cell.printed for cell in cells)])
            place += 1
    coloured.fill()
    axes.set_xlim(0, len(systems))
    axes.set_ylim(place - 0.4, 0.4)
    axes.set_yticks(ticks, [labels[task] for task in every], fontsize=8)
    label_columns(axes, list(short_names(systems, 26).values()), font)
    svg, png = render(figure)
    alt, caption = _alt(comparison, len(every)), _caption(comparison) + without_numbers(cells_in_all)
    return Plot(stem, "Task by task", alt, caption, svg, png, ["kind of task", "task", *head], rows)


def without_numbers(cells: int) -> str:
    """Say that numbers are left out of a plot with too many cells for them; empty where they stand in it."""
    return when(cells > MOST_NUMBERS, f" Of {cells:,} cells only the colours are drawn; the numbers are in the table below.")


def _columns(comparison: Comparison) -> tuple[list[str], list[str]]:
    """Return the systems in the order of the columns, and the columns' names."""
    systems = list(comparison.systems)
    if comparison.baseline is None:
        return systems, list(map(name, systems))
    systems.remove(comparison.baseline)
    head = [f"{name(comparison.baseline)} (score)", *map(name, systems)]
    return [comparison.baseline, *systems], head


def _cells(comparison: Comparison, category: Category, task: str, systems: Sequence[str]) -> list[MapCell]:
    scores = {}
    for system in systems:
        if task in category.scores.get(system, {}):
            scores[system] = category.scores[system][task]
    if comparison.baseline is None:
        return _scores(scores, systems)
    contrasts = {contrast.a: contrast for contrast in category.contrasts}
    first = MapCell(None, DASH)
    if comparison.baseline in scores:
        first = MapCell(None, f"{100 * scores[comparison.baseline]:.1f}")
    return [first, *(_difference(contrasts.get(system), task) for system in systems[1:])]


def _scores(scores: Mapping[str, float], systems: Sequence[str]) -> list[MapCell]:
    """Return scores, coloured by their differences from the mean."""
    mean = 0.0
    if scores:
        mean = float(np.mean(list(scores.values())))
    cells = []
    for system in systems:
        if system in scores:
            cells.append(MapCell(scores[system] - mean, f"{100 * scores[system]:.1f}"))
        else:
            cells.append(MapCell(None, DASH))
    return cells


def _difference(contrast: Contrast | None, task: str) -> MapCell:
    """Return a difference from the baseline with its mark."""
    if contrast is None or task not in contrast.differences:
        return MapCell(None, DASH)
    difference = contrast.differences[task]
    return MapCell(difference, f"{100 * difference:+.1f}", beside_task(contrast, task), contrast.checkpoint)


def step_of(difference: float, margin: float) -> int:
    """Return the colour of a difference, from 0 to 8; 4 is within the margin."""
    strength = int(np.searchsorted(EDGES, abs(difference) / margin * (1 - 1e-9)))
    if difference > 0:
        return 4 + strength
    return 4 - strength


def label_columns(axes: Axes, labels: Sequence[str], font: float = 8.0) -> None:
    """Put the columns' names above them, slanted, and take away what a table does not need."""
    axes.set_xticks(np.arange(len(labels)) + 0.5, labels, fontsize=font)
    axes.xaxis.tick_top()
    for tick in axes.get_xticklabels():
        tick.set(rotation=40, ha="left", rotation_mode="anchor")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _rectangles(positions: Sequence[Position], colour: str) -> PathPatch:
    """Return all cells of one colour as one path."""
    points = []
    for x, y in positions:
        points += [(x + dx, y + dy) for dx, dy in CORNERS]
    return PathPatch(Path(points, OUTLINE * len(positions)), facecolor=colour, lw=0, zorder=0)


def _alt(comparison: Comparison, tasks: int) -> str:
    content = "score"
    if comparison.baseline is not None:
        content = f"difference from {name(comparison.baseline)}"
    return (
        f"Heat map of the {content} on {tasks} tasks for {len(comparison.systems)} systems, in points; every cell shows its "
        "number, and the table below has the same numbers."
    )


def _caption(comparison: Comparison) -> str:
    edges = ", ".join(f"{100 * comparison.margin * edge:g}" for edge in EDGES)
    scale = f"Blue is better, orange worse; the colour grows stronger at {edges} points, and grey is within the margin."
    if comparison.baseline is None:
        return (
            f"Scores in points. {scale} Colours are differences from the mean of the systems that have the task; – no result."
        )
    sentences = [
        f"First column: the baseline's score; others: differences from it, in points. {scale} “o”: holds on this task, in "
        "this measure, corrected for all tasks and comparisons of its kind."
    ]
    for category in comparison.categories:
        if any_checkpoint(contrast for contrast in category.contrasts if contrast.these_tasks):
            sentences.append("“c”: speaks of checkpoints, not of designs.")
            break
    sentences.append("–: no result.")
    return " ".join(sentences)
