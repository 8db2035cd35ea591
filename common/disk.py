"""Checks that results can be written, before anything is encoded, and the errors that say they cannot."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from common.errors import UserError

LITTLE = 1 << 24  # bytes free, less than a file that is written here may need
# torch.save writes in C++, which says of a file that broke off at which byte, and not why.
TORCH_BROKE_OFF = re.compile(r"inline_container.*(unexpected pos|PytorchStreamWriter)", re.DOTALL)


def not_writable(folder: Path) -> str:
    """Make `folder`, try to write in it, and say why that cannot be done; "" if it can."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return f"cannot write to the directory {folder}: {error.strerror}"


def check_writable(folder: Path, flag: str = "--output_dir") -> None:
    """Make `folder` and try to write in it: hours of encoding must not end in an error that was there from the start.

    Raises:
        UserError: it cannot be made, or not be written.
    """
    if why := not_writable(folder):
        raise UserError(f"{why}; give another {flag}")


def check_apart(output: Path, inputs: Iterable[Path]) -> None:
    """Refuse an output that is one of the inputs, which would be lost.

    Raises:
        UserError: naming the file.
    """
    for path in inputs:
        if output.exists() and path.exists() and output.samefile(path):
            raise UserError(f"{output} is read and would be overwritten: give another output")


def as_os_error(error: Exception) -> OSError:
    """Return an error of a library written in Rust, which has the operating system's number in its text, as an OSError."""
    number = re.search(r"os error (\d+)", str(error))
    if number is None:
        return OSError(str(error))
    return OSError(int(number[1]), os.strerror(int(number[1])))


def chain(error: BaseException) -> list[BaseException]:
    """Return an error and what it came from, as a traceback shows it."""
    found = [error]
    while (cause := found[-1].__cause__ or (None if found[-1].__suppress_context__ else found[-1].__context__)) is not None:
        found.append(cause)
    return found


def unwritable(error: BaseException, folders: Iterable[Path] = ()) -> str:
    """Return what says that the disk is full or cannot be written, or "" if the error came from something else.

    An error in writing does not say which file it was; of `folders` those are named that have no room.
    """
    links = chain(error)
    for link in links:
        if isinstance(link, OSError) and link.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG):
            short = folders if link.errno in (errno.ENOSPC, errno.EDQUOT) else ()
            full = [str(folder) for folder in short if folder.is_dir() and shutil.disk_usage(folder).free < LITTLE]
            where = link.filename or ", ".join(full)
            return f"cannot write{f' ({where})' if where else ''}: {link.strerror}"
    if any(isinstance(link, RuntimeError) and TORCH_BROKE_OFF.search(str(link)) for link in links):
        return "cannot write: a file of torch broke off, as it does where the disk is full or a quota is used up"
    return ""
