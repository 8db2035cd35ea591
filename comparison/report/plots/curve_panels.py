"""The loss of each system in a panel of its own, the others grey behind it: one design can be followed among many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from comparison.reading.study_data import DONE, CellData
from comparison.report.plots.curves import PANELS, Points, line_of, mark_ends, middle
from comparison.report.plots.drawing import COLOURS, Plot, Series, render
from comparison.report.words.names import short_names

LOSS = PANELS[0]
COLUMNS, WIDTH, HEIGHT = 3, 2.1, 1.35  # panels in a row, inches of one
FEWEST = 2  # systems


def draw_curve_panels(cells: Mapping[str, Sequence[CellData]], stem: str, series: Mapping[str, Series]) -> Plot | None:
    """Draw a panel a system; None below two systems with a curve of the loss.

    Args:
        cells: of each system.
        stem: of the files.
        series: the look of each system.
    """
    lines: dict[str, list[Points]] = {}
    ends: dict[str, list[Points]] = {}
    for system, of_system in cells.items():
        known = [cell for cell in of_system if line_of(cell, LOSS)[0].size]
        if known:
            lines[system] = [line_of(cell, LOSS) for cell in known]
            ends[system] = [line_of(cell, LOSS) for cell in known if cell.status != DONE]
    if len(lines) < FEWEST:
        return None
    rows = -(-len(lines) // COLUMNS)
    figure = Figure(figsize=(COLUMNS * WIDTH, rows * HEIGHT + 0.3), layout="constrained")
    grid = figure.subplots(rows, COLUMNS, squeeze=False, sharex=True, sharey=True).ravel()
    medians = {system: middle(of_system) for system, of_system in lines.items()}
    labels = short_names(list(lines), 28)
    low, high = _limits(list(medians.values()))
    for axes, system in zip(grid, lines, strict=False):
        for other, points in medians.items():
            if other != system:
                axes.plot(*points, color=COLOURS["line"], lw=0.9, zorder=1)
        _draw_own(axes, lines[system], medians[system], series[system])
        axes.set_title(labels[system], fontsize=8)
        axes.tick_params(labelsize=7.5)
        axes.set_ylim(low, high)
        mark_ends(axes, ends[system])
    for axes in grid[len(lines) :]:
        axes.set_visible(False)
    svg, png = render(figure)
    caption = (
        "Loss by optimizer step. Thin: each run of the system. Thick: the smoothed median of its runs. Grey: the medians of "
        "the others. A cross: the run failed or diverged there."
    )
    alt = f"Training loss of {len(lines)} systems, a panel each, with the others' medians in grey."
    return Plot(stem, "Loss, system by system", alt, caption, svg, png)


def _draw_own(axes: Axes, lines: Sequence[Points], median: Points, look: Series) -> None:
    for points in lines:
        axes.plot(*points, color=look.colour, lw=0.6, alpha=0.5, zorder=2)
    axes.plot(*median, color=look.colour, lw=1.7, zorder=3)
    axes.grid()


def _limits(medians: Sequence[Points]) -> tuple[float, float]:
    """Return the axis that shows all medians; a run that diverged must not squash them."""
    values = np.concatenate([np.empty(0), *(of_system for _, of_system in medians)])
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0
    low, high = float(values.min()), float(np.quantile(values, 0.995))
    pad = 0.08 * (high - low) or 0.05 * abs(high) or 1.0
    return low - pad, high + pad
