"""One plot a probe: a part for each panel, a colour for each model, a band for the interval."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from comparison.report.plots.drawing import DASHES, render, series_of
from study.probes.result import Curve, Panel, ProbeResult


def draw(results: Mapping[str, ProbeResult]) -> tuple[str, bytes]:
    """Draw a probe of several models; returns SVG and PNG."""
    looks = series_of(results)
    titles: dict[str, Panel] = {}
    for result in results.values():
        for panel in result.panels:
            titles.setdefault(panel.title, panel)
    figure = Figure(figsize=(4.2 * len(titles), 3.2), layout="constrained")
    parts = figure.subplots(1, len(titles), squeeze=False)[0]
    for axes, (title, first) in zip(parts, titles.items(), strict=True):
        for model, result in results.items():
            panels = [panel for panel in result.panels if panel.title == title]
            for panel in panels:
                draw_curves(axes, panel, model, looks[model].colour)
        finish(axes, first)
    handles, labels = parts[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower left", ncols=2)
    return render(figure)


def draw_curves(axes: Axes, panel: Panel, model: str, colour: str) -> None:
    """Draw a model's lines with their intervals."""
    for number, curve in enumerate(panel.curves):
        x, value, low, high = numbers_of(curve)
        label = f"{model}, {curve.name}" if curve.name else model
        axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(x, value, color=colour, marker="o", markersize=3, linestyle=DASHES[number % len(DASHES)], label=label)


def numbers_of(curve: Curve) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return places, values and both ends of the intervals that are finite."""
    rows = []
    for x, estimate in zip(curve.x, curve.estimates, strict=True):
        if math.isfinite(estimate.value):
            rows.append((x, estimate.value, estimate.low, estimate.high))
    table = np.array(rows, dtype=float).reshape(-1, 4)
    return table[:, 0], table[:, 1], table[:, 2], table[:, 3]


def finish(axes: Axes, panel: Panel) -> None:
    """Name the axes; a logarithmic one has the places of the curves as its marks."""
    axes.set_title(panel.title)
    axes.set_xlabel(panel.x_name)
    axes.set_ylabel(panel.y_name)
    axes.grid(visible=True)
    if panel.logarithmic:
        axes.set_xscale("log", base=2)
        places = sorted({x for curve in panel.curves for x in curve.x})
        axes.set_xticks(places, [f"{place:g}" for place in places])
        axes.xaxis.set_minor_locator(NullLocator())
