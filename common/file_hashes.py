"""Hashes of files, remembered between runs by size and time of change, so that large files are read once."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping
from pathlib import Path

from common.errors import UserError
from common.files import read_json_or_empty, write_json
from common.hashes import digest
from common.lines import open_regular


class Notes:
    """Texts by key in a JSON file; they only save time, so a file that is missing, damaged or read-only is no error.

    Args:
        path: of the file; None keeps the notes in memory alone.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._texts: dict[str, str] = {}
        if path is not None:
            with contextlib.suppress(UserError):
                content = read_json_or_empty(path)
                self._texts = {str(key): str(text) for key, text in content.items()}

    def get(self, key: str) -> str | None:
        """Return the text under `key`, or None."""
        return self._texts.get(key)

    def add(self, texts: Mapping[str, str]) -> None:
        """Note texts, and write the file."""
        self._texts |= texts
        if self.path is None or not texts:
            return
        with contextlib.suppress(OSError):  # whoever writes results there reports it
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_json(self._texts, self.path)


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file's content in hexadecimal digits.

    Raises:
        OSError: the file cannot be read, or is a pipe or a device, which may have no end.
    """
    with open_regular(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def file_state(path: Path) -> str:
    """Return a text that changes whenever a file does; an inode's time of change cannot be set by hand."""
    stat = path.stat()
    return f"{path.resolve()}|{stat.st_size}|{stat.st_ino}|{stat.st_mtime_ns}|{stat.st_ctime_ns}"


class FileHashes:
    """Hashes of files' contents, kept in a JSON file, or in memory alone where there is no ``path``."""

    def __init__(self, path: Path | None = None) -> None:
        self._notes = Notes(path)
        self._unsaved: dict[str, str] = {}

    def hash_of(self, path: Path) -> str:
        """Return a hash of a file's content, of a folder's files with their names, or the name of what is no local path.

        Raises:
            UserError: the file cannot be read.
        """
        if not path.exists():
            return f"name:{path}"
        if path.is_dir():
            files = sorted(file for file in path.rglob("*") if file.is_file())
            return digest([[str(file.relative_to(path)), self.hash_of(file)] for file in files])
        state = file_state(path)
        known = self._notes.get(state) or self._unsaved.get(state)
        if known is None:
            try:
                known = self._unsaved[state] = file_hash(path)
            except OSError as error:
                raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error
        return known

    def save(self) -> None:
        """Keep the hashes for the next time."""
        self._notes.add(self._unsaved)
