"""The first picture of a report: all systems against all kinds of tasks, with what is decided and what is not.

Against a baseline it shows differences with intervals that hold for all comparisons of a kind together. Where all pairs are
compared it shows the ranks that the data allow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from comparison.claims.outcome import ALPHA, Category, Comparison, Contrast
from comparison.claims.overall import Overall
from comparison.claims.ranks import Ranks
from comparison.report.plots.drawing import COLOURS, Plot, Series, render, series_of
from comparison.report.words.first import shown_overall
from comparison.report.words.kinds import kinds_in_mean, kinds_left_out
from comparison.report.words.marks import fragile, solid
from comparison.report.words.names import name, short_names, shorten
from comparison.report.words.wording import DASH, margin_text, points, span, when
from comparison.stats.effects import Interval

ALL = "All kinds"
ROW, PANEL, LABELS = 0.24, 1.15, 2.8  # inches
MOST = 30  # systems; more are too small to read at a glance
SHOWN, OPEN, UNDECIDED = "shown", "not separated", "cannot be decided"
SCORED, EQUAL, OPPOSED = "only in what was scored", "equivalent", "kinds contradict each other"


@dataclass(frozen=True)
class Cell:
    """One system in one panel.

    Attributes:
        value: where its point is: a difference in points, or a rank.
        low: end of its line; None for none.
        high: the other end.
        state: `SHOWN`, `OPEN` or `UNDECIDED`.
        text: the number in the table.
        said: what a hollow point stands for where that is not "not separated".
        has_point: False where only the line is drawn.
    """

    value: float
    low: float | None
    high: float | None
    state: str
    text: str
    said: str = ""
    has_point: bool = True


Panel = dict[str, Cell]  # by system


def draw_overview(comparison: Comparison, stem: str) -> Plot | None:
    """Draw the overview; None for too many systems, or where nothing was compared."""
    panels = _panels(comparison)
    systems = _ordered(comparison, panels)
    if not systems or len(systems) > MOST:
        return None
    labels = short_names(systems, 42)
    figure = Figure(figsize=(LABELS + PANEL * len(panels), ROW * len(systems) + 0.9))
    looks = series_of(comparison.systems)
    width = PANEL / (LABELS + PANEL * len(panels))
    for number, (title, panel) in enumerate(panels.items()):
        axes = figure.add_axes((1 - width * (len(panels) - number), 0.0, 0.9 * width, 1.0))
        _draw_panel(axes, systems, panel, looks, comparison)
        axes.set_title(shorten(title, 15), fontsize=8.5, loc="left")
        axes.set_yticks(range(len(systems)), [labels[system] for system in systems] if number == 0 else [""] * len(systems))
        if number == 0:
            for tick, system in zip(axes.get_yticklabels(), systems, strict=True):
                tick.set_color(looks[system].colour)
    svg, png = render(figure)
    head = ["system", *map(name, panels)]
    rows = []
    for system in systems:
        rows.append([name(system), *(panel[system].text if system in panel else DASH for panel in panels.values())])
    return Plot(stem, "At a glance", _alt(comparison, panels), _caption(comparison, panels), svg, png, head, rows)


def _panels(comparison: Comparison) -> dict[str, Panel]:
    """Return what each panel shows."""
    panels: dict[str, Panel] = {}
    if comparison.baseline is None:
        for category in comparison.categories:
            if category.rank_intervals:
                panels[category.name] = _ranks(category, category.rank_intervals)
        return panels
    if comparison.overall:
        panels[ALL] = {}
        for entry in comparison.overall:
            state = SHOWN if shown_overall(entry) else OPEN
            said = _said_overall(entry)
            panels[ALL][entry.a] = _difference(entry.mean, entry.simultaneous or entry.interval, state, said)
    for category in comparison.categories:
        panel: Panel = {}
        for contrast in category.contrasts:
            state, interval = OPEN, contrast.simultaneous
            if solid(contrast):
                state = SHOWN
            elif not contrast.other_tasks.decidable:
                state, interval = UNDECIDED, None
            panel[contrast.a] = _difference(contrast.by_family.mean, interval, state, _said(contrast))
        panels[category.name] = panel
    return panels


def _said(contrast: Contrast) -> str:
    """Return what is known of a comparison that is neither shown nor just not separated; empty otherwise."""
    if fragile(contrast):
        return SCORED
    if contrast.other_tasks.decidable and contrast.equivalent and not contrast.starred:
        return EQUAL
    return ""


def _said_overall(entry: Overall) -> str:
    """Return what is known of a comparison over all kinds that is neither shown nor just not separated; empty otherwise."""
    if entry.opposed:
        return OPPOSED
    p = entry.p if entry.p_run is None else entry.p_run
    if p <= ALPHA and not entry.carried:
        return SCORED
    return ""


def _difference(mean: float, interval: Interval | None, state: str, said: str) -> Cell:
    low = high = None
    if interval is not None:
        low, high = 100 * interval.low, 100 * interval.high
    text = points(mean)
    if interval is not None:
        text += f" {span(interval)}"
    return Cell(100 * mean, low, high, state, f"{text}, {said or state}", said)


def _ranks(category: Category, ranks: Ranks) -> Panel:
    """Return ranks by mean score, with the ranks that the data allow; a system that lacks tasks has no mean, and no point."""
    panel: Panel = {}
    means = {system: mean for system, mean in category.means.items() if mean is not None and system in ranks}
    places = {system: place for place, system in enumerate(sorted(means, key=lambda system: -means[system]), 1)}
    for system, (low, high) in ranks.items():
        state = SHOWN if low == high else OPEN
        if (low, high) == (1, len(ranks)):
            state = UNDECIDED
        place = places.get(system)
        if place is None:
            panel[system] = Cell((low + high) / 2, low, high, state, f"{DASH} [{low}, {high}]", has_point=False)
        else:
            panel[system] = Cell(min(max(place, low), high), low, high, state, f"{place} [{low}, {high}]")
    return panel


def _ordered(comparison: Comparison, panels: dict[str, Panel]) -> list[str]:
    """Return systems, the best first: by the panel of all kinds where there is one, else by the mean of all panels."""
    sign = 1.0 if comparison.baseline is None else -1.0  # the smallest rank is the best, and the largest difference
    order: dict[str, tuple[bool, float]] = {}
    for system in comparison.systems:
        values = [panel[system].value for panel in panels.values() if system in panel]
        overall = panels.get(ALL, {}).get(system)
        if overall is not None:
            values = [overall.value]
        if values:
            order[system] = (overall is None, sign * float(np.mean(values)))
    return sorted(order, key=order.__getitem__)


def _draw_panel(axes: Axes, systems: Sequence[str], panel: Panel, looks: dict[str, Series], comparison: Comparison) -> None:
    if comparison.baseline is not None:
        margin = 100 * comparison.margin
        axes.axvspan(-margin, margin, color=COLOURS["band"], lw=0, zorder=0)
        axes.axvline(0, color=COLOURS["muted"], lw=1, zorder=1)
    for row, system in enumerate(systems):
        if system not in panel:
            continue
        cell, colour = panel[system], looks[system].colour
        if cell.low is not None and cell.high is not None:
            weight = 2.2 if cell.state == SHOWN else 1.0
            axes.plot([cell.low, cell.high], [row, row], "-", color=colour, lw=weight, zorder=3)
        face = colour if cell.state == SHOWN else COLOURS["paper"]
        edge = COLOURS["muted"] if cell.state == UNDECIDED else colour
        size = 3.5 if cell.state == UNDECIDED else 5.5
        if cell.has_point:
            axes.plot(cell.value, row, "o", mfc=face, mec=edge, ms=size, zorder=4)
    axes.set_ylim(len(systems) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0, labelsize=8.5)
    axes.tick_params(axis="x", labelsize=7.5)
    axes.locator_params(axis="x", nbins=3, integer=comparison.baseline is None)
    axes.grid(axis="x")
    axes.spines["left"].set_visible(False)


def _caption(comparison: Comparison, panels: dict[str, Panel]) -> str:
    if comparison.baseline is None:
        return (
            "Ranks, 1 the best: the line has the ranks that the data allow on other tasks of the kind, for all systems "
            "together (95 %); the point is the rank of the mean score, or the nearest that they allow. A system without tasks "
            "that others have has no point. Filled: one rank is left. Small and grey: any rank is possible."
        )
    kinds = when(ALL in panels and kinds_left_out(comparison), f" {ALL}: the mean of {kinds_in_mean(comparison)}.")
    said: dict[str, None] = {}
    for panel in panels.values():
        said |= dict.fromkeys(cell.said for cell in panel.values() if cell.said)
    others = when(said, f", or, where the numbers say so, {' or '.join(said)}")
    return (
        f"Differences from {name(comparison.baseline)} in points, with intervals for all comparisons of a kind together "
        "(95 %). Filled, with a thick line: shown to differ on other tasks. Hollow: not separated, which is not the "
        f"same as equal{others}. Small and grey, without a line: cannot be decided. The band is within "
        f"{margin_text(comparison.margin)}.{kinds}"
    )


def _alt(comparison: Comparison, panels: dict[str, Panel]) -> str:
    parts = []
    for title, panel in panels.items():
        shown = sum(cell.state == SHOWN for cell in panel.values())
        parts.append(f"{name(title)} {shown} of {len(panel)}")
    what = "ranks"
    if comparison.baseline is not None:
        what = f"differences from {name(comparison.baseline)}"
    return f"Points with intervals: {what} of all systems by kind of task. Decided: {'; '.join(parts)}. All numbers are below."
