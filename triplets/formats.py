"""Data files as rows with their places: JSON lines (.gz), Parquet and CSV, streamed. `FORMATS` is the table of formats."""

from __future__ import annotations

import contextlib
import csv
import io
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from common.errors import UserError
from common.files import listing
from common.json_text import json_fault, parse_json
from common.lines import iter_lines, open_unpacked

PlacedRow = tuple[str, object]  # the place of a row (``file:line``), and its content as the file has it
LONGEST_CELL = 2**31 - 1  # csv's default of 128 KiB is shorter than some documents
PARQUET_ROWS = 1000  # rows of a Parquet file that are in memory at once


def _open(path: Path) -> IO[bytes]:
    return open_unpacked(path)


def _json_rows(path: Path) -> Iterator[PlacedRow]:
    for number, line in iter_lines(path):
        place = f"{path}:{number}"
        text = line.strip()
        if text:
            try:
                yield place, parse_json(text)
            except ValueError as error:
                hint = "; one object a line is expected, not one array" if number == 1 and text.startswith("[") else ""
                raise UserError(f"{place}: no valid JSON: {json_fault(error)}{hint}") from error


def _csv_rows(path: Path) -> Iterator[PlacedRow]:
    limit = csv.field_size_limit(LONGEST_CELL)
    try:
        with _open(path) as raw, io.TextIOWrapper(raw, encoding="utf-8-sig", newline="") as text:
            reader = csv.DictReader(text, strict=True)
            while True:
                try:
                    row = next(reader, None)
                except (csv.Error, UnicodeDecodeError) as error:
                    raise UserError(f"{path}:{reader.line_num + 1}: no valid CSV: {error}") from error
                if row is None:
                    return
                place = f"{path}:{reader.line_num}"
                if None in row:
                    raise UserError(f"{place}: more cells than the header has columns; quote texts that hold a comma")
                # A row that ends early has None, an empty cell "": both are keys without a value.
                yield place, {key: value for key, value in row.items() if value is not None}
    finally:
        csv.field_size_limit(limit)


def _parquet_rows(path: Path) -> Iterator[PlacedRow]:
    import pyarrow  # type: ignore[import-untyped]  # not at the top: the flags import this module
    import pyarrow.parquet  # type: ignore[import-untyped]

    try:
        with contextlib.closing(pyarrow.parquet.ParquetFile(path)) as file:
            number = 0
            for batch in file.iter_batches(batch_size=PARQUET_ROWS):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path}:row {number}", row
    except pyarrow.ArrowException as error:
        raise UserError(f"{path}: no valid Parquet: {error}") from error


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
    FileFormat((".json", ".json.gz"), _json_rows, in_folders=False),  # in a folder it is mostly somebody's metadata
)
SUFFIXES = tuple(suffix for file_format in FORMATS for suffix in file_format.suffixes)
FOLDER_SUFFIXES = tuple(suffix for file_format in FORMATS if file_format.in_folders for suffix in file_format.suffixes)

# File names as data sets on the hub have them: train-00000-of-00002.parquet, validation.jsonl, test.csv.
_SPLIT_NAME = re.compile(r"(train|validation|valid|val|dev|test)(?![a-z])", re.IGNORECASE)
_SAME_SPLIT = {"valid": "validation", "val": "validation", "dev": "validation"}


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


def data_files(path: Path, split: str | None = None) -> list[Path]:
    """Return the data files that ``path`` stands for, in the order in which they are read.

    A folder stands for all its data files, subfolders included, in the order of their names. Where some are named after a
    split (``test.jsonl``), only those of ``split`` count, so that a folder that holds a whole data set is not trained
    on with its test set; files with other names then count for ``train``.

    Args:
        path: a file or a folder.
        split: the split to read; None where it makes no difference.

    Raises:
        UserError: a file of another format, or a folder without data files (of this split).
    """
    if not path.is_dir():
        if not is_data_file(path.name):
            raise UserError(f"{path}: no data format is known by this name; it must end in {', '.join(SUFFIXES)}")
        return [path]
    files = _files_in(path)
    if not files:
        raise UserError(f"{path}: no data files ({', '.join(FOLDER_SUFFIXES)}) in this folder; it holds {listing(path)}")
    if split is None or not any(_SPLIT_NAME.match(file.name) for file in files):
        return files
    files_of_split = [file for file in files if _split_of(file) == _SAME_SPLIT.get(split, split)]
    if not files_of_split:
        names = ", ".join(file.name for file in files[:8])
        raise UserError(f"{path}: none of the {len(files)} data files belongs to the split {split!r}: {names}")
    return files_of_split


def _files_in(folder: Path) -> list[Path]:
    """Return the data files in a folder, sorted; files and folders whose names begin with a dot are left out."""
    files = []
    for file in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
        if file.name.lower().endswith(FOLDER_SUFFIXES) and not hidden and file.is_file():
            files.append(file)
    return sorted(files)


def _split_of(file: Path) -> str:
    match = _SPLIT_NAME.match(file.name)
    name = match.group(1).lower() if match else "train"
    return _SAME_SPLIT.get(name, name)
