"""Write the report: `report.html`, `plots/` as SVG and PNG, the table as `table.tex` and `table.csv`, and `items.csv`."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from comparison.claims.outcome import Category, Comparison
from comparison.disagreements.texts import Texts
from comparison.findings import Finding
from comparison.reading.study_data import AttentionMass, CellData
from comparison.reading.systems import StudyResults
from comparison.report.labels import by_what_they_are
from comparison.report.page import Illustrations, make_page
from comparison.report.plots import attention
from comparison.report.plots.compression import Compression, draw_compression
from comparison.report.plots.cost import draw_cost
from comparison.report.plots.curve_panels import draw_curve_panels
from comparison.report.plots.curves import draw_curves
from comparison.report.plots.drawing import Plot, Series, series_of, style
from comparison.report.plots.forest import draw_forest, how_to_read
from comparison.report.plots.grid import draw_grid
from comparison.report.plots.heat_map import draw_heat_map
from comparison.report.plots.lines import UNTRAINED, draw_finding
from comparison.report.plots.matrix import MOST_IN_FOREST, draw_matrix
from comparison.report.plots.mean_ranks import draw_mean_ranks
from comparison.report.plots.overview import draw_overview
from comparison.report.tables.files import UTF8, not_writable, write_csv
from comparison.report.tables.item_table import item_rows
from comparison.report.tables.paper_table import as_rows, make_table
from comparison.report.tables.paper_text import as_latex
from comparison.report.words.names import called, slugs

PLOTS = "plots"
MEAN_RANKS, MATRIX = DIAGRAMS = ("critical_difference", "matrix")
Entry = TypeVar("Entry")


def write_report(
    comparison: Comparison,
    studies: Sequence[StudyResults],
    folder: Path,
    command: Sequence[str] = (),
    diagrams: Sequence[str] = (),
    texts: Texts | None = None,
    compressions: Sequence[Compression] = (),
) -> list[Path]:
    """Write the report into a folder, made if missing.

    Args:
        comparison: the outcome.
        studies: what is known beside scores.
        folder: where to.
        command: the words of the command line that compared; shown last.
        diagrams: that are drawn beside the others, of `DIAGRAMS`.
        texts: of items, where they are at hand.
        compressions: scores with fewer bytes a vector.

    Returns:
        The files, the page first.

    Raises:
        ComparisonError: the folder cannot be written.
    """
    table, with_names = make_table(comparison), comparison
    comparison, studies = by_what_they_are(comparison, studies)
    illustrations = draw(comparison, studies, diagrams, compressions)
    commands = []
    for study in studies:
        for step in study.data.commands:
            commands.append((step.what, step.line))
    if command:
        commands.append(("this report", shlex.join(command)))
    texts = texts or {}
    text = make_page(comparison, studies, illustrations, commands, texts)
    page, tex, csv = folder / "report.html", folder / "table.tex", folder / "table.csv"
    try:
        (folder / PLOTS).mkdir(parents=True, exist_ok=True)
        page.write_text(text, **UTF8)
        tex.write_text(as_latex(table), **UTF8)
        write_csv(csv, as_rows(table))
        paths = [page, tex, csv]
        write_csv(folder / "items.csv", item_rows(with_names, texts))
        for plots in illustrations.plots.values():
            for plot in plots:
                paths += _write_plot(plot, folder / PLOTS)
    except OSError as error:
        raise not_writable(folder, error) from error
    return paths


def _write_plot(plot: Plot, folder: Path) -> list[Path]:
    vector, raster = folder / f"{plot.name}.svg", folder / f"{plot.name}.png"
    vector.write_text(plot.svg, **UTF8)
    raster.write_bytes(plot.png)
    return [vector, raster]


def draw(
    comparison: Comparison,
    studies: Sequence[StudyResults],
    diagrams: Sequence[str] = (),
    compressions: Sequence[Compression] = (),
) -> Illustrations:
    """Return the plots of each section, and the sentences that stand before them."""
    cells = cells_of(comparison, studies)
    masses = attention_of(comparison, studies)
    stems = slugs([category.name for category in comparison.categories])
    illustrations = Illustrations()
    with style():
        forests = [draw_differences(category, comparison, stems[category.name]) for category in comparison.categories]
        heat_maps = []
        if comparison.categories:
            heat_maps = [draw_heat_map(comparison, "tasks")]
        illustrations.plots = {
            "overview": _drawn(draw_overview(comparison, "overview")),
            "forest": [*forests, *_draw_diagrams(comparison, diagrams, stems)],
            "grid": _drawn(draw_grid(comparison, "grid")),
            "tasks": heat_maps,
            "cost": [
                *_drawn(draw_cost(comparison, cells, "cost")),
                *_drawn(draw_compression(compressions, "compression")),
            ],
            "training": _draw_training(comparison, cells),
            "attention": _draw_attention(masses, series_of(comparison.systems)),
            "findings": [],
        }
        illustrations.findings = findings_of(studies)
        for stem, finding in illustrations.findings:
            illustrations.plots["findings"] += _drawn(draw_finding(finding, stem, series_of(comparison.systems)))
    illustrations.sentences["forest"] = []
    if any(plot.name.startswith("forest") for plot in forests):
        illustrations.sentences["forest"] = [how_to_read(comparison)]
    illustrations.sentences["attention"] = []
    for system, of_system in masses.items():
        illustrations.sentences["attention"].append(f"{called(system)}: {' '.join(attention.describe(of_system))}")
    return illustrations


def _draw_diagrams(comparison: Comparison, diagrams: Sequence[str], stems: Mapping[str, str]) -> list[Plot]:
    """Draw what was asked for beside the plots that every report has."""
    plots = []
    for category in comparison.categories:
        if MATRIX in diagrams and comparison.baseline is None and len(category.contrasts) <= MOST_IN_FOREST:
            plots.append(draw_matrix(category, comparison, f"matrix-{stems[category.name]}"))
        if MEAN_RANKS in diagrams:
            plots += _drawn(draw_mean_ranks(category, comparison, f"ranks-{stems[category.name]}"))
    return plots


def _draw_training(comparison: Comparison, cells: Mapping[str, Sequence[CellData]]) -> list[Plot]:
    """Draw the training curves: all figures together, and the loss system by system."""
    series = series_of(comparison.systems)
    return [*_drawn(draw_curves(cells, "training", series)), *_drawn(draw_curve_panels(cells, "loss", series))]


def _drawn(plot: Plot | None) -> list[Plot]:
    """Return a plot as the list that a section has; empty where there was nothing to draw."""
    if plot is None:
        return []
    return [plot]


def _draw_attention(masses: Mapping[str, Sequence[AttentionMass]], series: Mapping[str, Series]) -> list[Plot]:
    """Draw each system's attention by layer, then by head and by latent."""
    stems = slugs(list(masses))
    plots = []
    for system, of_system in masses.items():
        stem = f"attention-{stems[system]}"
        plots.append(attention.draw_profile(system, of_system, stem, series[system].colour))
        for kind in ("head", "latent"):
            of_kind = [mass for mass in of_system if mass.by == kind]
            if of_kind:
                plots.append(attention.draw_rows(system, kind, of_kind, f"attention-{kind}-{stems[system]}"))
    return plots


