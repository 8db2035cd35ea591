"""The cost of a design beside its score: trainable parameters, training time, and texts read a second."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from comparison.claims.outcome import Comparison
from comparison.reading.study_data import CellData
from comparison.report.plots.drawing import COLOURS, MOST_SHOWN, Plot, Series, render, series_of
from comparison.report.words.names import name, short_names
from comparison.report.words.wording import DASH, hundredths, when


def quantity(value: float) -> str:
    """Return a number as people read it.

    >>> quantity(1_280_000_000), quantity(41_900_000), quantity(310)
    ('1.28 B', '41.9 M', '310')
    """
    for size, letter in ((1e9, " B"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def duration(seconds: float) -> str:
    """Return seconds as people read them.

    >>> duration(7_500), duration(190), duration(12)
    ('2 h 05 min', '3 min 10 s', '12 s')
    """
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    if whole >= 60:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{seconds:.3g} s"


def brief_duration(seconds: float) -> str:
    """Return seconds in one unit, for an axis."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.2g} {unit}"
    return f"{seconds:.2g} s"


def gibibytes(size: float) -> str:
    """Return bytes as GiB."""
    return f"{size / 2**30:.2f} GiB"


@dataclass(frozen=True)
class CostMeasure:
    """A cost: its title, its value for a cell, and how it is written in the table and at the axis."""

    title: str
    value: Callable[[CellData], float | None]
    text: Callable[[float], str]
    brief: Callable[[float], str]


MEASURES = (
    CostMeasure("trainable parameters", lambda cell: cell.trainable_parameters, quantity, quantity),
    CostMeasure("training time", lambda cell: cell.training_seconds, duration, brief_duration),
    CostMeasure("texts read a second", lambda cell: cell.evaluation_texts_per_second, quantity, quantity),
    CostMeasure("tokens read a second", lambda cell: cell.evaluation_tokens_per_second, quantity, quantity),
    CostMeasure("peak memory of training", lambda cell: cell.peak_memory_bytes, gibibytes, gibibytes),
)
PLOTTED = 3  # of the measures, the first


@dataclass(frozen=True)
class SystemCost:
    """A system with its label, its score and its runs' costs by measure.

    Attributes:
        system: its name.
        label: for the legend.
        series: its colour and marker.
        runs: how many were compared.
        score: mean over kinds of task of its mean score; None where it lacks tasks.
        costs: by the measure's title; a run without it is left out.
        devices: on which it ran.
    """

    system: str
    label: str
    series: Series
    runs: int
    score: float | None
    costs: dict[str, list[float]]
    devices: list[str]


def overall_scores(comparison: Comparison) -> dict[str, float]:
    """Return the mean over kinds of task of each system's mean score; only of systems that have all tasks."""
    scores: dict[str, float] = {}
    for system in comparison.systems:
        means = []
        for category in comparison.categories:
            mean = category.means.get(system)
            if mean is not None:
                means.append(mean)
        if means and len(means) == len(comparison.categories):
            scores[system] = float(np.mean(means))
    return scores


def values_of(cells: Sequence[CellData], measure: CostMeasure) -> list[float]:
    """Return a measure of each cell that has it, and that an axis can show."""
    values = []
    for cell in cells:
        value = measure.value(cell)
        if value is not None and value <= MOST_SHOWN:
            values.append(float(value))
    return values


def _is_beyond(cell: CellData) -> bool:
    """Return whether a cell has a cost that no axis can show."""
    values = [measure.value(cell) for measure in MEASURES]
    return any(value is not None and value > MOST_SHOWN for value in values)


