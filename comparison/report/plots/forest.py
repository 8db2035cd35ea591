"""Forest plots: each comparison's difference with the intervals of the three claims, which are never one line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from comparison.claims.outcome import Category, Comparison, Contrast
from comparison.report.plots.drawing import COLOURS, Plot, render
from comparison.report.tables.columns import COLUMNS, PAGE, heads, pairs_of, texts
from comparison.report.words.marks import any_decidable, mark_text, number_of
from comparison.report.words.names import name, short_names
from comparison.report.words.wording import (
    another_run_interval,
    count,
    families,
    margin_text,
    other_tasks_interval,
    points,
    when,
)
from comparison.stats.effects import Interval

THESE, OTHER, RUN = "these tasks", "other tasks of this kind", "another training run"
Dash = Literal[":", "-", "--"]
WIDTH = 260  # points; a phone shows it in its full width with letters of 11 pixels
MOST_IN_ALT = 12  # comparisons


@dataclass(frozen=True)
class ClaimStyle:
    """The drawing of a claim: shape and line tell it without colour."""

    colour: str
    marker: str
    dash: Dash
    label: str


STYLES = {
    THESE: ClaimStyle(COLOURS["s2"], "o", ":", THESE),
    OTHER: ClaimStyle(COLOURS["s0"], "s", "-", "other tasks"),
    RUN: ClaimStyle(COLOURS["s1"], "D", "--", "another run"),
}


@dataclass(frozen=True)
class ForestRow:
    """One comparison of a forest plot.

    Attributes:
        contrast: the comparison.
        label: its name, at the left.
        result: number and mark, at the right.
        claims: mean and interval of each claim that can be made at all.
    """

    contrast: Contrast
    label: str
    result: str
    claims: dict[str, tuple[float, Interval | None]]

    @property
    def second_line(self) -> bool:
        """Whether the result needs a line of its own, below the name."""
        return needs_two_lines(self.label, self.result)

    @property
    def lines(self) -> int:
        """How many lines it takes."""
        return len(self.claims) + 1 + self.second_line


def claims_of(contrast: Contrast) -> dict[str, tuple[float, Interval | None]]:
    """Return mean and interval of each claim that can be made at all."""
    claims: dict[str, tuple[float, Interval | None]] = {}
    if contrast.these_tasks:
        claims[THESE] = (contrast.these_tasks.mean, contrast.these_tasks.simultaneous or contrast.these_tasks.interval)
    if contrast.other_tasks.decidable:
        claims[OTHER] = (contrast.by_family.mean, other_tasks_interval(contrast))
        if contrast.another_run.interval:
            claims[RUN] = (contrast.by_family.mean, another_run_interval(contrast))
    return claims


def draw_forest(category: Category, comparison: Comparison, stem: str) -> Plot:
    """Draw a category's comparisons, one below the other in the order of the table, names above their lines."""
    rows = _rows(category, comparison.baseline)
    lines = sum(row.lines for row in rows)
    figure = Figure(figsize=(WIDTH / 72, 0.6 + 0.16 * lines + 0.24 * len(rows)))
    axes = figure.add_axes((0, 0, 1, 1))
    margin, (low, high) = 100 * comparison.margin, _limits(rows, comparison.margin)
    axes.axvspan(-margin, margin, color=COLOURS["band"], lw=0, zorder=0)
    axes.axvline(0, color=COLOURS["muted"], lw=1, zorder=1)
    top = 0.0
    for row in rows:
        below = top + row.second_line
        _write(axes, row.label, (0, top), side="left", weight="bold")
        _write(axes, row.result, (1, below), side="right", weight="normal")
        _draw_claims(axes, row, below + 1.1)
        _draw_tasks(axes, row.contrast, below + 1.1 + len(row.claims), (low, high))
        top += row.lines + 1.5
    axes.set_yticks([])
    axes.set_ylim(top - 0.6, -0.7)
    axes.set_xlim(low, high)
    axes.grid(axis="x")
    axes.spines["left"].set_visible(False)
    against = "the second"
    if comparison.baseline is not None:
        (against,) = short_names([comparison.baseline], 26).values()
    axes.set_xlabel(f"difference in points\nright of 0: better than {against}")
    _legend(axes, rows, comparison.margin)
    svg, png = render(figure)
    head, data = heads(COLUMNS, PAGE), texts(COLUMNS, pairs_of(category, comparison), PAGE)
    return Plot(stem, name(category.name), _alt(category, comparison), related(category), svg, png, head, data)


def _rows(category: Category, baseline: str | None) -> list[ForestRow]:
    systems: list[str] = []
    for contrast in category.contrasts:
        systems += (contrast.a, contrast.b)
    rows = []
    length = 22
    if baseline is not None:
        length = 30  # a line has one name only
    short = short_names(systems, length)
    for contrast in category.contrasts:
        label = short[contrast.a]
        if baseline is None:
            label = f"{label} − {short[contrast.b]}"
        rows.append(ForestRow(contrast, label, _result(contrast), claims_of(contrast)))
    return rows


def _result(contrast: Contrast) -> str:
    """Return number and mark, and why there is no star where none is possible."""
    result = f"{points(number_of(contrast))} {mark_text(contrast)}".rstrip()
    if contrast.other_tasks.decidable:
        return result
    undecidable = f"not decidable, {families(contrast.other_tasks.families)}"
    if contrast.other_tasks.unknown:
        undecidable = "not decidable, relations unknown"
    if contrast.mark:
        return f"{result}; {undecidable}"
    return f"{result}: {undecidable}"


