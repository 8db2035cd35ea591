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
from comparison.report.plots.drawing import COLOURS, DASHES, SERIES, Plot, render
from comparison.report.words.names import listed, name, short_names

MOST_POINTS = 120  # of one line; a plot is two hundred dots wide
SMOOTHED = 9  # points
STRIPE = 3  # widths of a line
Points = tuple[np.ndarray, np.ndarray]


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
    Panel("mean_cosine", "mean cosine of two queries", limit=0.99),
    Panel("margin", "margin, own positive − others", limit=0.01),
    Panel("effective_rank", "effective rank of a batch", log=True, limit=2.0),
    Panel("grad_norm", "gradient norm", log=True),
    Panel("learning_rate", "learning rate"),
)


def draw_curves(cells: Mapping[str, Sequence[CellData]], stem: str) -> Plot | None:
    """Draw every run that has a curve, a colour a system; None where none has."""
    systems = [system for system, of_system in cells.items() if any(cell.curve for cell in of_system)]
    every = [cell for system in systems for cell in cells[system] if cell.curve]
    panels = [panel for panel in PANELS if any(_line(cell, panel)[0].size for cell in every)]
    if not panels:
        return None
    labels = short_names(systems, 28)
    count = -(-len(panels) // 2)
    figure = Figure(figsize=(4.7, 1.4 * count + 0.3), layout="constrained")
    grid = figure.subplots(count, 2, squeeze=False, sharex=True).ravel()
    for axes, panel in zip(grid, panels, strict=False):
        for number, system in enumerate(systems):
            for cell in cells[system]:
                axes.plot(*_line(cell, panel), color=SERIES[number % 8], lw=0.6, alpha=0.35)
        for number, system in enumerate(systems):
            steps, values = middle([_line(cell, panel) for cell in cells[system] if cell.status == DONE])
            axes.plot(steps, values, color=SERIES[number % 8], ls=_dash(number, len(systems)), lw=1.5)
        _finish(axes, panel, [_line(cell, panel)[1] for cell in every if cell.status == DONE])
        _mark_ends(axes, [_line(cell, panel) for cell in every if cell.status != DONE])
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    for axes in grid[max(0, len(panels) - 2) : len(panels)]:
        axes.set_xlabel("optimiser step")
        axes.tick_params(labelbottom=True)
    handles = [
        Line2D([], [], color=SERIES[n % 8], ls=DASHES[n // 8 % 4], lw=2, label=labels[one]) for n, one in enumerate(systems)
    ]
    stopped = [cell for cell in every if cell.status != DONE]
    if stopped:
        handles.append(Line2D([], [], color=COLOURS["ink"], marker="X", ls="", ms=7, label="failed or diverged here"))
    figure.legend(handles=handles, loc="outside lower left", ncols=2)
    svg, png = render(figure)
    alt = (
        f"Training curves of {len(every)} runs of {len(systems)} systems: {', '.join(panel.title for panel in panels)}."
        + (f" {listed([cell.name for cell in stopped])} did not come to its end." if len(stopped) == 1 else "")
        + (f" {len(stopped)} runs did not come to their ends." if len(stopped) > 1 else "")
    )
    caption = (
        "One thin line a run; thick the median of a system's runs that came to their end, smoothed, in dashes that take turns "
        "where systems lie on each other. Vectors have collapsed where the mean cosine of two different queries is above "
        ".99 while the margin is below .01, or where queries vary along fewer than two directions (dotted lines)."
    )
    return Plot(
        stem,
        "Training curves",
        alt,
        caption,
        svg,
        png,
        HEAD,
        [_row(system, cell) for system in systems for cell in cells[system]],
    )


def _line(cell: CellData, panel: Panel) -> Points:
    points = [(point.step, value) for point in cell.curve if (value := getattr(point, panel.field)) is not None]
    kept = points[:: -(-len(points) // MOST_POINTS) or 1]
    if points and kept[-1] != points[-1]:
        kept.append(points[-1])
    return np.array([step for step, _ in kept]), np.array([value for _, value in kept], dtype=float)


def middle(lines: Sequence[Points]) -> Points:
    """Return the median of runs at the steps that all have, and of `SMOOTHED` neighbouring steps: what noise would hide."""
    known = [dict(zip(steps.tolist(), values.tolist(), strict=True)) for steps, values in lines if steps.size]
    steps = sorted(set.intersection(*map(set, known))) if known else []
    runs = np.array([[one[step] for step in steps] for one in known]).reshape(len(known), len(steps))
    wide = [min(SMOOTHED // 2, at, len(steps) - 1 - at) for at in range(len(steps))]  # fewer at the ends, as many on both sides
    around = [slice(at - half, at + half + 1) for at, half in enumerate(wide)]
    return np.array(steps), np.array([np.median(runs[:, near]) for near in around])


def _dash(number: int, of: int) -> str | tuple[float, Sequence[float]]:
    """Return a system's dashes: up to eight take turns, so that lines that lie on each other show all their colours."""
    if of > len(SERIES):
        return DASHES[number // len(SERIES) % 4]
    return (STRIPE * number, (STRIPE, STRIPE * (of - 1))) if of > 1 else "-"


def _mark_ends(axes: Axes, lines: Sequence[Points]) -> None:
    """Put a cross where a run that did not come to its end was seen last, at the edge where it left the plot."""
    low, high = axes.get_ylim()
    for steps, values in lines:
        if steps.size:
            axes.plot(steps[-1], min(max(values[-1], low), high), "X", color=COLOURS["ink"], ms=6, zorder=5, clip_on=False)
    axes.set_ylim(low, high)


def _finish(axes: Axes, panel: Panel, healthy: list[np.ndarray]) -> None:
    axes.set_title(panel.title, fontsize=8.5)
    axes.grid()
    if panel.log:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.minorticks_off()
    if panel.limit is not None:
        axes.axhline(panel.limit, color=COLOURS["ink"], ls=(0, (1, 2)), lw=1)
    values = np.concatenate([values for values in healthy if values.size] or [np.empty(0)])
    if values.size and not panel.log:  # a run that diverged must not squash the others
        low, high = values.min(), values.max()
        pad = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
        seen = axes.get_ylim()
        axes.set_ylim(max(seen[0], low - 3 * pad), min(seen[1], high + 3 * pad))


HEAD = ["system", "run", "status", "last step", "first loss", "last loss", "last accuracy", "highest mean cosine",
        "smallest effective rank"]  # fmt: skip


def _row(system: str, cell: CellData) -> list[str]:
    def of(field: str) -> list[float]:
        return [value for point in cell.curve if (value := getattr(point, field)) is not None]

    def shown(values: list[float]) -> str:
        return f"{values[0]:.4g}" if values else "–"

    loss, cosine, rank = of("loss"), of("mean_cosine"), of("effective_rank")
    return [
        name(system),
        name(cell.name),
        cell.status,
        str(cell.curve[-1].step) if cell.curve else "–",
        shown(loss),
        shown(loss[-1:]),
        shown(of("accuracy")[-1:]),
        shown([max(cosine)] if cosine else []),
        shown([min(rank)] if rank else []),
    ]
