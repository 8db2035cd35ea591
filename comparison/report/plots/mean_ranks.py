"""Critical-difference diagrams: mean ranks over tasks, as papers draw them. No claim of the report rests on them."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure

from comparison.claims.outcome import Category, Comparison
from comparison.report.plots.drawing import COLOURS, Plot, render, series_of
from comparison.report.words.names import name, short_names
from comparison.report.words.wording import chance

ROW, WIDTH = 0.22, 4.2  # inches
CAVEAT = (
    "They count related tasks as independent, say nothing of size, and change with the systems that are in the pool (Benavoli, "
    "Corani and Mangili 2016); no claim above rests on them."
)


def draw_mean_ranks(category: Category, comparison: Comparison, stem: str) -> Plot | None:
    """Draw mean ranks with bars over systems within one critical difference; None below three systems with all tasks."""
    ranks = category.ranks
    if ranks is None:
        return None
    ordered = dict(sorted(ranks.systems.items(), key=lambda entry: entry[1]))
    bars = joined(ordered, ranks.critical_difference)
    figure = Figure(figsize=(WIDTH, ROW * (len(ordered) + 2)))
    axes = figure.add_axes((0, 0, 1, 1))
    looks = series_of(comparison.systems)
    for row, (system, rank) in enumerate(ordered.items()):
        axes.plot(rank, row, "o", color=looks[system].colour, ms=5.5, zorder=4)
    for place, (first, last) in enumerate(bars):
        values = list(ordered.values())
        x = len(ordered) + 0.35 + 0.22 * place
        axes.plot([x, x], [first, last], "-", color=COLOURS["ink"], lw=2.4, solid_capstyle="round")
        axes.plot([values[first], values[last]], [first, last], ":", color=COLOURS["line"], lw=1, zorder=1)
    axes.set_yticks(range(len(ordered)), list(short_names(list(ordered), 30).values()), fontsize=8.5)
    axes.set_ylim(len(ordered) - 0.4, -0.6)
    axes.set_xlim(0.7, len(ordered) + 0.7 + 0.22 * len(bars))
    axes.set_xlabel(
        f"mean rank over {ranks.tasks} tasks, 1 the best; systems beside one bar are within the critical difference"
    )
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    svg, png = render(figure)
    caption = (
        f"Mean ranks; Friedman's test p {chance(ranks.p)}, Nemenyi's critical difference {ranks.critical_difference:.2f} "
        f"(Demšar 2006). {CAVEAT}"
    )
    rows = [[name(system), f"{rank:.2f}"] for system, rank in ordered.items()]
    alt = f"Mean ranks of {len(ordered)} systems in {name(category.name)}; all numbers are below."
    return Plot(stem, f"{name(category.name)}: mean ranks", alt, caption, svg, png, ["system", "mean rank"], rows)


def joined(ranks: Mapping[str, float], difference: float) -> list[tuple[int, int]]:
    """Return the largest groups of neighbours within one critical difference: places of the first and the last.

    >>> joined({"a": 1.0, "b": 1.5, "c": 3.0}, 1.6)
    [(0, 1), (1, 2)]
    """
    values = list(ranks.values())
    groups: list[tuple[int, int]] = []
    for first, rank in enumerate(values):
        last = max(place for place, other in enumerate(values) if other - rank <= difference)
        if last > first and (not groups or last > groups[-1][1]):
            groups.append((first, last))
    return groups
