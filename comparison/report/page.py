"""The page: sections in their order, each made of plain data, escaped by the template; a section without data is one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from comparison.claims.outcome import Comparison
from comparison.reading.study_data import CellData
from comparison.reading.systems import Study
from comparison.report.plots.drawing import COLOURS, Plot, inline
from comparison.report.tables import paper_table
from comparison.report.words import answer, cautions
from comparison.report.words.names import name, printable

TEMPLATES = Path(__file__).with_name("templates")
SECTIONS = (
    ("answer", "Which to choose, and how sure that is"),
    ("table", "The table"),
    ("forest", "Differences and their intervals"),
    ("tasks", "Task by task"),
    ("cost", "Cost against score"),
    ("training", "Training"),
    ("attention", "What the pooling looks at"),
    ("warnings", "Warnings"),
    ("recipe", "Recipe, versions, data"),
    ("again", "How to reproduce"),
)
NOTHING = "No two compared systems have a common task, so nothing can be compared."
ABSENT = {
    **dict.fromkeys(("answer", "table", "forest", "tasks"), NOTHING),
    "cost": "No costs are known. In study.json, trainable_parameters, training_seconds and evaluation_texts_per_second of the "
    "cells would fill this.",
    "training": "No training curves are known. In study.json, curve of the cells (path of a metrics.jsonl) would fill this.",
    "attention": "No attention is known. In study.json, attention (its mass by layer, of multi-layer poolings) would fill "
    "this.",
    "recipe": "Recipe, versions and data are not known. In study.json, cells, recipe, versions and data would fill this.",
}
WIDEST, LARGEST = 940, 1.9  # pixels, and pixels a point, that a plot is drawn at most
SMALLEST = 1.05  # pixels a point; a wider plot scrolls
MOST_IN_LINE = 4  # a sentence that lists more is shown as a list
NARROW = 350  # pixels that a phone has for a plot


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: printable(value) if isinstance(value, str) and not hasattr(value, "__html__") else value,
    )
    made.filters["name"] = name
    made.filters["itemised"] = itemised
    made.filters["cell_notes"] = paper_table.notes
    made.tests["list"] = lambda value: isinstance(value, list | tuple)
    return made


def make_page(
    found: Comparison,
    studies: Sequence[Study],
    plots: Mapping[str, Sequence[Plot]],
    sayings: Mapping[str, Sequence[str]],
    commands: Sequence[tuple[str, str]],
) -> str:
    """Return the page.

    Args:
        found: the outcome.
        studies: what is known beside scores.
        plots: by section.
        sayings: sentences of a section, before its plots.
        commands: (what, line) to make everything again.
    """
    answers = [answer.answer(category, found) for category in found.categories]
    table = paper_table.make_table(found)
    context: dict[str, Any] = {
        "title": " and ".join(name(study.data.title) for study in studies if study.data.title) or "Comparison",
        "sections": SECTIONS,
        "absent": ABSENT,
        "found": found,
        "answers": answers,
        "short": answer.in_short(answers),
        "whose": answer.whose(found),
        "overall": answer.overall(found),
        "table": table,
        "caption": paper_table.caption(table),
        "published": paper_table.published_note(table.rows) if found.baseline is not None else "",
        "plots": {section: [_shown(plot) for plot in of_section] for section, of_section in plots.items()},
        "sayings": sayings,
        "variances": variances(found),
        "cautions": cautions.cautions(found, studies, found.notes),
        "quiet": cautions.quiet(studies),
        "facts": facts(studies),
        "commands": commands,
        "style": _style(),
    }
    return _environment().get_template("page.html").render(context)


def itemised(said: str) -> tuple[str, list[str]]:
    """Return a sentence's beginning and what it lists, where that is more than `MOST_IN_LINE`; else all of it and nothing."""
    before, between, _ = said.partition("; ")
    start = before.rfind(": ") + 2 if ": " in before else 0
    parts = said[start:].split("; ")
    return (said[:start].rstrip(), parts) if between and len(parts) > MOST_IN_LINE else (said, [])


def variances(found: Comparison) -> list[list[str]]:
    """Return where scores vary, by kind of task, in points; empty where runs were not repeated."""
    known = [(category.name, category.variances) for category in found.categories if category.variances]
    return [
        [name(kind), *(f"{100 * part:.2f}" for part in (of.task, of.design_by_task, of.run, of.run_by_task))]
        for kind, of in known
    ]


def _shown(plot: Plot) -> dict[str, Any]:
    inside, width = inline(plot.svg, plot.name)
    least = SMALLEST * width
    style = f"max-width: {max(least, min(LARGEST * width, WIDEST)):.0f}px; min-width: {least:.0f}px"
    # `inside` is marked safe by the template: matplotlib escapes texts
    return {"plot": plot, "inside": inside, "style": style, "wide": least > NARROW}


def _style() -> str:
    colours = "".join(f"--{variable}:{value};" for variable, value in COLOURS.items())
    text = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    return text.replace("/*colours*/", colours)


def facts(studies: Sequence[Study]) -> list[dict[str, Any]]:
    """Return the tables of the section on recipe, versions and data; empty where nothing is known."""
    made: list[dict[str, Any]] = []
    for study in studies:
        data, of = study.data, f" of {name(study.data.title)}" if len(studies) > 1 and study.data.title else ""
        if data.cells:
            made.append({"title": f"Cells{of}", "head": CELL_HEAD, "rows": [_cell(cell) for cell in data.cells]})
        if data.recipe:
            made.append({"title": f"Recipe{of}", "head": ["setting", "value"], "rows": flat(data.recipe)})
        if data.versions:
            made.append({"title": f"Versions{of}", "head": ["what", "version"], "rows": flat(data.versions)})
        if data.data:
            rows = [
                [name(one.name), name(one.role), "–" if one.rows is None else f"{one.rows:,}", name(one.hash)]
                for one in data.data
            ]
            made.append({"title": f"Data{of}", "head": ["what", "role", "rows", "hash of the content"], "rows": rows})
        if data.truncation:
            rows = [
                [
                    name(one.task),
                    name(one.side),
                    f"{one.texts:,}",
                    f"{one.cut:,}",
                    "–" if one.max_length is None else str(one.max_length),
                ]
                for one in data.truncation
            ]
            made.append({"title": f"Cut texts{of}", "head": ["task", "side", "texts", "cut", "to tokens"], "rows": rows})
    return made


CELL_HEAD = ["cell", "design", "attention", "pooling", "base model", "seed", "status"]


def _cell(cell: CellData) -> list[str]:
    seed = "–" if cell.seed is None else str(cell.seed)
    known = [name(text) or "–" for text in (cell.name, cell.design, cell.attention, cell.pooling, cell.base_model)]
    return [*known, seed, f"{cell.status}: {name(cell.reason)}" if cell.reason else cell.status]


def flat(value: Any, before: str = "") -> list[list[str]]:
    """Return nested settings as rows of a dotted name and a value."""
    if isinstance(value, Mapping) and value:
        return [
            row for key, one in value.items() for row in flat(one, f"{before}.{name(str(key))}" if before else name(str(key)))
        ]
    if isinstance(value, list | tuple) and any(isinstance(one, Mapping | list | tuple) for one in value):
        return [row for number, one in enumerate(value, 1) for row in flat(one, f"{before}[{number}]")]
    if isinstance(value, list | tuple):
        return [[before, ", ".join(map(str, value))]]
    return [[before, "–" if value is None or value == {} else str(value)]]
