"""Write the report: `report.html`, `plots/` as SVG and PNG, and the table as `table.tex` and `table.csv`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from comparison.claims.outcome import Category, Comparison
from comparison.errors import ComparisonError
from comparison.reading.study_data import AttentionMass, CellData
from comparison.reading.systems import Study
from comparison.report import page
from comparison.report.plots import attention
from comparison.report.plots.cost import draw_cost
from comparison.report.plots.curves import draw_curves
from comparison.report.plots.drawing import Plot, style
from comparison.report.plots.forest import draw_forest, how_to_read
from comparison.report.plots.heat_map import draw_heat_map
from comparison.report.plots.matrix import MOST_IN_FOREST, draw_matrix
from comparison.report.tables import paper_table
from comparison.report.tables.files import UTF8, write_csv
from comparison.report.words.names import called, slugs

PLOTS = "plots"


def write_report(found: Comparison, studies: Sequence[Study], folder: Path, command: Sequence[str] = ()) -> list[Path]:
    """Write the report into a folder, made if missing.

    Args:
        found: the outcome.
        studies: what is known beside scores.
        folder: where to.
        command: the words of the command line that compared; shown last.

    Returns:
        The files, the page first.

    Raises:
        ComparisonError: the folder cannot be written.
    """
    plots, sayings = draw(found, studies)
    commands = [(one.what, one.line) for study in studies for one in study.data.commands]
    if command:
        commands.append(("this report", shlex.join(command)))
    table = paper_table.make_table(found)
    text = page.make_page(found, studies, plots, sayings, commands)
    paths = [folder / "report.html", folder / "table.tex", folder / "table.csv"]
    try:
        (folder / PLOTS).mkdir(parents=True, exist_ok=True)
        paths[0].write_text(text, **UTF8)
        paths[1].write_text(paper_table.as_latex(table), **UTF8)
        write_csv(paths[2], paper_table.as_rows(table))
        for plot in (one for of_section in plots.values() for one in of_section):
            vector, raster = folder / PLOTS / f"{plot.name}.svg", folder / PLOTS / f"{plot.name}.png"
            vector.write_text(plot.svg, **UTF8)
            raster.write_bytes(plot.png)
            paths += [vector, raster]
    except OSError as error:
        raise ComparisonError(f"--output_dir {folder} cannot be written: {error.strerror}; give another directory") from error
    return paths


def draw(found: Comparison, studies: Sequence[Study]) -> tuple[dict[str, list[Plot]], dict[str, list[str]]]:
    """Return the plots of each section, and the sentences that stand before them."""
    cells = cells_of(found, studies)
    looks = attention_of(found, studies)
    stems = slugs([category.name for category in found.categories])
    systems = slugs(list(looks))
    with style():
        plots: dict[str, list[Plot | None]] = {
            "forest": [draw_differences(category, found, stems[category.name]) for category in found.categories],
            "tasks": [draw_heat_map(found, "tasks") if found.categories else None],
            "cost": [draw_cost(found, cells, "cost")],
            "training": [draw_curves(cells, "training")],
            "attention": [
                plot
                for system, by in attention.by_system(looks).items()
                for plot in (
                    attention.draw_profile(system, looks[system], f"attention-{systems[system]}"),
                    *(attention.draw_rows(system, what, of, f"attention-{what}-{systems[system]}") for what, of in by.items()),
                )
            ],
        }
    forests = any(plot and plot.name.startswith("forest") for plot in plots["forest"])
    sayings = {"forest": [how_to_read(found)] if forests else []}
    sayings |= {"attention": [f"{called(system)}: {' '.join(attention.say(of))}" for system, of in looks.items()]}
    return {section: [plot for plot in of_section if plot] for section, of_section in plots.items()}, sayings


def draw_differences(category: Category, found: Comparison, slug: str) -> Plot:
    """Draw a category's comparisons as a forest plot, or as a matrix where there are too many."""
    if len(category.contrasts) > MOST_IN_FOREST and found.baseline is None:
        return draw_matrix(category, found, f"matrix-{slug}")
    return draw_forest(category, found, f"forest-{slug}")


def cells_of(found: Comparison, studies: Sequence[Study]) -> dict[str, list[CellData]]:
    """Return the cells of each compared system, in the comparison's order."""
    made: dict[str, list[CellData]] = {}
    for study in studies:
        for cell in study.data.cells:
            made.setdefault(study.names.get(cell.compared_as, cell.compared_as), []).append(cell)
    return {system: made[system] for system in found.systems if system in made}


def attention_of(found: Comparison, studies: Sequence[Study]) -> dict[str, list[AttentionMass]]:
    """Return what the poolings of each compared system look at."""
    made: dict[str, list[AttentionMass]] = {}
    for study in studies:
        system = {cell.name: study.names.get(cell.compared_as, cell.compared_as) for cell in study.data.cells}
        for one in study.data.attention:
            made.setdefault(system[one.cell], []).append(one)
    return {system: made[system] for system in found.systems if system in made}
