"""The grid as a plot: the gain of one attention over the other with each pooling, and the contrasts with their intervals."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from comparison.claims.grid import ATTENTION, INTERACTION, POOLING
from comparison.claims.outcome import Comparison, Grid
from comparison.report.plots.drawing import COLOURS, Plot, render
from comparison.report.tables.columns import heads, texts
from comparison.report.tables.grid import GRID_COLUMNS
from comparison.report.words.grid import ALL, GridRow, about_grid, claim_in_words, grid_rows
from comparison.report.words.names import name, shorten
from comparison.report.words.wording import margin_text, points

WIDTH = 260  # points, as a phone shows it
LETTERS = 55  # in a line
MARKERS = {ATTENTION: ("s", "s0"), POOLING: ("o", "s2"), INTERACTION: ("D", "s1")}
MOST_IN_ALT = 12


def draw_grid(comparison: Comparison, stem: str) -> Plot | None:
    """Draw all contrasts, one kind of tasks below the other; None without a grid."""
    grid = comparison.grid
    if grid is None:
        return None
    rows = grid_rows(grid)
    kinds: dict[str, list[GridRow]] = {}
    for row in rows:
        kinds.setdefault(row.kind, []).append(row)
    lines = sum(map(len, kinds.values())) * 2 + 2 * len(kinds)
    figure = Figure(figsize=(WIDTH / 72, 0.4 + 0.16 * lines))
    axes = figure.add_axes((0, 0, 1, 1))
    margin = 100 * comparison.margin
    axes.axvspan(-margin, margin, color=COLOURS["band"], lw=0, zorder=0)
    axes.axvline(0, color=COLOURS["muted"], lw=1, zorder=1)
    top = 0.0
    for kind, of_kind in kinds.items():
        _text(axes, name(kind), top, "left", "bold")
        top += 1.3
        for row in of_kind:
            top = _draw_row(axes, row, grid, top)
        top += 0.8
    axes.set_yticks([])
    axes.set_ylim(top - 0.4, -0.8)
    axes.grid(axis="x")
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(f"difference in points; the band is within {margin_text(comparison.margin)}")
    svg, png = render(figure)
    head, data = heads(GRID_COLUMNS), texts(GRID_COLUMNS, rows)
    return Plot(stem, "The grid", _alt(rows), about_grid(grid), svg, png, head, data)


def _draw_row(axes: Axes, row: GridRow, grid: Grid, top: float) -> float:
    """Draw one contrast: its name and number, its interval below; returns where the next one begins."""
    marker, colour = MARKERS[row.effect]
    number = f"{points(row.mean)} {row.mark}".rstrip()
    _text(axes, _label(row, grid, LETTERS - len(number)), top, "left", "normal")
    _text(axes, number, top, "right", "normal")
    y = top + 0.9
    if row.interval is not None:
        ends = [100 * row.interval.low, 100 * row.interval.high]
        axes.plot(ends, [y, y], "-", color=COLOURS[colour], lw=1.8, zorder=3)
        axes.plot(100 * row.mean, y, marker, color=COLOURS[colour], ms=5.5, zorder=4)
    else:
        axes.plot(100 * row.mean, y, marker, mfc="none", mec=COLOURS["muted"], ms=5.5, zorder=4)
    return top + 2.0


def _label(row: GridRow, grid: Grid, most: int) -> str:
    """Return a contrast's name as it fits into a number of letters."""
    if row.effect == INTERACTION:
        first, second = (shorten(attention, 8) for attention in grid.attentions)
        pooling, other = row.a.partition(" with ")[2], shorten(grid.poolings[-1], 8)
        room = most - len(f"{first}−{second}: −{other} ")
        return f"{first}−{second}: {shorten(pooling, max(8, min(18, room)))}−{other}"
    return f"{shorten(row.a, 22)} − {shorten(row.b, 14)}"


def _text(axes: Axes, text: str, y: float, side: str, weight: str) -> None:
    x = 0.0
    if side == "right":
        x = 1.0
    label = axes.text(x, y, text, transform=axes.get_yaxis_transform(), va="center", weight=weight, fontsize=8.5)
    if side == "right":
        label.set_horizontalalignment("right")
    label.set_bbox({"facecolor": COLOURS["paper"], "alpha": 0.8, "lw": 0, "pad": 0.5})


def _alt(rows: Sequence[GridRow]) -> str:
    chosen = [row for row in rows if row.kind == ALL] or list(rows)
    parts = [f"{claim_in_words(row.effect, row.a, row.b, row.mean)} {row.mark}".rstrip() for row in chosen[:MOST_IN_ALT]]
    return f"Contrasts of the grid, in points: {'; '.join(parts)}. All numbers are below."
