"""The files of local task folders: which of them hold data, and their rows, checked line by line when they are read.

What a folder may hold is said in `evaluation/tasks/schemas.py`.
"""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast

from common.errors import UserError
from common.json_text import parse_json
from common.lines import DAMAGED, iter_lines, line_fault
from evaluation.tasks.schemas import Content, FileColumn, TaskRow

SUFFIXES = (".jsonl.gz", ".jsonl", ".tsv")
SMALLEST_INTEGER, LARGEST_INTEGER = -(2**63), 2**63 - 1  # of Arrow and numpy


def stem(path: Path) -> str:
    """Return the file's name without its data suffix (`test` of `test.jsonl.gz`), or "" if it is no data file."""
    for suffix in SUFFIXES:
        if path.name.endswith(suffix):
            return path.name.removesuffix(suffix)
    return ""


def data_files(folder: Path) -> list[Path]:
    """Return the data files of a task folder, `qrels/*.tsv` included, sorted by path."""
    candidates = [*folder.glob("*.jsonl*"), *folder.glob("qrels/*.tsv")]
    return sorted(path for path in candidates if path.is_file() and stem(path))


def write_rows(path: Path, rows: Iterable[TaskRow]) -> None:
    """Write rows as compressed JSON lines into a folder that is made if missing; equal rows make equal bytes."""
    text = ""
    for row in rows:
        text += json.dumps(row, ensure_ascii=False) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode(), mtime=0))


def iter_rows(path: Path, columns: Sequence[FileColumn] = ()) -> Iterator[TaskRow]:
    """Yield the rows of a file, as `placed_rows` does."""
    for _, row in placed_rows(path, columns):
        yield row


def placed_rows(path: Path, columns: Sequence[FileColumn] = ()) -> Iterator[tuple[str, TaskRow]]:
    """Yield the rows of a JSON lines or TSV file with their places (``file:line``); values of `columns` are checked.

    Raises:
        UserError: the file is missing, a line is no JSON object, lacks a required column or has a value of another kind; the
            message names file and line.
    """
    try:
        if path.suffix == ".tsv":
            yield from _table_rows(path, columns)
            return
        for number, line in iter_lines(path):
            if line.strip():
                place = f"{path}:{number}"
                yield place, _parse(_object_of(path, number, line), columns, place)
    except FileNotFoundError:
        present = [file.name for file in data_files(path.parent)]
        raise UserError(f"{path} is missing; the folder has {present}") from None
    except DAMAGED as error:
        raise UserError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _table_rows(path: Path, columns: Sequence[FileColumn]) -> Iterator[tuple[str, TaskRow]]:
    """Yield the rows of a table whose cells are parted by tabs and never quoted; empty lines are passed over."""
    names: list[str] = []
    needed = [column.name for column in columns if column.required]
    for number, line in iter_lines(path):
        if not line.strip():
            continue
        cells = line.rstrip("\n").split("\t")
        if not names:
            names = cells
            for name in names:
                if name and names.count(name) > 1:
                    raise UserError(f"{path}:{number}: two columns have the name {name!r}: remove or rename all but one")
            if not set(needed).issubset(names):
                raise UserError(f"{path}:{number}: the first line must name the columns {', '.join(needed)}")
            continue
        place = f"{path}:{number}"
        if len(cells) > len(names):
            raise UserError(f"{place}: {len(cells)} cells, the first line names {len(names)} columns")
        row = {name: cell for name, cell in zip(names, cells, strict=False) if cell}
        yield place, _checked(row, columns, place)
    if not names:
        raise UserError(f"{path}: the first line must name the columns {', '.join(needed)}")


def _object_of(path: Path, number: int, line: str) -> object:
    """Return what a line of JSON holds."""
    try:
        return parse_json(line)
    except ValueError as error:
        raise UserError(f"{path}:{number}: {line_fault(path, number, line, error)}") from None


def _parse(content: object, columns: Sequence[FileColumn], where: str) -> TaskRow:
    if not isinstance(content, Mapping):
        raise UserError(f"{where}: a line must be one JSON object, this is a {type(content).__name__}")
    row = dict(content)
    if "_id" in row:  # BEIR's name
        row.setdefault("id", row.pop("_id"))
    return _checked(row, columns, where)


def _checked(row: TaskRow, columns: Sequence[FileColumn], where: str) -> TaskRow:
    """Return a row whose columns have values of their content; whole numbers as ids become their digits."""
    missing = [column.name for column in columns if column.required and row.get(column.name) is None]
    if missing:
        raise UserError(f"{where}: no {' and no '.join(missing)}; the keys are {', '.join(row)}")
    for column in columns:
        value = row.get(column.name)
        if value is None:
            continue
        if fault := CHECKS[column.content](value) or _half_character(value):
            raise UserError(f"{where}: {column.name} {fault}, found {json.dumps(value)[:60]}")
        if column.content is Content.ID:
            row[column.name] = identity(value)
    return row


def identity(value: object) -> str:
    """Return an id as a text: 7.0, as pandas writes whole numbers of a column with gaps, is 7.

    >>> identity(7.0), identity("7"), identity("7.0")
    ('7', '7', '7.0')
    """
    if isinstance(value, float):
        value = int(value)
    return str(value)


# Each check returns what is wrong with a value of that content, or "".


def _text_fault(value: object) -> str:
    if isinstance(value, str):
        return ""
    return "must be a text"


def _texts_fault(value: object) -> str:
    if isinstance(value, list) and all(isinstance(text, str) for text in value):
        return ""
    example = json.dumps(["a text"])
    if isinstance(value, str):
        example = json.dumps([value], ensure_ascii=False)
    return f"must be a list of texts: write {example[:60]}"


def _id_fault(value: object) -> str:
    if isinstance(value, float):
        valid = value.is_integer()  # 7.0 is how pandas writes whole numbers of a column with gaps
    else:
        valid = isinstance(value, str | int) and not isinstance(value, bool) and value != ""
    return "" if valid else "must be a text that is not empty, or a whole number"


def _label_fault(value: object) -> str:
    if not isinstance(value, str | int):
        return "must be a text or a whole number"
    if isinstance(value, int) and not SMALLEST_INTEGER <= value <= LARGEST_INTEGER:
        return "must fit 64 bits: write it as a text"
    return ""


def _score_fault(value: object) -> str:
    try:
        finite = math.isfinite(float(cast(float, value)))
    except (TypeError, ValueError, OverflowError):
        return "must be a number"
    return "" if finite else "must be a finite number"


CHECKS = {
    Content.TEXT: _text_fault,
    Content.TEXTS: _texts_fault,
    Content.ID: _id_fault,
    Content.LABEL: _label_fault,
    Content.SCORE: _score_fault,
}


def _half_character(value: object) -> str:
    """Return that a text cannot be encoded, or ""."""
    try:
        if isinstance(value, list):
            "".join(value).encode()
        else:
            str(value).encode()
    except UnicodeEncodeError:
        return "has half a character (a lone surrogate)"
    return ""
