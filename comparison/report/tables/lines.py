"""A Markdown table, line by line, and how many comparisons are worth one."""

from __future__ import annotations

from collections.abc import Sequence

MOST_LISTED = 500  # comparisons of a kind of tasks that are printed; a reader of more wants comparison.csv


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table."""
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for row in rows:
        lines.append(f"| {' | '.join(row)} |")
    return lines


def not_listed(comparisons: int) -> str:
    """Say where the comparisons of a large table are."""
    return f"The {comparisons:,} comparisons are too many to print; each is a row of comparison.csv."
