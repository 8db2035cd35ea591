"""The report of a study in which nothing can be compared: its cells, their states and reasons."""

from __future__ import annotations

from html import escape
from pathlib import Path

from common.files import one_line, write_whole
from study.study import Study

REASON = "Nothing to compare: fewer than two designs or baselines have scores."
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>
:root {{ color-scheme: light dark; font-family: system-ui, sans-serif; }}
body {{ max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
th, td {{ text-align: left; padding: .3rem .8rem .3rem 0; vertical-align: top; }}
td:first-child, td:last-child {{ overflow-wrap: anywhere; }}
</style></head><body><h1>{title}</h1><p>{reason}</p>
<table><thead><tr><th scope="col">cell</th><th scope="col">state</th><th scope="col">reason</th></tr></thead>
<tbody>
{rows}
</tbody></table></body></html>
"""


def write_empty_report(study: Study) -> list[Path]:
    """Write ``report/report.html`` and ``report/comparison.md``; a report that was there becomes ``report.before``."""
    folder = study.output_dir / "report"
    rows, lines = [], []
    for cell in study.cells:
        reason = one_line(cell.reason)
        figures = "".join(f"<td>{escape(text)}</td>" for text in (cell.name, cell.state, reason))
        rows.append(f"<tr>{figures}</tr>")
        lines.append(f"- {cell.name}: {cell.state}: {reason}".removesuffix(": "))
    if (folder / "comparison.json").exists():
        put_aside(folder)
    folder.mkdir(parents=True, exist_ok=True)
    page, text = folder / "report.html", folder / "comparison.md"
    content = PAGE.format(title=escape(study.title), reason=REASON, rows="\n".join(rows))
    write_whole(page, content.encode(errors="backslashreplace"))
    listed = "\n".join(lines)
    write_whole(text, f"# {study.title}\n\n{REASON}\n\n{listed}\n".encode(errors="backslashreplace"))
    return [page, text]


def put_aside(folder: Path) -> None:
    """Rename a folder of an earlier report to the first of ``report.before``, ``report.before2``, … that is free."""
    number = 1
    place = folder.with_name(f"{folder.name}.before")
    while place.exists():
        number += 1
        place = folder.with_name(f"{folder.name}.before{number}")
    folder.rename(place)
