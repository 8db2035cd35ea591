"""A matrix of all pairs, where a forest plot would be too long: coloured where one of the two is shown to be better."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

from matplotlib.figure import Figure

from comparison.claims.outcome import Category, Comparison, Contrast
from comparison.report.plots.drawing import COLOURS, Plot, render
from comparison.report.plots.forest import HEAD, data_rows, related
from comparison.report.plots.heat_map import Cell, head_columns, rectangles, step_of
from comparison.report.words.marks import beside_all_tasks, number_of
from comparison.report.words.names import name, short_names
from comparison.report.words.sentences import separated
from comparison.report.words.wording import count

MOST_IN_FOREST = 28  # comparisons: all pairs of eight systems
ROW, COLUMN = 0.21, 0.5  # inches


def draw_matrix(category: Category, found: Comparison, stem: str) -> Plot:
    """Draw a category's comparisons, row minus column; systems ordered by how many they are ahead of."""
    systems = _ordered(category, list(found.systems))
    place = {system: number for number, system in enumerate(systems)}
    labels = short_names(systems, 26)
    figure = Figure(figsize=(COLUMN * len(systems), ROW * len(systems)))
    axes = figure.add_axes((0, 0, 1, 1))
    boxes: dict[int, list[Cell]] = defaultdict(list)
    for one in category.contrasts:
        number, mark = _written(one)
        for row, column, sign in ((one.a, one.b, 1), (one.b, one.a, -1)):
            value, at, colour = sign * number, (place[column], place[row]), COLOURS["muted"]
            if separated(one):
                step = step_of(value, found.margin)
                boxes[step].append(at)
                colour = COLOURS[f"t{step}"]
            axes.text(at[0] + 0.5, at[1], f"{100 * value:+.1f}{mark}", ha="center", va="center", fontsize=7, color=colour)
    for step, cells in boxes.items():
        axes.add_patch(rectangles(cells, COLOURS[f"h{step}"]))
    axes.set_xlim(0, len(systems))
    axes.set_ylim(len(systems) - 0.5, -0.5)
    axes.set_yticks(range(len(systems)), [labels[one] for one in systems], fontsize=8)
    axes.set_xticks([x + 0.5 for x in range(len(systems))], [f"− {labels[one]}" for one in systems], fontsize=8)
    head_columns(axes)
    svg, png = render(figure)
    shown = sum(separated(one) for one in category.contrasts)
    alt = (
        f"Matrix of the differences of {len(systems)} systems in {name(category.name)}, row minus column, in points; {shown} "
        f"of {count(len(category.contrasts), 'comparison', 'comparisons')} are shown to differ. All numbers are below."
    )
    return Plot(stem, name(category.name), alt, _caption(category), svg, png, HEAD, data_rows(category))


def _written(one: Contrast) -> tuple[float, str]:
    """Return the number of a cell and the mark beside it, which speaks of that number."""
    mark = beside_all_tasks(one)
    number = number_of(one if mark else replace(one, mark=""))
    failed = one.starred and not one.carried
    return number, f"{mark}{'c' if mark and one.checkpoint else ''}{'f' if failed else ''}"


def _caption(category: Category) -> str:
    said = "Row minus column, mean over families of related tasks, over tasks where there are too few families for any star. "
    said += "Only differences with a star are coloured. *: holds on other tasks of the kind; **: also over the whole table. "
    if any(one.mark == "o" for one in category.contrasts):
        said += "o: holds on these tasks only, mean over them. "
    if any(one.mark and one.checkpoint for one in category.contrasts):
        said += "c: speaks of checkpoints, not of designs. "
    if any(one.starred and not one.carried for one in category.contrasts):
        said += "f: only in what did not fail, not with failed runs counted as losses. "
    if category.skipped:
        said += "Empty: no common task. "
    return said + related(category)


def _ordered(category: Category, systems: list[str]) -> list[str]:
    ahead = dict.fromkeys(systems, 0)
    for one in category.contrasts:
        ahead[one.a if _written(one)[0] > 0 else one.b] += 1
    return sorted(systems, key=lambda system: -ahead[system])
