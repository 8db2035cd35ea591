"""The report of a study in which nothing can be compared: its cells, and how each of them went."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from common.files import one_line
from comparison.report.page import make_empty_page
from study.cells import Cell
from study.config import StudyConfig

REASON = "Nothing to compare: fewer than two designs or baselines have scores."


def write_no_report(cells: Sequence[Cell], config: StudyConfig, title: str) -> list[Path]:
    """Write ``report/report.html`` and ``report/comparison.md``; a report that was there becomes ``report.before``."""
    folder = Path(config.output_dir) / "report"
    if (folder / "comparison.json").exists():
        put_aside(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rows, lines = [], []
    for cell in cells:
        reason = one_line(cell.reason)
        rows.append((cell.name, cell.state, reason))
        line = f"- {cell.name}: {cell.state}"
        if reason:
            line += f": {reason}"
        lines.append(line)
    page, text = folder / "report.html", folder / "comparison.md"
    page.write_text(make_empty_page(title, REASON, rows), encoding="utf-8", errors="backslashreplace")
    markdown = f"# {title}\n\n{REASON}\n\n" + "\n".join(lines) + "\n"
    text.write_text(markdown, encoding="utf-8", errors="backslashreplace")
    return [page, text]


def put_aside(folder: Path) -> None:
    """Rename a folder of an earlier report to the first of ``report.before``, ``report.before2``, … that is free."""
    place, number = folder.with_name(f"{folder.name}.before"), 1
    while place.exists():
        number += 1
        place = folder.with_name(f"{folder.name}.before{number}")
    folder.rename(place)
