"""A matrix of all pairs, where a forest plot would be too long: coloured where one of the two is shown to be better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from matplotlib.figure import Figure

from comparison.claims.outcome import Category, Comparison, Contrast
from comparison.report.plots.drawing import Plot, render
from comparison.report.plots.forest import related
from comparison.report.plots.heat_map import MOST_NUMBERS, ColouredCells, label_columns
from comparison.report.tables.columns import COLUMNS, PAGE, heads, pairs_of, texts
from comparison.report.tables.lines import MOST_LISTED, not_listed
from comparison.report.words.marks import beside_all_tasks, fragile, number_of
from comparison.report.words.names import name, short_names
from comparison.report.words.wording import comparisons, when

MOST_IN_FOREST = 28  # comparisons: all pairs of eight systems
ROW, COLUMN = 0.21, 0.5  # inches
SMALL, SMALL_FONT = 0.13, 5.5  # inches of a cell without a number, points of its labels


def draw_matrix(category: Category, comparison: Comparison, stem: str) -> Plot:
    """Draw a category's comparisons, row minus column; systems ordered by how many they are ahead of."""
    systems = _ordered(category, list(comparison.systems))
    places = {system: place for place, system in enumerate(systems)}
    labels = list(short_names(systems, 26).values())
    width, height, font = COLUMN, ROW, 8.0
    if len(systems) ** 2 > MOST_NUMBERS:
        width, height, font = SMALL, SMALL, SMALL_FONT
    figure = Figure(figsize=(width * len(systems), height * len(systems)))
    axes = figure.add_axes((0, 0, 1, 1))
    coloured = ColouredCells(axes, comparison.margin, len(systems) ** 2)
    for contrast in category.contrasts:
        number, mark = _number_and_mark(contrast)
        a, b = places[contrast.a], places[contrast.b]
        for value, position in ((number, (b, a)), (-number, (a, b))):
            difference = None
            if contrast.starred:
                difference = value
            coloured.write(f"{100 * value:+.1f}{mark}", position, difference, size=7)
    coloured.fill()
    axes.set_xlim(0, len(systems))
    axes.set_ylim(len(systems) - 0.5, -0.5)
    axes.set_yticks(range(len(systems)), labels, fontsize=font)
    label_columns(axes, [f"− {label}" for label in labels], font)
    svg, png = render(figure)
    shown = sum(contrast.starred for contrast in category.contrasts)
    where, head, rows = not_listed(len(category.contrasts)), [], []
    if len(category.contrasts) <= MOST_LISTED:
        where = "All numbers are below."
        head, rows = heads(COLUMNS, PAGE), texts(COLUMNS, pairs_of(category, comparison), PAGE)
    alt = (
        f"Matrix of the differences of {len(systems)} systems in {name(category.name)}, row minus column, in points; {shown} "
        f"of {comparisons(len(category.contrasts))} are shown to differ. {where}"
    )
    only_colours = f" Of {len(systems) ** 2:,} cells only the colours are drawn. {where}"
    caption = _caption(category) + when(not coloured.numbers, only_colours)
    return Plot(stem, name(category.name), alt, caption, svg, png, head, rows)


def _number_and_mark(contrast: Contrast) -> tuple[float, str]:
    """Return the number of a cell and the mark beside it, which speaks of that number."""
    mark = beside_all_tasks(contrast)
    if not mark:
        contrast = replace(contrast, mark="")
    signs = when(mark and contrast.checkpoint, "c") + when(fragile(contrast), "f")
    return number_of(contrast), mark + signs


def _caption(category: Category) -> str:
    sentences = [
        "Each number is row minus column: the mean over families of related tasks, or over tasks where no star is possible.",
        "Only differences with a star are coloured. *: holds on other tasks of the kind; **: also over the whole table.",
    ]
    contrasts = category.contrasts
    if any(contrast.mark == "o" for contrast in contrasts):
        sentences.append("o: holds on these tasks only, mean over them.")
    if any(contrast.mark and contrast.checkpoint for contrast in contrasts):
        sentences.append("c: speaks of checkpoints, not of designs.")
    if any(map(fragile, contrasts)):
        sentences.append("f: only in what was scored, not with failed runs and absent tasks counted as losses.")
    if category.skipped:
        sentences.append("Empty: no common task.")
    sentences.append(related(category))
    return " ".join(sentences)


def _ordered(category: Category, systems: Sequence[str]) -> list[str]:
    ahead = dict.fromkeys(systems, 0)
    for contrast in category.contrasts:
        number, _ = _number_and_mark(contrast)
        if number > 0:
            ahead[contrast.a] += 1
        else:
            ahead[contrast.b] += 1
    return sorted(systems, key=lambda system: -ahead[system])
