"""Files of users, opened and read in bounded memory: no pipe, no device, no line without an end."""

from __future__ import annotations

import codecs
import errno
import gzip
import json
import os
import stat
import zlib
from collections.abc import Iterator
from io import BufferedReader, FileIO
from pathlib import Path
from typing import Any, BinaryIO, cast

from common.errors import UserError
from common.json_text import json_fault, parse_json

MOST_BYTES = 1 << 30  # of a file that is read as a whole
MOST_BYTES_OF_LINE = 1 << 27
MOST_BYTES_OF_VALUE = 1 << 26  # of a file that is tried as one JSON value, for a message
DAMAGED = (OSError, EOFError, zlib.error)  # what reading a file may raise; a cut or damaged .gz is any of them


def open_regular(path: Path) -> BufferedReader:
    """Open a file for reading; a pipe would wait for ever, and a device may have no end.

    Raises:
        OSError: it is missing, not readable, a folder, or no regular file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe without a writer would block here
    except ValueError:  # NUL, or half a character
        raise OSError(errno.EINVAL, "its name cannot be that of a file", str(path)) from None
    kind = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(kind):
        os.close(descriptor)
        if stat.S_ISDIR(kind):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        raise OSError(errno.EINVAL, "it is no regular file but a pipe or a device", str(path))
    return os.fdopen(descriptor, "rb")


def open_unpacked(path: Path) -> BinaryIO:
    """Open a file as `open_regular` does, one whose name ends in ``.gz`` unpacked.

    Raises:
        OSError: as `open_regular`.
    """
    file = open_regular(path)
    if not path.name.lower().endswith(".gz"):
        return file
    packed = gzip.GzipFile(fileobj=file)
    packed.myfileobj = cast(FileIO, file)  # closed with it
    return cast(BinaryIO, packed)


def read_bytes(path: Path, most: int = MOST_BYTES) -> bytes:
    """Return a file's content.

    Raises:
        OSError: as `open_regular`; or it is larger than ``most`` bytes.
    """
    with open_regular(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"it has more than {most:,} bytes", str(path))
    return content


def read_text(path: Path, encoding: str = "utf-8") -> str:
    """Return a small file's text; ends of lines become a line feed.

    Raises:
        OSError: as `read_bytes`; or it is in another encoding, and ``strerror`` names the line.
    """
    content = read_bytes(path)
    try:
        return content.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise OSError(errno.EILSEQ, f"it is not UTF-8 in line {line} ({error.reason})", str(path)) from error


def iter_lines(path: Path, most: int | None = None) -> Iterator[tuple[int, str]]:
    """Yield the number and the text of each line of a plain or gzip-compressed file in UTF-8.

    The mark that some editors put in front of UTF-8 is no part of the text.

    Args:
        path: of the file.
        most: bytes of all lines together; None where whoever reads them keeps none.

    Raises:
        UserError: a line is no UTF-8 or has no end, or there are more than ``most`` bytes; the message names file and line.
        OSError, EOFError, zlib.error: the file cannot be read (`DAMAGED`).
    """
    total = number = 0
    with open_unpacked(path) as file:
        for line in bounded_lines(file, path):
            total += len(line)
            if most is not None and total > most:
                raise UserError(f"{path}:{number + 1}: the file has more than {most:,} bytes")
            pieces = [line]
            if b"\r" in line:
                pieces = line.replace(b"\r\n", b"\n").replace(b"\r", b"\n").splitlines(keepends=True)
            for piece in pieces:
                number += 1
                yield number, decoded_line(piece, f"{path}:{number}", first=number == 1)


def json_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the objects of a JSON lines file (``.gz`` too) with their places (``file:line``); blank lines are no rows.

    Raises:
        UserError: the file cannot be read, or a line is no JSON object; the message names it.
    """
    try:
        for number, line in iter_lines(path):
            if not line.strip():
                continue
            place = f"{path}:{number}"
            try:
                row = parse_json(line)
            except ValueError as error:
                raise UserError(f"{place}: {line_fault(path, number, line, error)}") from error
            if not isinstance(row, dict):
                raise UserError(f"{place}: the line holds no JSON object")
            if number == 1:
                check_first_row(row, place)
            yield place, row
    except DAMAGED as error:
        raise UserError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error


def line_fault(path: Path, number: int, text: str, error: ValueError) -> str:
    """Say why a line of a JSON lines file is no JSON, or that the file is one JSON value over several lines.

    Args:
        path: of the file.
        number: of the line, from 1.
        text: the line.
        error: of `parse_json`.
    """
    text = text.strip()
    if number == 1 and text.startswith(("{", "[")) and (text in ("{", "[") or _is_one_value(path)):
        return "JSON lines are expected, one object a line; this file is one JSON value over several lines"
    hint = ""
    if number == 1 and text.startswith("["):
        hint = "; one object a line is expected, not one array"
    elif text.startswith("{") and isinstance(error, json.JSONDecodeError) and error.msg == "Extra data":
        hint = "; one object a line is expected, and this line goes on behind its first"
    return f"no valid JSON: {json_fault(error)}{hint}"


def check_first_row(row: dict[str, Any], place: str) -> None:
    """Raise a UserError for a first row that holds all rows of a file, as ``{"data": [{...}, {...}]}`` does."""
    for key, value in row.items():
        if len(row) == 1 and value and isinstance(value, list) and all(isinstance(item, dict) for item in value):
            raise UserError(f"{place}: JSON lines are expected, one object a line; this one has a list of them as {key!r}")


def _is_one_value(path: Path) -> bool:
    """Whether a file as a whole is JSON."""
    try:
        with open_unpacked(path) as file:
            content = file.read(MOST_BYTES_OF_VALUE + 1)
        parse_json(content)
    except (*DAMAGED, ValueError):
        return False
    return True


def bounded_lines(file: BinaryIO, path: Path) -> Iterator[bytes]:
    """Yield the lines of an open file, ends included, none of which may be endless.

    Args:
        file: open for reading.
        path: of it, for the message.

    Raises:
        UserError: a line has more than `MOST_BYTES_OF_LINE` bytes; the message names file and line.
    """
    number = 0
    while line := file.readline(MOST_BYTES_OF_LINE + 1):
        number += 1
        if len(line) > MOST_BYTES_OF_LINE:
            raise UserError(f"{path}:{number}: the line has more than {MOST_BYTES_OF_LINE:,} bytes")
        yield line


def decoded_line(line: bytes, where: str, *, first: bool) -> str:
    """Return the text of a line, of the first one without the mark that some editors put in front of UTF-8.

    Raises:
        UserError: it is no UTF-8; the message begins with ``where``.
    """
    try:
        return line.decode("utf-8-sig" if first else "utf-8")
    except UnicodeDecodeError as error:
        is_utf16 = first and line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        encoding = "UTF-16" if is_utf16 else "LATIN1"
        raise UserError(
            f"{where}: no UTF-8: {error.reason} at byte {error.start} of the line. The file is not UTF-8: convert it, for "
            f"example from {encoding}: iconv -f {encoding} -t UTF-8 FILE > NEW_FILE"
        ) from error
