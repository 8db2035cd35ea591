"""What was found out about files and is slow to find out again, kept between runs in one JSON file."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from common.errors import UserError
from common.files import read_json_or_empty, write_json
from common.hashes import digest


class Notes:
    """Texts by key. A note saves seconds: a file that is missing, damaged or cannot be written is no error.

    Args:
        path: of the file; None keeps the notes in memory alone.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._known: dict[str, str] = {}
        if path is not None:
            with contextlib.suppress(OSError, ValueError, AttributeError):
                self._known = {str(key): str(value) for key, value in json.loads(path.read_text(encoding="utf-8")).items()}

    def get(self, key: str) -> str | None:
        """Return what is noted under `key`, or None."""
        return self._known.get(key)

    def add(self, new: Mapping[str, str]) -> None:
        """Note texts, and write the file whole or not at all."""
        self._known |= new
        if self.path is None or not new:
            return
        with contextlib.suppress(OSError):  # of results that cannot be written it is said there
            self.path.parent.mkdir(parents=True, exist_ok=True)
            part = self.path.with_name(f"{self.path.name}.part")
            part.write_text(json.dumps(self._known, indent=1) + "\n", encoding="utf-8")
            part.replace(self.path)


class Hashes:
    """Hashes of files' contents, kept in a file by size and time of change: large data are read once."""

    def __init__(self, kept_in: Path) -> None:
        self.kept_in = kept_in
        try:
            self.known = read_json_or_empty(kept_in)
        except UserError:
            self.known = {}

    def of(self, path: Path) -> str:
        """Return a hash of a file's content, of a folder's files with their names, or the name of what is no local path."""
        if not path.exists():
            return f"name:{path}"
        if path.is_dir():
            files = sorted(one for one in path.rglob("*") if one.is_file())
            return digest([[str(one.relative_to(path)), self.of(one)] for one in files])
        state = path.stat()
        key = f"{path.resolve()} {state.st_size} {state.st_mtime_ns}"
        if key not in self.known:
            with path.open("rb") as stream:
                self.known[key] = hashlib.file_digest(stream, "sha256").hexdigest()
        return str(self.known[key])

    def save(self) -> None:
        """Keep them for the next time."""
        write_json(self.known, self.kept_in)
