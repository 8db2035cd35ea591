"""Training curves of all runs, with the figures that tell a collapse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator

from comparison.reading.study_data import DONE, CellData
from comparison.report.plots.drawing import COLOURS, DASHES, MOST_SHOWN, SERIES, Plot, Series, render, series_of
from comparison.report.tables.columns import Column, heads, texts
from comparison.report.words.names import listed, name, short_names
from comparison.report.words.wording import DASH

MOST_POINTS = 120  # of one line; a plot is two hundred dots wide
SMOOTHED = 9  # points
STRIPE = 3  # widths of a line
Points = tuple[np.ndarray, np.ndarray]  # steps and values


@dataclass(frozen=True)
class Panel:
    """One figure of training: its field, title, scale, and the value beyond which it tells a collapse."""

    field: str
    title: str
    log: bool = False
    limit: float | None = None


PANELS = (
    Panel("loss", "loss"),
    Panel("accuracy", "positive ranked first in batch"),
    Panel("eval_mean", "mean score of tasks"),
    Panel("mean_cosine", "mean cosine of two queries", limit=0.99),
    Panel("margin", "margin, own positive − others", limit=0.01),
    Panel("effective_rank", "effective rank of a batch", log=True, limit=2.0),
    Panel("grad_norm", "gradient norm", log=True),
    Panel("learning_rate", "learning rate"),
)


@dataclass(frozen=True)
class SystemRuns:
    """A system with its look, its place among those that have curves, and all its runs."""

    system: str
    series: Series
    place: int
    runs: list[CellData]

    @property
    def done(self) -> list[CellData]:
        """The runs with a curve that came to their end."""
        return [cell for cell in self.runs if cell.curve and cell.status == DONE]

    @property
    def stopped(self) -> list[CellData]:
        """The runs with a curve that did not."""
        return [cell for cell in self.runs if cell.curve and cell.status != DONE]


def draw_curves(cells: Mapping[str, Sequence[CellData]], stem: str, series: Mapping[str, Series] | None = None) -> Plot | None:
    """Draw every run that has a curve; None where none has.

    Args:
        cells: of each system.
        stem: of the files.
        series: the look of each system; None for one by its place among these.
    """
    looks = series or series_of(cells)
    systems: list[SystemRuns] = []
    done: list[CellData] = []
    stopped: list[CellData] = []
    for system, cells_of_system in cells.items():
        runs = SystemRuns(system, looks[system], len(systems), list(cells_of_system))
        if runs.done or runs.stopped:
            systems.append(runs)
            done += runs.done
            stopped += runs.stopped
    panels = list(filter(lambda panel: _is_known(panel, [*done, *stopped]), PANELS))
    if not panels:
        return None
    rows = -(-len(panels) // 2)
    figure = Figure(figsize=(4.7, 1.4 * rows + 0.3), layout="constrained")
    grid = figure.subplots(rows, 2, squeeze=False, sharex=True).ravel()
    for axes, panel in zip(grid, panels, strict=False):
        _draw_panel(axes, panel, systems)
        finish(axes, panel, [line_of(cell, panel)[1] for cell in done])
        mark_ends(axes, [line_of(cell, panel) for cell in stopped])
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    for axes in grid[max(0, len(panels) - 2) : len(panels)]:
        axes.set_xlabel("optimizer step")
        axes.tick_params(labelbottom=True)
    figure.legend(handles=_legend(systems, bool(stopped)), loc="outside lower left", ncols=2)
    svg, png = render(figure)
    caption = (
        "Each thin line is a run. Each thick line is the median of a system's runs that came to their end, smoothed; dashes "
        "take turns where lines lie on each other. Vectors have collapsed where the mean cosine of two different queries is "
        "above .99 while the margin is below .01, or where queries vary along fewer than two directions (dotted lines)."
    )
    fallen = [name(cell.name) for cell in [*done, *stopped] if has_collapsed(cell)]
    if fallen:
        caption += f" They had, at some step, in {listed(fallen)}."
    cut = [cell.name for cell in [*done, *stopped] if _is_cut(cell)]
    if cut:
        caption += f" Figures beyond {MOST_SHOWN:g} are cut to that, steps beyond it left out ({listed([*map(name, cut)])})."
    entries: list[tuple[str, CellData]] = []
    for entry in systems:
        entries += [(entry.system, cell) for cell in entry.runs]
    alt = _alt(panels, len(done) + len(stopped), len(systems), stopped)
    return Plot(stem, "Training curves", alt, caption, svg, png, heads(COLUMNS), texts(COLUMNS, entries))


def _draw_panel(axes: Axes, panel: Panel, systems: Sequence[SystemRuns]) -> None:
    """Draw a thin line a run, and above all of them a thick one a system."""
    doubled = max(system.series.number for system in systems) >= len(SERIES)
    for system in systems:
        for cell in system.runs:
            axes.plot(*line_of(cell, panel), color=system.series.colour, lw=0.6, alpha=0.35)
    for system in systems:
        steps, values = middle([line_of(cell, panel) for cell in system.done])
        style = dash(system.place, len(systems))
        if doubled:  # two systems of one colour
            style = system.series.dash
        axes.plot(steps, values, color=system.series.colour, ls=style, lw=1.5)


def _legend(systems: Sequence[SystemRuns], stopped: bool) -> list[Line2D]:
    labels = short_names([entry.system for entry in systems], 28)
    handles = []
    for entry in systems:
        handles.append(Line2D([], [], color=entry.series.colour, ls=entry.series.dash, lw=2, label=labels[entry.system]))
    if stopped:
        handles.append(Line2D([], [], color=COLOURS["ink"], marker="X", ls="", ms=7, label="failed or diverged here"))
    return handles


def _alt(panels: Sequence[Panel], runs: int, systems: int, stopped: Sequence[CellData]) -> str:
    titles = ", ".join(panel.title for panel in panels)
    alt = f"Training curves of {runs} runs of {systems} systems: {titles}."
    if len(stopped) == 1:
        alt += f" {listed([stopped[0].name])} did not come to its end."
    if len(stopped) > 1:
        alt += f" {len(stopped)} runs did not come to their ends."
    return alt


def _is_known(panel: Panel, cells: Sequence[CellData]) -> bool:
    """Return whether any run has a panel's figure."""
    return any(_values(cell, panel.field) for cell in cells)


