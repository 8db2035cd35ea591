"""The one writer of CSV: no text becomes a formula in a spreadsheet, and numbers stay numbers."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from common.files import replacing
from common.number_check import parse_number

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # how a text begins that spreadsheets calculate


def csv_cell(value: object) -> object:
    """Return a value for a cell: a text that a spreadsheet would take for a formula gets an apostrophe in front.

    >>> csv_cell("-2+3"), csv_cell("-0.5"), csv_cell(-0.5)
    ("'-2+3", '-0.5', -0.5)
    """
    if not isinstance(value, str) or not value.lstrip(" ").startswith(FORMULA):
        return value
    if value.isascii() and "_" not in value and value == value.strip() and math.isfinite(parse_number(value)):
        return value
    return f"'{value}"


def write_csv(path: Path, rows: Iterable[Sequence[object]]) -> None:
    """Write rows, the names of the columns first, whole or not at all; half a character is written as an escape."""
    with replacing(path) as part, part.open("w", newline="", encoding="utf-8", errors="backslashreplace") as stream:
        writer = csv.writer(stream)
        for row in rows:
            writer.writerow([csv_cell(value) for value in row])