def needs_two_lines(label: str, result: str) -> bool:
    """Return whether a name and its result are too long for one line; letters are 5.8 and 5 points wide at most."""
    return 5.8 * len(label) + 5 * len(result) > WIDTH


def related(category: Category) -> str:
    """Return how many tasks and families a category has, and which tasks count as one."""
    sizes = f"{count(len(category.tasks), 'task', 'tasks')} in {families(len(category.families))}."
    several = [" + ".join(map(name, family)) for family in category.families if len(family) > 1]
    if not several:
        return f"{sizes} None are known to be related."
    return f"{sizes} Related, so counted as one family each: {'; '.join(several)}."


def _write(axes: Axes, text: str, position: tuple[float, float], side: Literal["left", "right"], weight: str) -> None:
    """Write a text at one side of the plot, on paper so that lines below do not disturb it."""
    label = axes.text(*position, text, transform=axes.get_yaxis_transform(), va="center", weight=weight, fontsize=8.5)
    label.set_horizontalalignment(side)
    label.set_bbox({"facecolor": COLOURS["paper"], "alpha": 0.8, "lw": 0, "pad": 0.5})


def _draw_claims(axes: Axes, row: ForestRow, top: float) -> None:
    """Draw each claim's mean and interval, one below the other."""
    for number, (claim, (mean, interval)) in enumerate(row.claims.items()):
        style, y = STYLES[claim], top + number
        if interval:
            ends = [100 * interval.low, 100 * interval.high]
            axes.plot(ends, [y, y], style.dash, color=style.colour, lw=1.8, zorder=3)
            axes.plot(ends, [y, y], "|", color=style.colour, ms=6, mew=1.4, zorder=3)
        axes.plot(100 * mean, y, style.marker, color=style.colour, ms=5.5, zorder=4)


def _draw_tasks(axes: Axes, contrast: Contrast, y: float, limits: tuple[float, float]) -> None:
    """Draw the single tasks, and where one new task may fall; without a possible claim the mean over tasks, too."""
    new = contrast.other_tasks.new_task
    if contrast.other_tasks.decidable and new:
        ends = [max(100 * new.low, limits[0]), min(100 * new.high, limits[1])]
        axes.plot(ends, [y, y], "-", color=COLOURS["line"], lw=6, solid_capstyle="butt", zorder=1)
    tasks = [100 * value for value in contrast.differences.values()]
    axes.plot(tasks, [y] * len(tasks), "|", color=COLOURS["muted"], ms=7, mew=0.9, zorder=2)
    if not contrast.other_tasks.decidable:
        axes.plot(100 * contrast.by_task.mean, y, "s", mfc="none", mec=COLOURS["muted"], ms=5.5, zorder=4)


def _limits(rows: Sequence[ForestRow], margin: float) -> tuple[float, float]:
    """Return the ends of the axis in points: every task and every interval of a claim; those of new tasks may leave it."""
    values = [-margin, margin]
    for row in rows:
        values += row.contrast.differences.values()
        for _, interval in row.claims.values():
            if interval:
                values += (interval.low, interval.high)
    pad = 0.04 * (max(values) - min(values))
    return 100 * (min(values) - pad), 100 * (max(values) + pad)


def _legend(axes: Axes, rows: Sequence[ForestRow], margin: float) -> None:
    claims: set[str] = set()
    for row in rows:
        claims |= set(row.claims)
    handles: list[Line2D | Patch] = []
    for claim, style in STYLES.items():
        if claim in claims:
            line = Line2D([], [], color=style.colour, marker=style.marker, ls=style.dash, ms=5, lw=1.8, label=style.label)
            handles.append(line)
    if not all(row.contrast.other_tasks.decidable for row in rows):
        muted = COLOURS["muted"]
        handles.append(Line2D([], [], marker="s", mfc="none", mec=muted, ls="", ms=5.5, label="mean, no claim"))
    handles.append(Line2D([], [], color=COLOURS["muted"], marker="|", ls="", ms=7, label="single tasks"))
    if OTHER in claims:
        handles.append(Line2D([], [], color=COLOURS["line"], lw=6, label="one new task"))
    handles.append(Patch(color=COLOURS["band"], label=f"within {margin_text(margin)}"))
    axes.legend(handles=handles, loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=2, columnspacing=1.4, borderpad=0.2)


def _alt(category: Category, comparison: Comparison) -> str:
    against = ""
    if comparison.baseline is not None:
        against = f" from {name(comparison.baseline)}"
    parts = []
    for contrast in category.contrasts[:MOST_IN_ALT]:
        pair = name(contrast.a)
        if comparison.baseline is None:
            pair += f" − {name(contrast.b)}"
        parts.append(f"{pair} {points(number_of(contrast))} {mark_text(contrast)}".rstrip())
    left_out = len(category.contrasts) - MOST_IN_ALT
    more = when(left_out > 0, f"; and {left_out} more")
    kind = name(category.name)
    return f"Forest plot of differences{against} in {kind}, in points: {'; '.join(parts)}{more}. All numbers are below."


def how_to_read(comparison: Comparison) -> str:
    """Return what shapes and lines are, once for all plots."""
    decidable = any(any_decidable(category.contrasts) for category in comparison.categories)
    grey = when(decidable, " The grey bar is where one new task may fall; it may leave the plot.")
    return (
        "Each shape is the mean of one claim, and its line the interval that holds for all comparisons of the kind together, "
        "95 %: zero lies inside it exactly where that claim is not shown, and at its end where the sign is shown but not the "
        "size. A claim that cannot be decided has neither. Small ticks are single tasks."
        f"{grey} The shaded band is the margin within which differences count as none."
    )
