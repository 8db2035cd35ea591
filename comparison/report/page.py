"""The page: sections in their order, each made of plain data, escaped by the template; a section without data is one line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from common.printable import printable
from comparison.claims.outcome import Comparison
from comparison.disagreements.texts import Texts
from comparison.findings import Finding
from comparison.reading.systems import StudyResults
from comparison.report.facts import facts
from comparison.report.methods import BIBTEX, methods
from comparison.report.plots.drawing import COLOURS, Plot, inline
from comparison.report.tables.item_table import about_items, item_tables
from comparison.report.tables.overall import left_out
from comparison.report.tables.paper_table import make_table
from comparison.report.tables.paper_text import caption, notes, published_note
from comparison.report.tables.scores import score_table
from comparison.report.words import answer, cautions
from comparison.report.words.first import first_sentences
from comparison.report.words.grid import gains_text, grid_answer
from comparison.report.words.names import name
from comparison.report.words.wording import hundredths

TEMPLATES = Path(__file__).with_name("templates")
SECTIONS = (
    ("answer", "Which to choose, and how sure that is"),
    ("table", "The table"),
    ("gains", "Scores, and what training gained"),
    ("forest", "Differences and their intervals"),
    ("grid", "The grid: attention and pooling"),
    ("tasks", "Task by task"),
    ("items", "Items on which two systems differ most"),
    ("cost", "Cost against score"),
    ("training", "Training"),
    ("attention", "What the pooling looks at"),
    ("findings", "Beside the scores"),
    ("warnings", "Warnings"),
    ("recipe", "Recipe, versions, data"),
    ("paper", "For a paper: methods and references"),
    ("again", "How to reproduce"),
)
NOTHING = "No two compared systems have a common task, so nothing can be compared."
ABSENT = {
    "answer": NOTHING,
    "table": NOTHING,
    "forest": NOTHING,
    "gains": (
        "No gains by training are known. In a study file, headline (a task that untrained designs are scored on, too) would "
        "fill this."
    ),
    "grid": (
        "There is no grid to take apart: the designs do not cross two attentions with two poolings or more, or two of them "
        "share attention and pooling (of several base LLMs or recipes)."
    ),
    "tasks": NOTHING,
    "items": (
        "No two systems have scores item by item of the same items, so it is not known on which queries, pairs or texts they "
        "differ."
    ),
    "cost": (
        "No costs are known. In study.json, trainable_parameters, training_seconds and evaluation_texts_per_second of the "
        "cells would fill this."
    ),
    "training": ("No training curves are known. In study.json, curve of the cells (path of a metrics.jsonl) would fill this."),
    "attention": (
        "No attention is known. In study.json, attention (its mass by layer, of multi-layer poolings) would fill this."
    ),
    "findings": (
        "Nothing was measured beside scores. In a study file, tune (a search of settings for each design) and probes (what a "
        "vector notices) would fill this."
    ),
    "paper": NOTHING,
    "recipe": ("Recipe, versions and data are not known. In study.json, cells, recipe, versions and data would fill this."),
}
WIDEST, LARGEST = 940, 1.9  # pixels, and pixels a point, that a plot is drawn at most
SMALLEST = 1.05  # pixels a point; a wider plot scrolls
MOST_IN_LINE = 4  # a sentence that lists more is shown as a list
NARROW = 350  # pixels that a phone has for a plot


@dataclass
class Illustrations:
    """Plots of each section, and the sentences that stand before them.

    Attributes:
        plots: by section.
        sentences: by section.
        findings: what was measured beside scores, each with the stem of its plot's files.
    """

    plots: dict[str, list[Plot]] = field(default_factory=dict)
    sentences: dict[str, list[str]] = field(default_factory=dict)
    findings: list[tuple[str, Finding]] = field(default_factory=list)


@dataclass(frozen=True)
class ShownPlot:
    """A plot as it stands in the page.

    Attributes:
        plot: the plot.
        inside: its SVG without the first tag; the template marks it safe, since matplotlib escapes texts.
        style: its width in CSS.
        wide: whether it is wider than a phone.
    """

    plot: Plot
    inside: str
    style: str
    wide: bool


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable_text,
    )
    environment.filters["name"] = name
    environment.filters["itemised"] = itemised
    environment.filters["cell_notes"] = notes
    return environment


def _printable_text(value: object) -> object:
    """Make texts printable before they are escaped; what is marked safe is HTML already."""
    if isinstance(value, str) and not hasattr(value, "__html__"):
        return printable(value)
    return value


def make_page(
    comparison: Comparison,
    studies: Sequence[StudyResults],
    illustrations: Illustrations,
    commands: Sequence[tuple[str, str]],
    texts: Texts,
) -> str:
    """Return the page.

    Args:
        comparison: the outcome.
        studies: what is known beside scores.
        illustrations: plots by section, and sentences before them.
        commands: (what, line) to make everything again.
        texts: of items, where they are at hand.
    """
    answers = [answer.answer(category, comparison) for category in comparison.categories]
    table = make_table(comparison)
    published = ""
    if comparison.baseline is not None:
        published = published_note(table.rows)
    titles = [name(study.data.title) for study in studies if study.data.title]
    shown = {section: list(map(_shown, plots)) for section, plots in illustrations.plots.items()}
    context: dict[str, Any] = {
        "title": " and ".join(titles) or "Comparison",
        "sections": SECTIONS,
        "absent": ABSENT,
        "comparison": comparison,
        "answers": answers,
        "short": answer.in_short(answers),
        "first": first_sentences(comparison, answers),
        "methods": methods(comparison),
        "bibtex": BIBTEX,
        "whose": answer.whose(comparison),
        "overall": answer.overall(comparison),
        "left_out": left_out(comparison, name),
        "table": table,
        "caption": caption(table),
        "published": published,
        "plots": shown,
        "grid": _grid_texts(comparison),
        "sentences": illustrations.sentences,
        "variances": variances(comparison),
        "cautions": cautions.cautions(comparison, studies, comparison.notes),
        "quiet": cautions.quiet(studies),
        "scores": score_table(comparison),
        "items": _items(comparison, texts),
        "findings": illustrations.findings,
        "gains": [study.data.gains for study in studies if study.data.gains is not None],
        "facts": facts(studies),
        "commands": commands,
        "style": _style(),
    }
    return _environment().get_template("page.html").render(context)


def _grid_texts(comparison: Comparison) -> dict[str, list[str]]:
    """Return the sentences on the grid; none without one."""
    if comparison.grid is None:
        return {"answer": [], "gains": []}
    return {"answer": grid_answer(comparison.grid), "gains": gains_text(comparison.grid)}


def _items(comparison: Comparison, texts: Texts) -> dict[str, object]:
    """Return the tables of items on which two systems differ most, and what to say before and after them."""
    tables, rest = item_tables(comparison, texts)
    return {"tables": tables, "rest": rest, "about": about_items(comparison, texts)}


def make_empty_page(title: str, reason: str, cells: Sequence[Sequence[str]]) -> str:
    """Return the page of a study in which nothing can be compared.

    Args:
        title: of the study.
        reason: why nothing can be compared.
        cells: name, state and reason of each cell of the study.
    """
    context = {"title": title, "reason": reason, "cells": cells, "style": _style()}
    return _environment().get_template("empty.html").render(context)


def itemised(sentence: str) -> tuple[str, list[str]]:
    """Return a sentence's beginning and what it lists, where that is more than `MOST_IN_LINE`; else all of it and nothing."""
    first, _, _ = sentence.partition("; ")
    start = 0
    if ": " in first:
        start = first.rfind(": ") + 2
    parts = sentence[start:].split("; ")
    if len(parts) > MOST_IN_LINE:
        return sentence[:start].rstrip(), parts
    return sentence, []


def variances(comparison: Comparison) -> list[list[str]]:
    """Return where scores vary, by kind of task, in points; empty where runs were not repeated."""
    rows = []
    for category in comparison.categories:
        parts = category.variances
        if parts:
            values = (parts.task, parts.design_by_task, parts.run, parts.run_by_task)
            rows.append([name(category.name), *map(hundredths, values)])
    return rows


def _shown(plot: Plot) -> ShownPlot:
    inside, width = inline(plot.svg, plot.name)
    least = SMALLEST * width
    most = max(least, min(LARGEST * width, WIDEST))
    return ShownPlot(plot, inside, f"max-width: {most:.0f}px; min-width: {least:.0f}px", least > NARROW)


def _style() -> str:
    colours = [f"--{variable}:{value};" for variable, value in COLOURS.items()]
    text = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    return text.replace("/*colours*/", "".join(colours))
