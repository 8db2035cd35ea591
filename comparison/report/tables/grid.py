"""The grid's contrasts as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from comparison.claims.outcome import Comparison
from comparison.report.tables.columns import Column, heads, texts
from comparison.report.tables.lines import table
from comparison.report.words.grid import GridRow, about_grid, gains_text, grid_answer, grid_rows
from comparison.report.words.wording import DASH, escape, points, span

GRID_COLUMNS: Sequence[Column[GridRow]] = [
    Column("kind", lambda row: row.kind, text=escape),
    Column("effect", lambda row: row.effect),
    Column("a - b", lambda row: f"{escape(row.a)} - {escape(row.b)}"),
    Column("mean", lambda row: f"{points(row.mean)} {span(row.interval)}"),
    Column("p, other tasks", lambda row: row.p),
    Column("p, another run", lambda row: row.p_run),
    Column("mark", lambda row: escape(row.mark) or DASH),
]


def grid(comparison: Comparison) -> list[str]:
    """Return the section on the grid; nothing without one."""
    if comparison.grid is None:
        return []
    lines = ["## The grid: attention and pooling", "", escape(about_grid(comparison.grid)), ""]
    lines += [f"- {escape(sentence)}" for sentence in grid_answer(comparison.grid)]
    lines += ["", *table(heads(GRID_COLUMNS), texts(GRID_COLUMNS, grid_rows(comparison.grid))), ""]
    lines += [f"- {escape(sentence)}" for sentence in gains_text(comparison.grid)]
    return [*lines, ""]
