"""Reading and writing the small JSON files of a study, and hashes of its data that are not computed twice."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from model_loaders.errors import UserError


def write_json(content: Any, path: Path) -> None:
    """Write JSON whole or not at all, also where several processes write the same file."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    temporary.replace(path)


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object, empty where there is no such file.

    Raises:
        UserError: the file holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); delete it, and what it holds is made again") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no JSON object; delete it, and what it holds is made again")
    return content


def digest(about: Any) -> str:
    """Return a hash of JSON values."""
    return hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode()).hexdigest()


class Hashes:
    """Hashes of files' contents, kept in a file by size and time of change: large data are read once."""

    def __init__(self, kept_in: Path) -> None:
        self.kept_in = kept_in
        try:
            self.known = read_json(kept_in)
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


def one_line(text: str) -> str:
    """Return a text on one line."""
    return " ".join(text.split())
