"""Forest plots: each comparison's difference with the intervals of the three claims, which are never one line."""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from comparison.claims.outcome import Category, Comparison, Contrast
from comparison.report.plots.drawing import COLOURS, Plot, render
from comparison.report.words.marks import mark_text, number_of
from comparison.report.words.names import name, short_names
from comparison.report.words.wording import chance, count, points, span
from comparison.stats.effects import Interval

THESE, OTHER, RUN = "these tasks", "other tasks of this kind", "another training run"
SHORT = {THESE: THESE, OTHER: "other tasks", RUN: "another run"}
WIDTH = 260  # points; a phone shows it in its full width with letters of 11 pixels
HEAD = ["a - b", "tasks / families", "mean over tasks", THESE, OTHER, "p", RUN, "p", "one new task", "mark"]


@dataclass(frozen=True)
class Look:
    """How a claim is drawn: shape and line tell it without colour."""

    colour: str
    marker: str
    dash: str


LOOKS = {
    THESE: Look(COLOURS["s2"], "o", ":"),
    OTHER: Look(COLOURS["s0"], "s", "-"),
    RUN: Look(COLOURS["s1"], "D", "--"),
}


def claims_of(one: Contrast) -> dict[str, tuple[float, Interval | None]]:
    """Return mean and interval of each claim that can be made at all."""
    found: dict[str, tuple[float, Interval | None]] = {}
    if one.these_tasks:
        found[THESE] = (one.these_tasks.mean, one.these_tasks.interval)
    if one.other_tasks.decidable:
        found[OTHER] = (one.by_family.mean, one.by_family.interval)
        if one.another_run.interval:
            found[RUN] = (one.by_family.mean, one.another_run.interval)
    return found


def draw_forest(category: Category, found: Comparison, stem: str) -> Plot:
    """Draw a category's comparisons, one below the other in the order of the table, names above their lines."""
    contrasts = category.contrasts
    labels = _labels(contrasts, found.baseline)
    two = [_needs_two_lines(labels[one.a, one.b], _said(one)) for one in contrasts]
    rows = [len(claims_of(one)) + 1 + lines for one, lines in zip(contrasts, two, strict=True)]
    figure = Figure(figsize=(WIDTH / 72, 0.6 + 0.16 * sum(rows) + 0.24 * len(rows)))
    axes = figure.add_axes((0, 0, 1, 1))
    margin, low, high = 100 * found.margin, *_limits(contrasts, found.margin)
    axes.axvspan(-margin, margin, color=COLOURS["band"], lw=0, zorder=0)
    axes.axvline(0, color=COLOURS["muted"], lw=1, zorder=1)
    top = 0.0
    for one, lines, below in zip(contrasts, rows, two, strict=True):
        name_of, said = (0, top, labels[one.a, one.b], "left", "bold"), (1, top + below, _said(one), "right", "normal")
        for x, y, text, side, weight in (name_of, said):
            axes.text(x, y, text, transform=axes.get_yaxis_transform(), ha=side, va="center", weight=weight, fontsize=8.5,
                      bbox={"facecolor": COLOURS["paper"], "alpha": 0.8, "lw": 0, "pad": 0.5})  # fmt: skip
        _draw_one(axes, one, top + below + 1.1, (low, high))
        top += lines + 1.5
    axes.set_yticks([])
    axes.set_ylim(top - 0.6, -0.7)
    axes.set_xlim(low, high)
    axes.grid(axis="x")
    axes.spines["left"].set_visible(False)
    against = short_names([found.baseline], 26)[found.baseline] if found.baseline is not None else "the second"
    axes.set_xlabel(f"difference in points\nright of 0: better than {against}")
    used = {claim for one in contrasts for claim in claims_of(one)}
    blind = any(not one.other_tasks.decidable for one in contrasts)
    _legend(axes, used, found.margin, blind)
    svg, png = render(figure)
    caption = related(category)
    return Plot(stem, name(category.name), _alt(category, found), caption, svg, png, HEAD, data_rows(category))


def related(category: Category) -> str:
    """Return how many tasks and families a category has, and which tasks count as one."""
    sizes = f"{count(len(category.tasks), 'task', 'tasks')} in {count(len(category.families), 'family', 'families')}."
    several = "; ".join(" + ".join(map(name, family)) for family in category.families if len(family) > 1)
    return (
        f"{sizes} Related, so counted as one family each: {several}." if several else f"{sizes} None are known to be related."
    )


def _draw_one(axes: Axes, one: Contrast, top: float, limits: tuple[float, float]) -> None:
    for number, (claim, (mean, interval)) in enumerate(claims_of(one).items()):
        look, at = LOOKS[claim], top + number
        if interval:
            ends = [100 * interval.low, 100 * interval.high]
            axes.plot(ends, [at, at], look.dash, color=look.colour, lw=1.8, zorder=3)
            axes.plot(ends, [at, at], "|", color=look.colour, ms=6, mew=1.4, zorder=3)
        axes.plot(100 * mean, at, look.marker, color=look.colour, ms=5.5, zorder=4)
    last = top + len(claims_of(one))
    if one.other_tasks.decidable and one.other_tasks.new_task:
        new = one.other_tasks.new_task
        ends = [max(100 * new.low, limits[0]), min(100 * new.high, limits[1])]
        axes.plot(ends, [last, last], "-", color=COLOURS["line"], lw=6, solid_capstyle="butt", zorder=1)
    tasks = [100 * value for value in one.differences.values()]
    axes.plot(tasks, [last] * len(tasks), "|", color=COLOURS["muted"], ms=7, mew=0.9, zorder=2)
    if not one.other_tasks.decidable:
        axes.plot(100 * one.by_task.mean, last, "s", mfc="none", mec=COLOURS["muted"], ms=5.5, zorder=4)


