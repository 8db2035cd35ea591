"""Score against the bytes of a vector, from the ``compression.csv`` that ``python -m evaluation.compression`` writes."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from common.lines import read_bytes
from common.number_check import parse_number
from comparison.errors import ComparisonError
from comparison.report.plots.drawing import COLOURS, DASHES, MARKERS, SERIES, Plot, render
from comparison.report.words.names import name, short_names
from comparison.report.words.wording import hundredths, points

FILE = "compression.csv"
COLUMNS = ("dimensions", "precision", "bytes", "mean")
LARGEST_VECTOR = 2**40  # bytes; beyond it the file is damaged


@dataclass(frozen=True)
class Compression:
    """The scores of one model with fewer numbers and bits a vector.

    Attributes:
        model: its name.
        rows: width, precision, bytes and mean score of each setting; the first is the vector as it is.
    """

    model: str
    rows: Sequence[tuple[int, str, int, float]]


def read_compressions(directories: Sequence[Path]) -> list[Compression]:
    """Read the table of each directory that has one.

    Raises:
        ComparisonError: a table is damaged.
    """
    tables = []
    for directory in directories:
        if (directory / FILE).is_file():
            tables.append(read_compression(directory / FILE))
    return tables


def read_compression(path: Path) -> Compression:
    """Read one table; a model without a name, as older tables have it, is called as the table's folder.

    Raises:
        ComparisonError: a column is missing, or a row has no numbers.
    """
    model, rows = path.resolve().parent.name, []
    try:
        lines = list(csv.DictReader(io.StringIO(read_bytes(path).decode("utf-8"))))
        for line in lines:
            width, size, mean = (parse_number(line[column]) for column in ("dimensions", "bytes", "mean"))
            if not (math.isfinite(mean) and 1 <= width <= LARGEST_VECTOR and 1 <= size <= LARGEST_VECTOR):
                raise ValueError(f"a row has {line}")
            rows.append((int(width), line["precision"], int(size), mean))
            model = line.get("model") or model
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ComparisonError(
            f"{path} is no table of python -m evaluation.compression ({', '.join(COLUMNS)}): {error}; make it again, or "
            "remove it"
        ) from error
    if not rows:
        raise ComparisonError(f"{path} has no rows; make it again with python -m evaluation.compression, or remove it")
    return Compression(model, rows)


def draw_compression(tables: Sequence[Compression], stem: str) -> Plot | None:
    """Draw mean scores against bytes, a line for each model and precision; None without a table."""
    if not tables:
        return None
    figure = Figure(figsize=(4.4, 2.6), layout="constrained")
    axes = figure.add_subplot()
    precisions = list(dict.fromkeys(precision for table in tables for _, precision, _, _ in table.rows))
    labels = short_names([table.model for table in tables], 24)
    for number, table in enumerate(tables):
        for place, precision in enumerate(precisions):
            line = sorted((size, 100 * mean) for _, of_row, size, mean in table.rows if of_row == precision)
            if not line:
                continue
            label = precision if len(tables) == 1 else f"{labels[table.model]}, {precision}"
            sizes, scores = zip(*line, strict=True)
            marker, colour, dash = MARKERS[place % len(MARKERS)], SERIES[place % len(SERIES)], DASHES[number % len(DASHES)]
            axes.plot(sizes, scores, ls=dash, lw=1.3, ms=5, label=label, marker=marker, color=colour)
    _scale(figure, tables)
    figure.legend(loc="outside right upper")
    svg, png = render(figure)
    names = ", ".join(name(table.model) for table in tables)
    alt = f"Mean score against the bytes of a vector, for {names}; the table below has the numbers."
    caption = (
        "Each line is a precision, its points are widths. The scores are means over tasks; they describe and test nothing. "
        "Each text was encoded once and its vector cut and rounded afterwards."
    )
    head = ["model", "numbers", "precision", "bytes", "mean score", "change"]
    return Plot(stem, "Score against bytes a vector", alt, caption, svg, png, head, _rows(tables))


def _scale(figure: Figure, tables: Sequence[Compression]) -> None:
    """Give the axis of bytes powers of two, and a tick at each size while they are few."""
    (axes,) = figure.axes
    sizes = sorted({size for table in tables for _, _, size, _ in table.rows})
    axes.set_xscale("log", base=2)
    exponents = range(math.floor(math.log2(sizes[0])), math.ceil(math.log2(sizes[-1])) + 1)
    ticks = [2**exponent for exponent in exponents][:: -(-len(exponents) // 6)]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.margins(x=0.08, y=0.12)
    axes.set_xlabel("bytes a vector")
    axes.set_ylabel("mean score, points")
    axes.grid(color=COLOURS["line"])


def _rows(tables: Sequence[Compression]) -> list[list[str]]:
    """Return a row for each setting, with its change against the vector as it is."""
    rows = []
    for table in tables:
        first = table.rows[0][3]
        for number, (width, precision, size, mean) in enumerate(table.rows):
            change = points(mean - first) if number else ""
            rows.append([name(table.model), str(width), name(precision), f"{size:,}", hundredths(mean), change])
    return rows
