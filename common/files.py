"""Files are written whole or not at all; JSON is read with errors that name the file."""

from __future__ import annotations

import difflib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from common.errors import UserError
from common.json_text import json_fault, parse_json
from common.lines import read_bytes

PART = ".part-"  # how folders begin in which files are written aside
MOST_NAMES = 12  # of a directory in a message


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a file of any kind whole or not at all: yield a path beside it, which takes its place after the block.

    An error inside the block leaves ``path`` as it was. Several processes may write the same file.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_together(folder: Path, last: str) -> Iterator[Path]:
    """Write several files all or not at all: yield a folder in ``folder``, whose files take their places after it.

    An error inside the block leaves ``folder`` as it was. The file named ``last`` is moved last: where it is new, all are.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=PART, dir=folder) as name:
        aside = Path(name)
        yield aside
        files = sorted(path for path in aside.rglob("*") if path.is_file())
        files.sort(key=lambda path: path.name == last)
        for path in files:
            (folder / path.relative_to(aside)).parent.mkdir(parents=True, exist_ok=True)
        for path in files:
            path.replace(folder / path.relative_to(aside))


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Make a folder whole or not at all: yield a folder beside it, which takes its place after the block.

    An error inside the block leaves nothing.

    Raises:
        UserError: the folder exists and is not empty, or is a file, or cannot be replaced.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} exists and is not empty; give a new directory")
    if folder.name in ("", "..") or folder.is_symlink() or os.path.ismount(folder):
        where = f"{folder} is a link, a mount point or the working directory"
        raise UserError(f"{where}, in whose place no other folder can be put: give a new folder in it")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=PART, dir=folder.parent) as name:
        aside = Path(name) / (folder.name or "folder")
        aside.mkdir()
        yield aside
        aside.replace(folder)


def write_whole(path: Path, content: str | bytes) -> None:
    r"""Write a text (UTF-8) or bytes whole or not at all.

    >>> write_whole(scratch / "note.txt", "one line\n")
    >>> (scratch / "note.txt").read_text()
    'one line\n'
    """
    with replacing(path) as temporary:
        if isinstance(content, bytes):
            temporary.write_bytes(content)
        else:
            temporary.write_text(content, encoding="utf-8")


def write_json(content: Any, path: Path) -> None:
    """Write JSON whole or not at all."""
    write_whole(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        UserError: no such file, no JSON, or no object.
    """
    try:
        content = parse_json(read_bytes(path))
    except FileNotFoundError as error:
        raise UserError(f"{path.parent} has no {path.name}; it holds: {listing(path.parent)}") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is no valid JSON ({json_fault(error)}); take a fresh copy") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no JSON object")
    return content


def read_json_or_empty(path: Path) -> dict[str, Any]:
    """Read a JSON object that can be made again; return an empty one where the file is missing.

    Raises:
        UserError: the file holds something else.
    """
    try:
        content = parse_json(read_bytes(path))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({json_fault(error)}); delete it, and what it holds is made again") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no JSON object; delete it, and what it holds is made again")
    return content


def below(folder: Path, name: object, record: Path) -> Path:
    """Return the path that a record names below a folder.

    Args:
        folder: the path counts from it.
        name: as the record has it.
        record: the file that names it, for the message.

    Raises:
        UserError: the path leads out of the folder, or is none.
    """
    if not isinstance(name, str) or not name or "\0" in name or not is_below(name):
        shown = repr(name)[:100]
        raise UserError(f"{record}: {shown} must be a path below {folder}; delete the file, and what it holds is made again")
    return folder / name


def is_below(name: str) -> bool:
    """Whether a path with slashes leads to something below the folder that it counts from.

    >>> is_below("items/Task.jsonl.gz"), is_below("../Task.jsonl.gz"), is_below("/etc/passwd")
    (True, False, False)
    """
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or its type's name."""
    return f"{type(error).__name__}: {error}".splitlines()[0][:300]


def one_line(text: str) -> str:
    """Return a text on one line."""
    return " ".join(text.split())


def listing(path: Path) -> str:
    """Return some names in a directory, for messages."""
    names = []
    for entry in sorted(path.iterdir()):
        is_readable = entry.is_file() or entry.is_dir()
        names.append(entry.name if is_readable else f"{entry.name} (no file: a pipe, a device or a broken link)")
    if not names:
        return "nothing"
    shown = ", ".join(names[:MOST_NAMES])
    return f"{shown}, …" if len(names) > MOST_NAMES else shown


def neighbour(path: Path) -> str:
    """Return a hint at the entry beside ``path`` that has the most similar name, or an empty string."""
    if not path.parent.is_dir():
        return f" (nor {path.parent})"
    names = [entry.name for entry in path.parent.iterdir()]
    match = difflib.get_close_matches(path.name, names, n=1)
    return f" (did you mean {path.parent / match[0]}?)" if match else ""
