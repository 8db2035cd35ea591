"""The table as papers print it: the baseline's scores, and signed differences a kind of task, with marks that hold.

Differences are means over tasks, so that they add up with the baseline's scores. A star speaks of the mean over families of
related tasks; where that is another number, it stands beside the star.

Where all pairs are compared there is no baseline: scores with the letters of groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from comparison.claims.outcome import ALPHA, Category, Comparison
from comparison.report.words.marks import beside_all_tasks
from comparison.report.words.names import latex, listed, name
from comparison.report.words.wording import count


@dataclass(frozen=True)
class Entry:
    """One cell of the table.

    Attributes:
        value: score or difference, in score units; None where there is none.
        mark: ``**``, ``*``, ``o`` or nothing; letters where all pairs are compared.
        checkpoint: whether the mark speaks of two trained files.
        decidable: whether a claim about other tasks could be made at all.
        tasks: how many it is over.
        published: whether the uncorrected test of papers would put a star.
        signed: whether it is a difference.
        by_family: the difference as mean over families.
        with_items: on how many tasks there are scores item by item.
        carried: whether a star stands with failed runs counted as losses.
    """

    value: float | None
    mark: str = ""
    checkpoint: bool = False
    decidable: bool = True
    tasks: int = 0
    published: bool = False
    signed: bool = False
    by_family: float | None = None
    with_items: int = 0
    carried: bool = True

    @property
    def number(self) -> str:
        """The value as papers print it: ``.8302``, ``+.0129``."""
        if self.value is None:
            return "–"
        return _number(self.value, self.signed)

    @property
    def family(self) -> str:
        """The mean over families that a star speaks of, where that is printed as another number than the value."""
        if self.by_family is None or "*" not in self.mark or _number(self.by_family, self.signed) == self.number:
            return ""
        return _number(self.by_family, self.signed)


def _number(value: float, signed: bool) -> str:
    return (f"{value:+.4f}" if signed else f"{value:.4f}").replace("0.", ".", 1)


@dataclass(frozen=True)
class Row:
    """A system and its cell for each kind of task; the baseline's holds scores."""

    system: str
    baseline: bool
    cells: list[Entry]


@dataclass(frozen=True)
class PaperTable:
    """The table.

    Attributes:
        kinds: of tasks, the columns.
        sizes: tasks and families of each.
        rows: the baseline first.
        baseline: its name; None for all pairs.
        counted: kinds of tasks that a claim over the whole table counts.
        checkpoint: whether any mark, or any letter, speaks of two trained files.
        unlettered: kinds of tasks without letters although all pairs are compared: some pairs have too few common tasks.
    """

    kinds: list[str]
    sizes: list[tuple[int, int]]
    rows: list[Row]
    baseline: str | None
    counted: int
    checkpoint: bool
    unlettered: list[str]


def make_table(found: Comparison) -> PaperTable:
    """Make the table of a comparison."""
    sizes = [(len(category.tasks), len(category.families)) for category in found.categories]
    order = list(found.systems)
    if found.baseline is not None:
        order = [found.baseline, *(system for system in order if system != found.baseline)]
    rows = [
        Row(system, system == found.baseline, [_entry(category, system, found.baseline) for category in found.categories])
        for system in order
    ]
    checkpoint = any(one.checkpoint and one.mark for category in found.categories for one in category.contrasts)
    unlettered = [
        category.name
        for category in found.categories
        if found.baseline is None and category.groups is None and any(one.other_tasks.decidable for one in category.contrasts)
    ]
    kinds = [category.name for category in found.categories]
    return PaperTable(kinds, sizes, rows, found.baseline, found.counted, checkpoint, unlettered)


def _entry(category: Category, system: str, baseline: str | None) -> Entry:
    scores = category.scores.get(system, {})
    if baseline is None or system == baseline:
        letters = (category.groups or {}).get(system, "") if baseline is None else ""
        value = float(np.mean(list(scores.values()))) if scores else None
        decidable = baseline is not None or any(one.other_tasks.decidable for one in category.contrasts)
        return Entry(value, letters, decidable=decidable, tasks=len(scores))
    for one in category.contrasts:
        if one.a == system:
            return Entry(
                one.by_task.mean,
                beside_all_tasks(one),
                one.checkpoint,
                one.other_tasks.decidable,
                one.by_task.units,
                one.as_published.p <= ALPHA,
                signed=True,
                by_family=one.by_family.mean,
                with_items=len(one.these_tasks.tasks) if one.these_tasks else 0,
                carried=one.carried or not one.starred,
            )
    return Entry(None)


