"""A mark stands beside the number that it speaks of, in every table and plot, and says of what it speaks."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from comparison.claims.outcome import Comparison, Sensitivity, TheseTasks
from comparison.compare import Options, compare
from comparison.reading.families import parse_families
from comparison.reading.table import Table
from comparison.report.plots import heat_map
from comparison.report.plots.drawing import Plot, style
from comparison.report.plots.forest import draw_forest, needs_two_lines
from comparison.report.plots.heat_map import draw_heat_map
from comparison.report.plots.matrix import draw_matrix
from comparison.report.tables import paper_table, paper_text
from comparison.report.tables.columns import COLUMNS, pairs_of, records
from comparison.report.tables.files import save
from comparison.report.tables.markdown import as_markdown, groups
from comparison.report.words.marks import beside_all_tasks, mark_text, number_of
from comparison.stats.effects import Interval
from comparison.stats.within import Within

RELATED = [f"A{number}" for number in range(6)]
ALONE = [f"B{number}" for number in range(8)]
FAMILIES = parse_families({"Kind": [RELATED, *ALONE]})


def compared(scores: Mapping[str, Mapping[str, float]], baseline: str | None = "base", runs: int = 1) -> Comparison:
    """Compare scores by system and task."""
    tasks = list(dict.fromkeys(task for of in scores.values() for task in of))
    table = Table(tuple(scores), dict.fromkeys(scores, runs), [])
    table.categories["Kind"] = tasks
    for system, of in scores.items():
        for task, score in of.items():
            table.scores[system, task] = np.full(runs, score)
            table.files[system, task] = [None] * runs
    return compare(table, FAMILIES, Options(baseline))


def level(related: float, alone: float) -> dict[str, float]:
    return dict.fromkeys(RELATED, 0.5 + related) | {task: 0.5 + alone + n / 1e4 for n, task in enumerate(ALONE)}


@pytest.fixture(scope="module")
def opposed() -> Comparison:
    """Worse on six related tasks, better on eight others: worse as mean over tasks, better as mean over families."""
    found = compared({"base": level(0, 0), "x": level(-0.022, 0.0148)})
    (one,) = found.categories[0].contrasts
    assert one.by_task.mean < 0 < one.by_family.mean and one.mark == "**" and one.checkpoint
    return found


def with_items(found: Comparison, task: str, difference: float) -> Comparison:
    """Give one task scores item by item, from which `o` follows."""
    within = Within(difference, 0.001, 50, Interval(difference, difference, 0.95), 0.0, 60, "queries", 60, True, "ndcg_at_10")
    these = TheseTasks({task: within}, difference, within.interval, 0.0, 0.001, {task: 0.001}, 0.01, 0.01)
    category = found.categories[0]
    contrasts = [replace(one, these_tasks=these, mark="o") for one in category.contrasts]
    return replace(found, categories=[replace(category, contrasts=contrasts)])


def drawn(plot: Plot) -> str:
    return plot.svg


def test_a_star_never_stands_beside_a_number_of_the_other_sign(opposed: Comparison, tmp_path: Path) -> None:
    table = paper_table.make_table(opposed)
    cell = table.rows[1].cells[0]
    assert cell.number.startswith("-.") and cell.mark == "**" and cell.family.startswith("+.01")
    assert "by family" in paper_text.caption(table)
    latex = paper_text.as_latex(table)
    assert rf"{{\footnotesize\quad by family}} & {{\footnotesize ${cell.family}$}} \\" in latex
    assert paper_table.as_rows(table)[1]["by_family"] == opposed.categories[0].contrasts[0].by_family.mean
    save(opposed, tmp_path, {})
    assert "mean over tasks" in (tmp_path / "comparison.md").read_text(encoding="utf-8")


def test_what_adds_nothing_is_not_printed() -> None:
    same = paper_table.make_table(compared({"base": level(0, 0), "x": level(0.02, 0.02)})).rows[1].cells[0]
    assert same.mark == "**" and same.family == ""


def test_the_forest_says_what_its_square_shows(opposed: Comparison) -> None:
    with style():
        plot = draw_forest(opposed.categories[0], opposed, "forest")
    (one,) = opposed.categories[0].contrasts
    said = f"{100 * one.by_family.mean:+.2f} ** checkpoint"
    assert number_of(one) == one.by_family.mean
    assert f">{said}<" in drawn(plot) and f"x {said}" in plot.alt
    assert dict(zip(plot.head, plot.rows[0], strict=True))["mark"] == "** checkpoint"


def test_what_is_said_stands_below_a_long_name(opposed: Comparison) -> None:
    assert not needs_two_lines("x", "+1.09 ** checkpoint") and needs_two_lines("x" * 26, "+1.09: not decidable, 3 families")
    long = [replace(one, a="x" * 60) for one in opposed.categories[0].contrasts]
    with style():
        category = opposed.categories[0]
        plots = [draw_forest(replace(category, contrasts=of), opposed, "f") for of in (category.contrasts, long)]
    heights = [float(re.findall(r'viewBox="0 0 [0-9.]+ ([0-9.]+)"', plot.svg)[0]) for plot in plots]
    assert 10 < heights[1] - heights[0] < 20, "a line more"


def test_the_matrix_shows_and_colours_what_its_mark_speaks_of(opposed: Comparison) -> None:
    pairs = replace(opposed, baseline=None)
    with style():
        plot = draw_matrix(pairs.categories[0], pairs, "matrix")
    value = f"{100 * pairs.categories[0].contrasts[0].by_family.mean:.1f}"
    assert f">+{value}**c<" in drawn(plot) and f">-{value}**c<" in drawn(plot)
    assert "c: speaks of checkpoints" in plot.caption and "Empty" not in plot.caption
    failed = Sensitivity(1, 0, -0.01, -0.01, 0.5, (0.5, 0.0))
    lost = [replace(one, sensitivity=failed) for one in pairs.categories[0].contrasts]
    lacking = replace(pairs.categories[0], skipped=[("x", "y")], contrasts=lost)
    with style():
        plot = draw_matrix(lacking, pairs, "matrix")
        assert f">+{value}**cf<" in drawn(plot) and "f: only in what was scored" in plot.caption
        assert "Empty: no common task." in draw_matrix(lacking, pairs, "matrix").caption


def test_a_difference_on_one_task_is_not_marked_beside_the_mean_of_all() -> None:
    found = with_items(compared({"base": level(0, 0), "x": level(0.01, -0.01)}), "B0", 0.05)
    (one,) = found.categories[0].contrasts
    assert number_of(one) == 0.05 and mark_text(one) == "o checkpoint, 1 of 14 tasks" and beside_all_tasks(one) == ""
    cell = paper_table.make_table(found).rows[1].cells[0]
    assert cell.mark == "" and paper_text.notes(cell, 14) == "" and cell.with_items == 1
    with style():
        assert ">+5.00 o checkpoint, 1 of 14 tasks<" in drawn(draw_forest(found.categories[0], found, "forest"))
        assert " o" not in draw_matrix(found.categories[0], replace(found, baseline=None), "matrix").svg.split("</style>")[1]


def test_on_all_tasks_it_is_marked() -> None:
    found = with_items(compared({"base": {"B0": 0.5}, "x": {"B0": 0.55}}), "B0", 0.05)
    cell = paper_table.make_table(found).rows[1].cells[0]
    assert cell.mark == "o" and paper_text.notes(cell, 1) == "c‡" and cell.family == ""
    turned = with_items(compared({"base": {"B0": 0.5}, "x": {"B0": 0.45}}), "B0", 0.05)
    assert beside_all_tasks(turned.categories[0].contrasts[0]) == "", "another measure may have another sign"


def test_the_heat_map_says_that_its_mark_is_of_checkpoints() -> None:
    found = with_items(compared({"base": {"B0": 0.5}, "x": {"B0": 0.55}}), "B0", 0.05)
    with style():
        plot = draw_heat_map(found, "tasks")
    assert ">+5.0 oc<" in drawn(plot) and "“c”: speaks of checkpoints" in plot.caption
    assert plot.rows[0][-1] == "+5.0 o checkpoint"
    designs = [replace(one, checkpoint=False) for one in found.categories[0].contrasts]
    found = replace(found, categories=[replace(found.categories[0], contrasts=designs)])
    with style():
        plot = draw_heat_map(found, "tasks")
    assert ">+5.0 o<" in drawn(plot) and "checkpoint" not in plot.caption and plot.rows[0][-1] == "+5.0 o"


@pytest.mark.parametrize("seen", [-0.05, 0.03])
def test_the_heat_map_has_no_mark_of_another_measure_or_sign(seen: float) -> None:
    found = with_items(compared({"base": {"B0": 0.5}, "x": {"B0": 0.5 + seen}}), "B0", 0.05)
    with style():
        plot = draw_heat_map(found, "tasks")
    assert plot.rows[0][-1] == f"{100 * seen:+.1f}"


def test_plots_of_too_many_cells_have_colours_only(opposed: Comparison, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heat_map, "MOST_NUMBERS", 3)
    pairs = replace(opposed, baseline=None)
    with style():
        plots = [draw_matrix(pairs.categories[0], pairs, "matrix"), draw_heat_map(opposed, "tasks")]
    for plot in plots:
        assert "**c<" not in drawn(plot) and ">+1.0" not in drawn(plot) and "only the colours are drawn" in plot.caption
        assert any(cell for row in plot.rows for cell in row), "the numbers are in the table"


def test_equivalent_is_of_checkpoints_too() -> None:
    mixed = {task: score + 1e-4 * (-1) ** number for number, (task, score) in enumerate(level(0, 0).items())}
    found = compared({"base": level(0, 0), "x": mixed})
    with style():
        assert draw_forest(found.categories[0], found, "forest").rows[0][-1] == "equivalent checkpoint"


def test_groups_do_not_call_undecided_what_was_not_separated() -> None:
    part = {task: score + 0.03 for task, score in level(0, 0).items() if task in ALONE[:4]}
    found = compared({"base": level(0, 0), "good": level(0.03, 0.03), "part": part})
    assert groups(found.categories[0], found)[0] == ("Groups, on other tasks: better than base: good; cannot be decided: part.")


def test_letters_stand_only_where_all_pairs_were_compared() -> None:
    first, second = dict.fromkeys(ALONE, 0.5), {f"C{number}": 0.5 for number in range(8)}
    x = dict.fromkeys(first, 0.53)
    found = compared({"X": x, "Y": first | second, "Z": second}, baseline=None)
    assert found.categories[0].groups is None and "No letters for groups" in as_markdown(found)
    assert "No letters for Kind" in paper_text.caption(paper_table.make_table(found))
    found = compared({"X": x, "Y": first | second, "W": {}}, baseline=None)
    assert found.categories[0].groups == {"Y": "a", "X": "a"}, "X leads Y on half of the tasks, and the others count as lost"
    (contrast,) = found.categories[0].contrasts
    assert contrast.starred and not contrast.carried and contrast.sensitivity.absent == 8


def test_the_csv_file_has_the_p_that_decides_the_mark(tmp_path: Path) -> None:
    scores = {"base": level(0, 0), "x": level(0.02, 0.02), "few": dict.fromkeys(ALONE[:4], 0.6)}
    found = compared(scores)
    category = found.categories[0]
    luck = replace(category.contrasts[0], another_run=replace(category.contrasts[0].another_run, p=0.04), mark="*")
    found = replace(found, counted=2, categories=[replace(category, contrasts=[luck, *category.contrasts[1:]])])
    first, _ = records(COLUMNS, pairs_of(found.categories[0], found))
    assert first["mark_p"] == 0.04 and first["mark_p_table"] == 0.08, "of the other run, not of other tasks"
    plain, _ = records(COLUMNS, pairs_of(category, found))
    assert plain["mark_p"] == category.contrasts[0].other_tasks.p
    save(found, tmp_path, {})
    with (tmp_path / "comparison.csv").open(encoding="utf-8") as stream:
        starred, few = csv.DictReader(stream)
    assert starred["families_mean_low"] and float(starred["mark_p"]) == 0.04
    assert few["families"] == "4" and few["families_mean"], "the mean describes"
    assert few["mark_p"] == few["mark_p_table"] == few["families_mean_low"] == few["families_mean_high"] == few["run_low"] == ""
