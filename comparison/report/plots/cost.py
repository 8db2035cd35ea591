"""What a design costs beside what it scores: trainable parameters, training time, and texts read a second."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill

import numpy as np
from matplotlib.figure import Figure

from comparison.claims.outcome import Comparison
from comparison.reading.study_data import CellData
from comparison.report.plots.drawing import COLOURS, MARKERS, SERIES, Plot, render
from comparison.report.words.names import name, short_names

Cells = Mapping[str, Sequence[CellData]]


@dataclass(frozen=True)
class Measure:
    """A cost: its name, where it is kept, and how it is written."""

    what: str
    value: Callable[[CellData], float | None]
    text: Callable[[float], str]


MEASURES = (
    Measure("trainable parameters", lambda cell: cell.trainable_parameters, lambda value: quantity(value)),
    Measure("training time", lambda cell: cell.training_seconds, lambda value: duration(value)),
    Measure("texts read a second", lambda cell: cell.evaluation_texts_per_second, lambda value: quantity(value)),
    Measure("tokens read a second", lambda cell: cell.evaluation_tokens_per_second, lambda value: quantity(value)),
    Measure("peak memory of training", lambda cell: cell.peak_memory_bytes, lambda value: f"{value / 2**30:.2f} GiB"),
)
PLOTTED = 3  # the first so many measures


def quantity(value: float) -> str:
    """Return a number as people read it: ``1.28 B``, ``4.2 M``, ``310``."""
    for size, letter in ((1e9, " B"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def duration(seconds: float) -> str:
    """Return seconds as people read them: ``2 h 05 min``, ``3 min 10 s``, ``12 s``."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{seconds:.3g} s"


def brief_duration(seconds: float) -> str:
    """Return seconds in one unit, for an axis."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.2g} {unit}"
    return f"{seconds:.2g} s"


def overall_scores(found: Comparison) -> dict[str, float]:
    """Return the mean over kinds of task of each system's mean score; only of systems that have all tasks."""
    means = {system: [category.means.get(system) for category in found.categories] for system in found.systems}
    return {system: float(np.mean(of)) for system, of in means.items() if of and None not in of}  # type: ignore[arg-type]


def values_of(cells: Sequence[CellData], measure: Measure) -> list[float]:
    """Return a measure of each cell that has it."""
    return [float(value) for cell in cells if (value := measure.value(cell)) is not None]


def draw_cost(found: Comparison, cells: Cells, stem: str) -> Plot | None:
    """Draw scores against each cost; None where no system with all tasks has any."""
    scores = overall_scores(found)
    shown = [system for system in found.systems if any(values_of(cells.get(system, []), one) for one in MEASURES)]
    panels = [one for one in MEASURES[:PLOTTED] if any(values_of(cells[system], one) for system in shown if system in scores)]
    if not panels:
        return None
    labels = short_names(shown, 28)
    figure = Figure(figsize=(max(2.4, 1.4 * len(panels) + 0.3), 2.5), layout="constrained")
    grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, measure in zip(grid, panels, strict=True):
        for number, system in enumerate(shown):
            values = values_of(cells[system], measure)
            if not values or system not in scores:
                continue
            look = {"color": SERIES[number % 8], "marker": MARKERS[(number + number // 8) % 8]}
            axes.plot([min(values), max(values)], [100 * scores[system]] * 2, color=look["color"], lw=1.2, alpha=0.6)
            axes.plot(np.mean(values), 100 * scores[system], ls="", ms=7, label=labels[system], **look)
        _scale(axes, [value for system in shown if system in scores for value in values_of(cells[system], measure)], measure)
    grid[0].set_ylabel("mean score, points")
    handles = {text: line for axes in grid for line, text in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower left", ncols=2)
    svg, png = render(figure)
    alt = f"Mean score against {', '.join(one.what for one in panels)}, one point a system; the table below has the numbers."
    lacking = [system for system in shown if system not in scores]
    caption = (
        "Mean score: mean over kinds of task of the mean over tasks, which describes and tests nothing. Points are means over "
        "runs, lines from the least to the most expensive run. Times depend on the machine, which is named below."
        + (f" Without all tasks, so without a point: {', '.join(map(name, lacking))}." if lacking else "")
    )
    return Plot(stem, "Cost against score", alt, caption, svg, png, *_table(found, cells, shown, scores))


def _scale(axes, values: list[float], measure: Measure) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    positive = [value for value in values if value > 0]
    if positive and max(positive) > 5 * min(positive):
        if len(positive) < len(values):
            axes.set_xscale("symlog", linthresh=min(positive))  # a baseline trains nothing: 0 has its place at the left
        else:
            axes.set_xscale("log")
    axes.minorticks_off()
    axes.margins(x=0.15, y=0.15)
    low, high = axes.get_xlim()
    ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
    ticks = ticks[:: -(-len(ticks) // 2) or 1]
    brief = brief_duration if measure.text(60.0) == duration(60.0) else measure.text
    axes.set_xticks(ticks, [brief(tick) if tick else "0" for tick in ticks])
    axes.set_xlim(low, high)
    axes.set_title(fill(measure.what, 14), fontsize=9)
    axes.grid(color=COLOURS["line"])


def _table(
    found: Comparison, cells: Cells, shown: Sequence[str], scores: Mapping[str, float]
) -> tuple[list[str], list[list[str]]]:
    used = [one for one in MEASURES if any(values_of(cells[system], one) for system in shown)]
    rows = []
    for system in shown:
        row = [name(system), str(found.systems[system]), f"{100 * scores[system]:.2f}" if system in scores else "–"]
        for measure in used:
            values = values_of(cells[system], measure)
            ends = f" ({measure.text(min(values))} to {measure.text(max(values))})" if len(set(values)) > 1 else ""
            row.append(f"{measure.text(float(np.mean(values)))}{ends}" if values else "–")
        rows.append([*row, "; ".join(dict.fromkeys(name(cell.device) for cell in cells[system] if cell.device)) or "–"])
    return ["system", "runs", "mean score", *(one.what for one in used), "on"], rows
