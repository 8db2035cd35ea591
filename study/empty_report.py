"""What stands in a study's folder ``report`` where nothing can be compared: which cells there are and how each of them went."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from common.files import one_line
from study.cells import Cell
from study.config import StudyConfig

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


def write_no_report(cells: Sequence[Cell], config: StudyConfig, title: str) -> list[Path]:
    """Write ``report/report.html`` and ``report/comparison.md``; a report that was there becomes ``report.before``."""
    folder = Path(config.output_dir) / "report"
    lines = [(cell.name, cell.state, one_line(cell.reason)) for cell in cells]
    if (folder / "comparison.json").exists():
        put_aside(folder)
    folder.mkdir(parents=True, exist_ok=True)
    page, text = folder / "report.html", folder / "comparison.md"
    rows = "\n".join("<tr>" + "".join(f"<td>{escape(word)}</td>" for word in line) + "</tr>" for line in lines)
    page.write_text(PAGE.format(title=escape(title), reason=REASON, rows=rows), encoding="utf-8", errors="backslashreplace")
    listed = "\n".join(f"- {cell}: {state}{f': {reason}' if reason else ''}" for cell, state, reason in lines)
    text.write_text(f"# {title}\n\n{REASON}\n\n{listed}\n", encoding="utf-8", errors="backslashreplace")
    return [page, text]


def put_aside(folder: Path) -> None:
    """Rename a folder of an earlier report to the first of ``report.before``, ``report.before2``, … that is free."""
    number = 1
    while (place := folder.with_name(f"{folder.name}.before{'' if number == 1 else number}")).exists():
        number += 1
    folder.rename(place)