def draw_cost(comparison: Comparison, cells: Mapping[str, Sequence[CellData]], stem: str) -> Plot | None:
    """Draw scores against each cost; None where no system with all tasks has any."""
    systems = _systems(comparison, cells)
    scored = [entry for entry in systems if entry.score is not None]
    panels = _known(MEASURES[:PLOTTED], scored)
    if not panels:
        return None
    below = -(-len(scored) // 2)  # lines of the legend, which takes no room from the panels
    figure = Figure(figsize=(max(2.4, 1.4 * len(panels) + 0.3), 1.9 + 0.2 * below), layout="constrained")
    grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    handles: dict[str, Artist] = {}
    for axes, measure in zip(grid, panels, strict=True):
        _draw_panel(axes, scored, measure)
        lines, labels = axes.get_legend_handles_labels()
        handles |= dict(zip(labels, lines, strict=True))
    grid[0].set_ylabel("mean score, points")
    figure.legend(list(handles.values()), list(handles), loc="outside lower left", ncols=2)
    svg, png = render(figure)
    titles = ", ".join(measure.title for measure in panels)
    alt = f"Mean score against {titles}, one point a system; the table below has the numbers."
    lacking = ", ".join(name(entry.system) for entry in systems if entry.score is None)
    caption = (
        "The mean score is the mean over kinds of task of the means over tasks; it describes and tests nothing. Points are "
        "means over runs, lines go from the least to the most expensive run. Times depend on the machine"
    )
    named = any(cell.device for of_system in cells.values() for cell in of_system)
    caption += ", which the numbers name." if named else ", which is not known."
    caption += when(lacking, f" Without all tasks, so without a point: {lacking}.")
    too_large = [cell.name for of_system in cells.values() for cell in of_system if _is_beyond(cell)]
    caption += when(too_large, f" Costs beyond {MOST_SHOWN:g} are left out: {', '.join(map(name, too_large))}.")
    return Plot(stem, "Cost against score", alt, caption, svg, png, *_table(systems))


def _systems(comparison: Comparison, cells: Mapping[str, Sequence[CellData]]) -> list[SystemCost]:
    """Return the systems of which a cost is known."""
    scores = overall_scores(comparison)
    costs: dict[str, dict[str, list[float]]] = {}
    for system in comparison.systems:
        of_system = {measure.title: values_of(cells.get(system, []), measure) for measure in MEASURES}
        if any(of_system.values()):
            costs[system] = of_system
    labels = short_names(list(costs), 28)
    looks = series_of(comparison.systems)
    systems = []
    for system, of_system in costs.items():
        devices = list(dict.fromkeys(name(cell.device) for cell in cells[system] if cell.device))
        runs, score = comparison.systems[system], scores.get(system)
        systems.append(SystemCost(system, labels[system], looks[system], runs, score, of_system, devices))
    return systems


def _known(measures: Sequence[CostMeasure], systems: Sequence[SystemCost]) -> list[CostMeasure]:
    """Return the measures that any of some systems has."""
    known = []
    for measure in measures:
        if any(entry.costs[measure.title] for entry in systems):
            known.append(measure)
    return known


def _draw_panel(axes: Axes, systems: Sequence[SystemCost], measure: CostMeasure) -> None:
    """Draw each system's mean cost and its runs' range against its score."""
    every: list[float] = []
    for entry in systems:
        values = entry.costs[measure.title]
        if not values or entry.score is None:
            continue
        every += values
        score = 100 * entry.score
        colour, marker = entry.series.colour, entry.series.marker
        axes.plot([min(values), max(values)], [score, score], color=colour, lw=1.2, alpha=0.6)
        axes.plot(np.mean(values), score, ls="", ms=7, label=entry.label, color=colour, marker=marker)
    _scale(axes, every, measure)


def _scale(axes: Axes, values: Sequence[float], measure: CostMeasure) -> None:
    """Choose a linear or logarithmic axis and its ticks."""
    positive = [value for value in values if value > 0]
    if positive and max(positive) > 5 * min(positive):
        if len(positive) < len(values):
            axes.set_xscale("symlog", linthresh=min(positive))  # a baseline trains nothing: 0 has its place at the left
        else:
            axes.set_xscale("log")
    axes.minorticks_off()
    axes.margins(x=0.15, y=0.15)
    low, high = axes.get_xlim()
    inside = [tick for tick in axes.get_xticks() if low <= tick <= high]
    ticks = inside[:: -(-len(inside) // 2) or 1]
    labels = []
    for tick in ticks:
        labels.append(measure.brief(tick))
        if not tick:
            labels[-1] = "0"
    axes.set_xticks(ticks, labels)
    axes.set_xlim(low, high)
    axes.set_title(fill(measure.title, 14), fontsize=9)
    axes.grid(color=COLOURS["line"])


def _table(systems: Sequence[SystemCost]) -> tuple[list[str], list[list[str]]]:
    """Return the table of all costs that any system has."""
    measures = _known(MEASURES, systems)
    titles = [measure.title for measure in measures]
    rows = []
    for entry in systems:
        costs = [_range(entry.costs[measure.title], measure) for measure in measures]
        devices = "; ".join(entry.devices) or DASH
        rows.append([name(entry.system), str(entry.runs), hundredths(entry.score), *costs, devices])
    return ["system", "runs", "mean score", *titles, "on"], rows


def _range(values: Sequence[float], measure: CostMeasure) -> str:
    """Return the mean over runs, and from the least to the most expensive run where they differ."""
    if not values:
        return DASH
    mean = measure.text(float(np.mean(values)))
    if len(set(values)) == 1:
        return mean
    return f"{mean} ({measure.text(min(values))} to {measure.text(max(values))})"
