"""Data files as rows with their places: JSON lines (.gz), Parquet, CSV and TSV, streamed. `FORMATS` is the table of formats."""

from __future__ import annotations

import contextlib
import csv
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from common import lines as text_lines
from common.errors import UserError
from common.json_text import json_decoder, parse_json
from common.lines import bounded_lines, check_first_row, decoded_line, line_fault, open_unpacked

if TYPE_CHECKING:
    import pyarrow.parquet  # type: ignore[import-untyped]

PlacedRow = tuple[str, object]  # the place of a row (``file:line``), and its content as the file has it
LONGEST_CELL = 2**31 - 1  # csv's default of 128 KiB is shorter than some documents
PARQUET_ROWS = 200  # rows of a Parquet file that are in memory at once, and their bytes
PARQUET_BYTES = 2**25


class _Repeating(dict[str, object]):
    """A JSON object in which a key stands twice; `repeated` is the first such key."""

    repeated = ""


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    content = dict(pairs)
    if len(content) == len(pairs):
        return content
    repeating = _Repeating(content)
    counts = Counter(key for key, _ in pairs)
    repeating.repeated = counts.most_common(1)[0][0]
    return repeating


_ROW_DECODER = json_decoder(_object)


def _json_rows(path: Path) -> Iterator[PlacedRow]:
    with open_unpacked(path) as file:
        for number, line in enumerate(bounded_lines(file, path), start=1):
            place = f"{path}:{number}"
            text = decoded_line(line, place, first=number == 1).strip()
            if not text:
                continue
            try:
                row = parse_json(text, _ROW_DECODER)
            except ValueError as error:
                raise UserError(f"{place}: {line_fault(path, number, text, error)}") from error
            if isinstance(row, _Repeating):
                raise UserError(f"{place}: the key {row.repeated!r} stands twice in the row: remove one of them")
            if number == 1 and isinstance(row, dict):
                check_first_row(row, place)
            yield place, row


class _CsvLines:
    """The lines of a CSV file as texts, and the number of the last one; ends of lines inside quotes stay as they are.

    `start_row` begins to count the bytes of a row: one whose quotation mark is not closed would hold the whole file.
    """

    def __init__(self, path: Path, lines: Iterable[bytes]) -> None:
        self.path, self.lines, self.number = path, lines, 0
        self.first, self.size = 1, 0

    def start_row(self) -> int:
        """Begin a row; return the number of its first line."""
        self.first, self.size = self.number + 1, 0
        return self.first

    def __iter__(self) -> Iterator[str]:
        for line in self.lines:
            pieces = line.splitlines(keepends=True) if b"\r" in line else [line]
            for piece in pieces:
                self.number += 1
                self.size += len(piece)
                if self.size > text_lines.MOST_BYTES_OF_LINE:
                    most = f"{text_lines.MOST_BYTES_OF_LINE:,} bytes"
                    raise UserError(f"{self.path}:{self.first}: the row has more than {most}; is a quotation mark not closed?")
                yield decoded_line(piece, f"{self.path}:{self.number}", first=self.number == 1)


def _csv_rows(path: Path) -> Iterator[PlacedRow]:
    return _table_rows(path, ",")


def _tsv_rows(path: Path) -> Iterator[PlacedRow]:
    return _table_rows(path, "\t")


def _table_rows(path: Path, delimiter: str) -> Iterator[PlacedRow]:
    limit = csv.field_size_limit(LONGEST_CELL)
    try:
        with open_unpacked(path) as stream:
            cells = _placed_cells(path, _CsvLines(path, bounded_lines(stream, path)), delimiter)
            place, header = next(cells, ("", []))
            _check_header(place, header)
            for place, row in cells:
                if len(row) > len(header):
                    raise UserError(
                        f"{place}: more cells than the header has columns; quote texts that hold a {_name_of(delimiter)}"
                    )
                # A row that ends early lacks keys, an empty cell is "": both are keys without a value.
                yield place, dict(zip(header, row, strict=False))
    finally:
        csv.field_size_limit(limit)