def caption(table: PaperTable) -> str:
    """Return what the table shows and what its marks mean."""
    over = count(table.counted, "kind of task", "kinds of task")
    if table.baseline is None:
        first = (
            "Mean scores over tasks. Systems that share a letter are not separated on other tasks of the kind, by differences "
            "of means over families of related tasks."
        )
        if table.unlettered:
            first += f" No letters for {listed(table.unlettered)}: not all pairs have enough common tasks."
    else:
        first = (
            f"First row: mean score of {name(table.baseline)} over tasks; other rows: differences from it over common tasks."
        )
        first += (
            " ** holds on other tasks of the kind, also over the whole table; * within the kind of task only, where one "
            "false star in twenty kinds is expected if nothing differs; o on these tasks only. "
            f"All are corrected for the comparisons of their kind, ** also for {over}."
        )
        if any(cell.family for row in table.rows for cell in row.cells):
            first += " Stars speak of the mean over families of related tasks; where it is another, it stands below, by family."
    sign = " c: speaks of" if table.baseline is not None else " Letters speak of"
    checkpoint = f"{sign} checkpoints, not of designs, where runs were not repeated." if table.checkpoint else ""
    if any(not cell.carried for row in table.rows for cell in row.cells):
        checkpoint += " f: only in what did not fail, not with failed runs counted as losses."
    few = any(not cell.decidable for row in table.rows for cell in row.cells)
    return f"{first}{checkpoint}{' ‡: too few families of tasks for any star.' if few else ''} (n): tasks, where not all."


def notes(cell: Entry, size: int) -> str:
    """Return the small signs after a cell's mark."""
    if cell.value is None:
        return ""
    signs = "c" if cell.mark and cell.checkpoint else ""
    signs += "" if cell.carried else "f"
    signs += "‡" if not cell.decidable else ""
    return f"{signs}{f' ({cell.tasks})' if cell.tasks != size else ''}"


def as_rows(table: PaperTable) -> list[dict[str, object]]:
    """Return the table for a CSV file: a row a system and kind of task, numbers in score units."""
    return [
        {
            "system": row.system,
            "baseline": row.baseline,
            "kind": kind,
            "value": cell.value,
            "by_family": cell.by_family,
            "difference": cell.signed,
            "mark": cell.mark,
            "checkpoint": bool(cell.mark and cell.checkpoint),
            "stands_with_failures": cell.carried,
            "decidable": cell.decidable,
            "tasks": cell.tasks,
            "of_tasks": size[0],
            "families": size[1],
            "tasks_with_items": cell.with_items,
            "star_as_published": cell.published,
        }
        for row in table.rows
        for kind, size, cell in zip(table.kinds, table.sizes, row.cells, strict=True)
    ]


def as_latex(table: PaperTable) -> str:
    """Return the table for LaTeX with the packages booktabs and threeparttable."""
    head = " & ".join(["", *(latex(kind) for kind in table.kinds)])
    sizes = " & ".join(["tasks / families", *(f"{tasks} / {families}" for tasks, families in table.sizes)])
    body = [line for row in table.rows for line in _latex_row(row, table.sizes)]
    if table.baseline is not None:
        body[0] += r" \\ \midrule"
    lines = [
        r"% \usepackage{booktabs,threeparttable}; compile with XeLaTeX or LuaLaTeX if names are not Latin",
        r"\begin{threeparttable}",
        r"\begin{tabular}{l" + "r" * len(table.kinds) + "}",
        r"\toprule",
        head + r" \\",
        sizes + r" \\",
        r"\midrule",
        *(line if line.endswith(r"\midrule") else line + r" \\" for line in body),
        r"\bottomrule",
        r"\end{tabular}",
        r"\begin{tablenotes}\footnotesize",
        r"\item " + latex(caption(table)).replace("‡", r"$\ddagger$"),
        r"\end{tablenotes}",
        r"\end{threeparttable}",
    ]
    return "\n".join(lines) + "\n"


def _latex_row(row: Row, sizes: Sequence[tuple[int, int]]) -> list[str]:
    """Return a system's line, and below it one with the means over families that its stars speak of."""
    cells = [_latex_cell(cell, size[0]) for cell, size in zip(row.cells, sizes, strict=True)]
    lines = [" & ".join([f"{{{latex(row.system)}}}", *cells])]
    if any(cell.family for cell in row.cells):
        families = [rf"{{\footnotesize ${cell.family}$}}" if cell.family else "" for cell in row.cells]
        lines.append(" & ".join([r"{\footnotesize\quad by family}", *families]))
    return lines


def _latex_cell(cell: Entry, size: int) -> str:
    number = f"${cell.number}$" if cell.value is not None else "--"
    signs = notes(cell, size).replace("‡", r"$\ddagger$")
    raised, _, small = signs.partition(" ")
    mark = f"{cell.mark.replace('*', r'{*}')}{raised}"
    return number + (rf"\textsuperscript{{{mark}}}" if mark else "") + (rf" {{\footnotesize {small}}}" if small else "")


def published_note(rows: Sequence[Row]) -> str:
    """Return how many stars the uncorrected test of papers would put, and how many of them are marked here."""
    would = [cell for row in rows for cell in row.cells if cell.published]
    kept = sum(cell.mark in ("*", "**") for cell in would)
    if not would:
        return "Papers' own test (Wilcoxon over tasks, uncorrected, tasks counted as independent) would put no star here."
    return (
        f"Papers' own test (Wilcoxon over tasks, uncorrected, tasks counted as independent) would put "
        f"{count(len(would), 'star', 'stars')} here; {kept} of them {'is' if kept == 1 else 'are'} starred above."
    )
