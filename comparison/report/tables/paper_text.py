"""The table of papers in words and as LaTeX: its caption, the small signs beside its marks, its lines."""

from __future__ import annotations

from collections.abc import Sequence

from comparison.report.tables.paper_table import PaperCell, PaperRow, PaperTable
from comparison.report.words.names import latex, listed, name
from comparison.report.words.wording import count, when


def caption(table: PaperTable) -> str:
    """Return what the table shows and what its marks mean."""
    cells = table.cells
    if table.baseline is None:
        sentences = [*_caption_of_letters(table)]
        subject = "Letters speak of"
    else:
        sentences = [*_caption_of_differences(table, table.baseline)]
        subject = "c: speaks of"
    if table.checkpoint:
        sentences.append(f"{subject} checkpoints, not of designs, where runs were not repeated.")
    if not all(cell.carried for cell in cells):
        sentences.append("f: only in what was scored, not with failed runs and absent tasks counted as losses.")
    if not all(cell.decidable for cell in cells):
        sentences.append("‡: too few families of tasks for any star, or relations of tasks unknown.")
    sentences.append("(n): tasks, where not all.")
    return " ".join(sentences)


def _caption_of_letters(table: PaperTable) -> list[str]:
    sentences = [
        "Mean scores over tasks. Systems that share a letter are not separated on other tasks of the kind, by differences "
        "of means over families of related tasks."
    ]
    if table.unlettered:
        sentences.append(
            f"No letters for {listed(table.unlettered)}: not all pairs have enough common tasks, or there are too many groups."
        )
    return sentences


def _caption_of_differences(table: PaperTable, baseline: str) -> list[str]:
    over = count(table.counted, "kind of task", "kinds of task")
    sentences = [f"First row: mean score of {name(baseline)} over tasks; other rows: differences from it over common tasks."]
    if not any(cell.decidable and cell.signed for cell in table.cells):
        return [*sentences, "o: holds on these tasks only, corrected for the comparisons of their kind; no star can be had."]
    sentences += [
        "** holds on other tasks of the kind, also over the whole table; * within the kind of task only, where at most one "
        "kind in twenty would have a false star if nothing differed; o on these tasks only.",
        f"All are corrected for the comparisons of their kind, ** also for {over}.",
    ]
    if any(cell.family for cell in table.cells):
        sentences.append(
            "Stars speak of the mean over families of related tasks; where it is another, it stands below, by family."
        )
    return sentences


def notes(cell: PaperCell, size: int) -> str:
    """Return the small signs after a cell's mark."""
    if cell.value is None:
        return ""
    signs = when(cell.marked_checkpoint, "c") + when(not cell.carried, "f") + when(not cell.decidable, "‡")
    return signs + when(cell.tasks != size, f" ({cell.tasks})")


def as_latex(table: PaperTable) -> str:
    """Return the table for LaTeX with the packages booktabs and threeparttable."""
    sizes = [f"{tasks} / {families}" for tasks, families in table.sizes]
    body: list[str] = []
    for row in table.rows:
        body += _latex_row(row, table.sizes)
        if row.baseline:
            body[-1] += r" \midrule"
    lines = [
        r"% \usepackage{booktabs,threeparttable}; compile with XeLaTeX or LuaLaTeX if names are not Latin",
        r"\begin{threeparttable}",
        r"\begin{tabular}{l" + "r" * len(table.kinds) + "}",
        r"\toprule",
        _latex_line("", *map(latex, table.kinds)),
        _latex_line("tasks / families", *sizes),
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
        r"\begin{tablenotes}\footnotesize",
        r"\item " + _latex_signs(latex(caption(table))),
        r"\end{tablenotes}",
        r"\end{threeparttable}",
    ]
    return "\n".join(lines) + "\n"


def _latex_line(*cells: str) -> str:
    return " & ".join(cells) + r" \\"


def _latex_signs(text: str) -> str:
    return text.replace("‡", r"$\ddagger$")


def _latex_row(row: PaperRow, sizes: Sequence[tuple[int, int]]) -> list[str]:
    """Return a system's line, and below it one with the means over families that its stars speak of."""
    cells, families = [], []
    for cell, (tasks, _) in zip(row.cells, sizes, strict=True):
        cells.append(_latex_cell(cell, tasks))
        families.append(when(cell.family, rf"{{\footnotesize ${cell.family}$}}"))
    lines = [_latex_line(f"{{{latex(row.system)}}}", *cells)]
    if any(families):
        lines.append(_latex_line(r"{\footnotesize\quad by family}", *families))
    return lines


def _latex_cell(cell: PaperCell, size: int) -> str:
    text = "--"
    if cell.value is not None:
        text = f"${cell.number}$"
    raised, _, small = _latex_signs(notes(cell, size)).partition(" ")
    mark = cell.mark.replace("*", r"{*}") + raised
    return text + when(mark, rf"\textsuperscript{{{mark}}}") + when(small, rf" {{\footnotesize {small}}}")


def published_note(rows: Sequence[PaperRow]) -> str:
    """Return how many stars the uncorrected test of papers would put, and how many of them are marked here."""
    published, starred = 0, 0
    for row in rows:
        for cell in row.cells:
            if cell.published:
                published += 1
                starred += cell.mark in ("*", "**")
    test = "Papers' own test (Wilcoxon over tasks, uncorrected, tasks counted as independent)"
    if not published:
        return f"{test} would put no star here."
    if starred == 1:
        return f"{test} would put {count(published, 'star', 'stars')} here; 1 of them is starred above."
    return f"{test} would put {count(published, 'star', 'stars')} here; {starred} of them are starred above."