def _placed_cells(path: Path, lines: _CsvLines, delimiter: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the cells of each row with the line in which it begins; blank lines are no rows."""
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        first = lines.start_row()
        try:
            cells = next(reader, None)
        except csv.Error as error:
            inside = "" if lines.number <= first else f" in line {lines.number}, of a row that begins here"
            hint = "; is a quotation mark not closed?" if inside or "unexpected end" in str(error) else ""
            raise UserError(f"{path}:{first}: no valid CSV: {error}{inside}{hint}") from error
        if cells is None:
            return
        if cells and (len(cells) > 1 or cells[0].strip()):
            yield f"{path}:{first}", cells


def _check_header(place: str, header: list[str]) -> None:
    """Raise `UserError` for two columns of one name; columns without a name are not read."""
    for name, count in Counter(header).items():
        if name and count > 1:
            raise UserError(f"{place}: {count} columns have the name {name!r}: remove or rename all but one")


def _name_of(delimiter: str) -> str:
    return "tab" if delimiter == "\t" else "comma"


def _parquet_rows(path: Path) -> Iterator[PlacedRow]:
    import pyarrow  # type: ignore[import-untyped]  # not at the top: the flags import this module
    import pyarrow.parquet  # type: ignore[import-untyped]

    try:
        with contextlib.closing(pyarrow.parquet.ParquetFile(path)) as file:
            _check_header(str(path), file.schema_arrow.names)
            number = 0
            for batch in file.iter_batches(batch_size=_rows_at_once(file.metadata)):
                for row in _values(batch, f"{path}:row {number + 1}"):
                    number += 1
                    yield f"{path}:row {number}", row
    except (pyarrow.ArrowException, UnicodeDecodeError) as error:  # the latter for the name of a column
        raise UserError(f"{path}: no valid Parquet: {error}") from error


def _values(batch: pyarrow.RecordBatch, place: str) -> list[dict[str, object]]:
    """Return the rows of a batch.

    Raises:
        UserError: a value is none of its column's type, such as a text that is no UTF-8; it names the column.
    """
    try:
        return list(batch.to_pylist())
    except (ValueError, OverflowError):
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            try:
                column.to_pylist()
            except (ValueError, OverflowError) as error:
                raise UserError(
                    f"{place} or after it: the column {name!r} holds a value that cannot be read as {column.type}: {error}"
                ) from error
        raise


def _rows_at_once(metadata: pyarrow.parquet.FileMetaData) -> int:
    """Return the number of rows to hold in memory: few, where the rows of a group are large on average."""
    result = PARQUET_ROWS
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        largest = max(1, group.total_byte_size // max(1, group.num_rows))
        result = min(result, max(1, PARQUET_BYTES // largest))
    return result


@dataclass(frozen=True)
class FileFormat:
    """A format of data files.

    Attributes:
        suffixes: ends of file names.
        rows: reads a file row by row.
        in_folders: whether such a file is read when it lies in a folder, and not only when it is named itself.
    """

    suffixes: tuple[str, ...]
    rows: Callable[[Path], Iterator[PlacedRow]]
    in_folders: bool = True


FORMATS = (
    FileFormat((".jsonl", ".jsonl.gz"), _json_rows),
    FileFormat((".parquet",), _parquet_rows),
    FileFormat((".csv", ".csv.gz"), _csv_rows),
    FileFormat((".tsv", ".tsv.gz"), _tsv_rows),
    FileFormat((".json", ".json.gz"), _json_rows, in_folders=False),  # in a folder it is mostly somebody's metadata
)
SUFFIXES = tuple(suffix for file_format in FORMATS for suffix in file_format.suffixes)
FOLDER_SUFFIXES = tuple(suffix for file_format in FORMATS if file_format.in_folders for suffix in file_format.suffixes)


def is_data_file(name: str) -> bool:
    """Whether the name ends as one of the formats that are read."""
    return name.lower().endswith(SUFFIXES)


def rows(path: Path) -> Iterator[PlacedRow]:
    """Yield every row of a file with its place (``file:line``; in Parquet ``file:row N``), one at a time.

    Raises:
        UserError: the file cannot be read, or a line is damaged; the message names it.
    """
    name = path.name.lower()
    file_format = next(candidate for candidate in FORMATS if name.endswith(candidate.suffixes))
    try:
        yield from file_format.rows(path)
    except (OSError, EOFError, zlib.error) as error:  # a cut or damaged .gz is an EOFError, BadGzipFile or zlib.error
        raise UserError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
