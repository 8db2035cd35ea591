"""Lines of several systems side by side, with bands for intervals: what a study measured beside scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import cycle
from textwrap import fill

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from comparison.findings import Curve, Finding, Panel
from comparison.report.plots.drawing import COLOURS, DASHES, Plot, Series, render
from comparison.report.words.names import listed, name, short_names

Dash = str | tuple[float, Sequence[float]]
MOST_IN_ROW = 3  # panels
LETTERS = 36  # of a line of a panel's title
MOST_TOGETHER = 16  # lines in a panel, before each kind of them gets a panel of its own
CLEAR_BANDS = 6  # more of them in a panel are paler, so that lines can be seen through all
UNTRAINED = ", untrained"  # behind the name of a system whose weights are those before training


def draw_finding(finding: Finding, stem: str, series: Mapping[str, Series]) -> Plot | None:
    """Draw a finding; None where it has no lines.

    Args:
        finding: what was measured.
        stem: of the files.
        series: the look of each system; one that is not there looks like the others after them.
    """
    panels = [panel for panel in finding.panels if panel.curves]
    if not panels:
        return None
    svg, png = draw_panels(panels, series)
    titles = [panel.title or panel.y_name for panel in panels]
    alt = f"{finding.title}: {listed(list(map(name, titles)))} of {listed(list(map(name, systems_of(panels))))}."
    return Plot(stem, finding.title, alt, finding.caption, svg, png, finding.head, finding.rows)


def draw_panels(panels: Sequence[Panel], series: Mapping[str, Series]) -> tuple[str, bytes]:
    """Draw panels of lines, a colour a system; returns SVG and PNG."""
    panels = parted(panels)
    systems = systems_of(panels)
    looks = looks_of(systems, series)
    rows = -(-len(panels) // MOST_IN_ROW)
    columns = -(-len(panels) // rows)
    names = line_names(panels)
    handles = legend(systems, looks, names)
    below = -(-len(handles) // (columns + 1))  # lines of the legend, which takes no room from the panels
    figure = Figure(figsize=(3.4 * columns + 0.4, 2.6 * rows + 0.2 * below), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    for axes, panel in zip(grid, panels, strict=False):
        alpha = 0.15 * min(1.0, CLEAR_BANDS / max(1, len(panel.curves)))
        for curve in panel.curves:
            draw_curve(axes, curve, looks[curve.system], DASHES[names.index(line_name(curve)) % len(DASHES)], alpha)
        finish(axes, panel)
    figure.legend(handles=handles, loc="outside lower left", ncols=columns + 1)
    return render(figure)


def parted(panels: Sequence[Panel]) -> list[Panel]:
    """Return the panels; one with too many lines, or all where dashes are too few, as a panel for each name of lines."""
    few = len(line_names(panels)) > len(DASHES)
    parts = []
    for panel in panels:
        names = list(dict.fromkeys(curve.name for curve in panel.curves))
        if len(names) == 1 or (len(panel.curves) <= MOST_TOGETHER and not few):
            parts.append(panel)
            continue
        for of_lines in names:
            curves = [replace(curve, name="") for curve in panel.curves if curve.name == of_lines]
            parts.append(replace(panel, title=": ".join(filter(None, (panel.title, of_lines))), curves=curves))
    return parts


def systems_of(panels: Sequence[Panel]) -> list[str]:
    """Return the systems that have lines, in order."""
    names = []
    for panel in panels:
        names += [curve.system for curve in panel.curves]
    return list(dict.fromkeys(names))


def looks_of(systems: Sequence[str], series: Mapping[str, Series]) -> dict[str, Series]:
    """Return a look for each system: its own, that of its trained brother, or the next that is free."""
    looks: dict[str, Series] = {}
    free = len(series)
    for system in systems:
        trained = system.removesuffix(UNTRAINED)
        if trained in series:
            looks[system] = series[trained]
        elif trained in looks:
            looks[system] = looks[trained]
        else:
            looks[system] = Series(free)
            free += 1
    return looks


def line_name(curve: Curve) -> str:
    """Return what a line is beside its system's: its name, and whether the system is untrained."""
    words = [curve.name] if curve.name else []
    if curve.system.endswith(UNTRAINED):
        words.append(UNTRAINED.removeprefix(", "))
    return ", ".join(words)


def line_names(panels: Sequence[Panel]) -> list[str]:
    """Return the names of lines, each once: lines of one name have one dash in all panels."""
    names: list[str] = []
    for panel in panels:
        names += map(line_name, panel.curves)
    return list(dict.fromkeys(names))


def draw_curve(axes: Axes, curve: Curve, look: Series, dash: Dash, alpha: float) -> None:
    """Draw a line, the band of its intervals, and a ring around the place that is marked."""
    values = [estimate[0] for estimate in curve.estimates]
    if curve.estimates and all(len(estimate) == 3 for estimate in curve.estimates):
        low, high = [estimate[1] for estimate in curve.estimates], [estimate[2] for estimate in curve.estimates]
        axes.fill_between(curve.x, low, high, color=look.colour, alpha=alpha, linewidth=0)
    axes.plot(curve.x, values, color=look.colour, marker=look.marker, markersize=3, linestyle=dash)
    if curve.marked is not None:
        place = curve.marked
        axes.plot(
            curve.x[place], values[place], color=look.colour, marker="o", markersize=10, fillstyle="none", linestyle="none"
        )


def finish(axes: Axes, panel: Panel) -> None:
    """Name the axes; a logarithmic one has the places of the curves as its marks."""
    if panel.title:
        axes.set_title(fill(name(panel.title), LETTERS))
    axes.set_xlabel(name(panel.x_name))
    axes.set_ylabel(name(panel.y_name))
    axes.grid(visible=True)
    if panel.logarithmic:
        axes.set_xscale("log", base=2)
        places = sorted({x for curve in panel.curves for x in curve.x})
        axes.set_xticks(places, [f"{place:g}" for place in places])
        axes.xaxis.set_minor_locator(NullLocator())
    if panel.ticks:
        labels = short_names(panel.ticks, 16)
        axes.set_xticks(range(len(panel.ticks)), [labels[tick] for tick in panel.ticks])
        axes.margins(x=0.1)


def legend(systems: Sequence[str], looks: Mapping[str, Series], lines: Sequence[str]) -> list[Line2D]:
    """Return an entry a colour, and an entry a dash where there are several."""
    trained = list(dict.fromkeys(system.removesuffix(UNTRAINED) for system in systems))
    labels = short_names(trained, 28)
    entries = []
    for system in trained:
        look = looks.get(system) or looks[system + UNTRAINED]
        entries.append(Line2D([], [], color=look.colour, marker=look.marker, markersize=4, label=labels[system]))
    if len(lines) > 1:
        for dash, line in zip(cycle(DASHES), lines, strict=False):
            entry = Line2D([], [], color=COLOURS["muted"], label=name(line or "trained"))
            entry.set_linestyle(dash)  # type: ignore[arg-type]
            entries.append(entry)
    return entries