def _values(cell: CellData, field: str) -> list[tuple[int, float]]:
    """Return step and value of a figure where it is known."""
    values = []
    for point in cell.curve:
        value = getattr(point, field)
        if value is not None and abs(point.step) <= MOST_SHOWN:
            values.append((point.step, min(max(value, -MOST_SHOWN), MOST_SHOWN)))
    return values


def has_collapsed(cell: CellData) -> bool:
    """Return whether a run's vectors lay on each other at some step, or queries varied along fewer than two directions."""
    limits = {panel.field: panel.limit for panel in PANELS if panel.limit is not None}
    for point in cell.curve:
        cosine, margin, rank = point.mean_cosine, point.margin, point.effective_rank
        equal = cosine is not None and cosine > limits["mean_cosine"]
        if equal and margin is not None and margin < limits["margin"]:
            return True
        if rank is not None and rank < limits["effective_rank"]:
            return True
    return False


def _is_cut(cell: CellData) -> bool:
    """Return whether a run has figures that no axis can show."""
    fields = [panel.field for panel in PANELS]
    for point in cell.curve:
        values = [point.step, *(getattr(point, field) for field in fields)]
        if any(value is not None and abs(value) > MOST_SHOWN for value in values):
            return True
    return False


def line_of(cell: CellData, panel: Panel) -> Points:
    """Return a run's line in a panel, of at most `MOST_POINTS` points and the last."""
    points = _values(cell, panel.field)
    thinned = points[:: -(-len(points) // MOST_POINTS) or 1]
    if points and thinned[-1] != points[-1]:
        thinned.append(points[-1])
    steps, values = np.array(thinned, dtype=float).reshape(-1, 2).T
    return steps, values


def middle(lines: Sequence[Points]) -> Points:
    """Return the median of runs at the steps that all have, and of `SMOOTHED` neighbouring steps: what noise would hide."""
    runs = []
    for steps, values in lines:
        if steps.size:
            runs.append(dict(zip(steps.tolist(), values.tolist(), strict=True)))
    if not runs:
        return np.array([]), np.array([])
    common = sorted(set(runs[0]).intersection(*runs[1:]))
    rows = [[*map(run.get, common)] for run in runs]
    table = np.array(rows, dtype=float).reshape(len(runs), len(common))
    medians = []
    for place in range(len(common)):
        half = min(SMOOTHED // 2, place, len(common) - 1 - place)  # fewer at the ends, as many on both sides
        medians.append(np.median(table[:, place - half : place + half + 1]))
    return np.array(common), np.array(medians)


def dash(number: int, systems: int) -> str | tuple[float, Sequence[float]]:
    """Return a system's dashes: up to eight take turns, so that lines that lie on each other show all their colours."""
    if systems > len(SERIES):
        return DASHES[number // len(SERIES) % 4]
    if systems == 1:
        return "-"
    return STRIPE * number, (STRIPE, STRIPE * (systems - 1))


def mark_ends(axes: Axes, lines: Sequence[Points]) -> None:
    """Put a cross where a run that did not come to its end was seen last, at the edge where it left the plot."""
    low, high = axes.get_ylim()
    for steps, values in lines:
        if steps.size:
            axes.plot(steps[-1], min(max(values[-1], low), high), "X", color=COLOURS["ink"], ms=6, zorder=5, clip_on=False)
    axes.set_ylim(low, high)


def finish(axes: Axes, panel: Panel, healthy: Sequence[np.ndarray]) -> None:
    """Set title, scale and limit of a panel; the axis shows the values of healthy runs."""
    axes.set_title(panel.title, fontsize=8.5)
    axes.grid()
    if panel.log:
        axes.set_yscale("log")
        low, high = axes.get_ylim()
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))  # more would get no ticks at all
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.minorticks_off()
    if panel.limit is not None:
        axes.axhline(panel.limit, color=COLOURS["ink"], ls=(0, (1, 2)), lw=1)
    values = np.concatenate([np.empty(0), *healthy])
    if values.size and not panel.log:  # a run that diverged must not squash the others
        low, high = values.min(), values.max()
        pad = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
        bottom, top = axes.get_ylim()
        axes.set_ylim(max(bottom, low - 3 * pad), min(top, high + 3 * pad))


def _last_step(cell: CellData) -> str:
    if not cell.curve:
        return DASH
    return str(cell.curve[-1].step)


def _figures(cell: CellData, field: str) -> list[float]:
    return [value for _, value in _values(cell, field)]


def _first(values: Sequence[float]) -> float | None:
    return next(iter(values), None)


def _short(value: float | None) -> str:
    if value is None:
        return DASH
    return f"{value:.4g}"


COLUMNS: Sequence[Column[tuple[str, CellData]]] = [
    Column("system", lambda entry: entry[0], text=name),
    Column("run", lambda entry: entry[1].name, text=name),
    Column("status", lambda entry: entry[1].status),
    Column("last step", lambda entry: _last_step(entry[1])),
    Column("first loss", lambda entry: _first(_figures(entry[1], "loss")), text=_short),
    Column("last loss", lambda entry: _first(_figures(entry[1], "loss")[-1:]), text=_short),
    Column("last accuracy", lambda entry: _first(_figures(entry[1], "accuracy")[-1:]), text=_short),
    Column("highest mean cosine", lambda entry: max(_figures(entry[1], "mean_cosine"), default=None), text=_short),
    Column("smallest effective rank", lambda entry: min(_figures(entry[1], "effective_rank"), default=None), text=_short),
]