def _needs_two_lines(label: str, said: str) -> bool:
    """Return whether a name and what is said of it are too long for one line; letters are 5.8 and 5 points wide at most."""
    return 5.8 * len(label) + 5 * len(said) > WIDTH


def _said(one: Contrast) -> str:
    said = f"{points(number_of(one))} {mark_text(one)}".rstrip()
    if one.other_tasks.decidable:
        return said
    return f"{said}{';' if one.mark else ':'} not decidable, {count(one.other_tasks.families, 'family', 'families')}"


def _limits(contrasts: list[Contrast], margin: float) -> tuple[float, float]:
    """Return the ends of the axis in points: every task and every interval of a claim; those of new tasks may leave it."""
    values = [-margin, margin]
    for one in contrasts:
        values += one.differences.values()
        for _, interval in claims_of(one).values():
            values += [interval.low, interval.high] if interval else []
    pad = 0.04 * (max(values) - min(values))
    return 100 * (min(values) - pad), 100 * (max(values) + pad)


def _labels(contrasts: list[Contrast], baseline: str | None) -> dict[tuple[str, str], str]:
    short = short_names([system for one in contrasts for system in (one.a, one.b)], 30 if baseline is not None else 22)
    return {(one.a, one.b): short[one.a] if baseline is not None else f"{short[one.a]} − {short[one.b]}" for one in contrasts}


def _legend(axes: Axes, claims: set[str], margin: float, blind: bool) -> None:
    handles: list[Line2D | Patch] = [
        Line2D([], [], color=look.colour, marker=look.marker, ls=look.dash, ms=5, lw=1.8, label=SHORT[claim])
        for claim, look in LOOKS.items()
        if claim in claims
    ]
    if blind:
        handles.append(Line2D([], [], marker="s", mfc="none", mec=COLOURS["muted"], ls="", ms=5.5, label="mean, no claim"))
    handles.append(Line2D([], [], color=COLOURS["muted"], marker="|", ls="", ms=7, label="single tasks"))
    if OTHER in claims:
        handles.append(Line2D([], [], color=COLOURS["line"], lw=6, label="one new task"))
    handles.append(Patch(color=COLOURS["band"], label=f"within {100 * margin:g} {'point' if margin == 0.01 else 'points'}"))
    axes.legend(handles=handles, loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=2, columnspacing=1.4, borderpad=0.2)


def _alt(category: Category, found: Comparison) -> str:
    against = f" from {name(found.baseline)}" if found.baseline is not None else ""
    listed = "; ".join(
        f"{name(one.a)}{'' if found.baseline is not None else ' − ' + name(one.b)} {points(number_of(one))} "
        f"{mark_text(one)}".rstrip()
        for one in category.contrasts[:12]
    )
    more = f"; and {len(category.contrasts) - 12} more" if len(category.contrasts) > 12 else ""
    return f"Forest plot of differences{against} in {name(category.name)}, in points: {listed}{more}. All numbers are below."


def how_to_read(found: Comparison) -> str:
    """Return what shapes and lines are, once for all plots."""
    decided = any(one.other_tasks.decidable for category in found.categories for one in category.contrasts)
    grey = " The grey bar is where one new task may fall; it may leave the plot." if decided else ""
    return (
        "Shapes are means, lines 95 % intervals of one comparison, each of one claim; a claim that cannot be decided has none. "
        f"Marks are corrected for all comparisons of the kind, intervals are not. Small ticks are single tasks.{grey} The "
        "shaded band is the margin within which differences count as none."
    )


def data_rows(category: Category) -> list[list[str]]:
    """Return the numbers of a category's comparisons, in the columns of `HEAD`."""
    return [
        [
            f"{name(one.a)} − {name(one.b)}",
            f"{one.by_task.units} / {one.other_tasks.families}",
            points(one.by_task.mean),
            f"{points(one.these_tasks.mean)} {span(one.these_tasks.interval)}" if one.these_tasks else "–",
            f"{points(one.by_family.mean)} {span(one.by_family.interval)}"
            if one.other_tasks.decidable
            else "cannot be decided",
            chance(one.other_tasks.p) if one.other_tasks.decidable else f"≥ {chance(one.other_tasks.p_floor)}",
            _run(one),
            chance(one.another_run.p) if one.other_tasks.decidable else "–",
            span(one.other_tasks.new_task),
            mark_text(one) or _equal(one),
        ]
        for one in category.contrasts
    ]


def _run(one: Contrast) -> str:
    if one.another_run.p is None:
        return "seed noise unknown" if one.checkpoint else "one family only"
    return span(one.another_run.interval) if one.other_tasks.decidable else "cannot be decided"


def _equal(one: Contrast) -> str:
    return f"equivalent{' checkpoint' if one.checkpoint else ''}" if one.equivalent else "–"