def draw_differences(category: Category, comparison: Comparison, slug: str) -> Plot:
    """Draw a category's comparisons as a forest plot, or as a matrix where there are too many."""
    if len(category.contrasts) > MOST_IN_FOREST and comparison.baseline is None:
        return draw_matrix(category, comparison, f"matrix-{slug}")
    return draw_forest(category, comparison, f"forest-{slug}")


def findings_of(studies: Sequence[StudyResults]) -> list[tuple[str, Finding]]:
    """Return what the studies measured beside scores, systems under their names in the comparison, with stems of files."""
    findings: list[tuple[str, Finding]] = []
    for study in studies:
        for finding in study.data.findings:
            number = len(findings) + 1
            findings.append((f"finding-{number}", _renamed(finding, study.names)))
    return findings


def _renamed(finding: Finding, names: Mapping[str, str]) -> Finding:
    """Return a finding whose systems have their names in the comparison, in lines and in the first column of its numbers."""

    def called(system: str) -> str:
        trained = system.removesuffix(UNTRAINED)
        return names.get(trained, trained) + system[len(trained) :]

    panels = []
    for panel in finding.panels:
        panels.append(replace(panel, curves=[replace(curve, system=called(curve.system)) for curve in panel.curves]))
    return replace(finding, panels=panels, rows=[[called(row[0]), *row[1:]] for row in finding.rows])


def cells_of(comparison: Comparison, studies: Sequence[StudyResults]) -> dict[str, list[CellData]]:
    """Return the cells of each compared system, in the comparison's order."""
    cells: dict[str, list[CellData]] = {}
    for study in studies:
        for cell in study.data.cells:
            cells.setdefault(_system(cell, study), []).append(cell)
    return _in_order(cells, comparison)


def _system(cell: CellData, study: StudyResults) -> str:
    """Return the name under which a cell was compared."""
    return study.names.get(cell.compared_as, cell.compared_as)


def attention_of(comparison: Comparison, studies: Sequence[StudyResults]) -> dict[str, list[AttentionMass]]:
    """Return the attention of each compared system's poolings."""
    masses: dict[str, list[AttentionMass]] = {}
    for study in studies:
        systems = {cell.name: _system(cell, study) for cell in study.data.cells}
        for mass in study.data.attention:
            masses.setdefault(systems[mass.cell], []).append(mass)
    return _in_order(masses, comparison)


def _in_order(entries: Mapping[str, list[Entry]], comparison: Comparison) -> dict[str, list[Entry]]:
    """Return entries by system in the comparison's order, without systems that were not compared."""
    return {system: entries[system] for system in comparison.systems if system in entries}
