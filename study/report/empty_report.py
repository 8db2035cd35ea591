"""The report of a study in which nothing can be compared: its cells, their states and reasons."""

from __future__ import annotations

from pathlib import Path

from common.files import one_line, write_whole
from comparison.report.page import make_empty_page
from study.study import Study

REASON = "Nothing to compare: fewer than two designs or baselines have scores."


def write_empty_report(study: Study) -> list[Path]:
    """Write ``report/report.html`` and ``report/comparison.md``; a report that was there becomes ``report.before``."""
    folder = study.output_dir / "report"
    rows, lines = [], []
    for cell in study.cells:
        reason = one_line(cell.reason)
        rows.append((cell.name, cell.state, reason))
        lines.append(f"- {cell.name}: {cell.state}: {reason}".removesuffix(": "))
    if (folder / "comparison.json").exists():
        put_aside(folder)
    folder.mkdir(parents=True, exist_ok=True)
    page, text = folder / "report.html", folder / "comparison.md"
    write_whole(page, make_empty_page(study.title, REASON, rows).encode(errors="backslashreplace"))
    markdown = f"# {study.title}\n\n{REASON}\n\n" + "\n".join(lines) + "\n"
    write_whole(text, markdown.encode(errors="backslashreplace"))
    return [page, text]


def put_aside(folder: Path) -> None:
    """Rename a folder of an earlier report to the first of ``report.before``, ``report.before2``, … that is free."""
    number = 1
    place = folder.with_name(f"{folder.name}.before")
    while place.exists():
        number += 1
        place = folder.with_name(f"{folder.name}.before{number}")
    folder.rename(place)
