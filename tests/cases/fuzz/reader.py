"""A reader of a user's files, as the test takes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.cases.fuzz.mutations import Draw, Files


@dataclass(frozen=True)
class Reader:
    """One reader.

    Attributes:
        name: for the table.
        files: valid ones, by name.
        read: reads a folder with such files.
        check: raises `AssertionError` unless a value is right, judged from the same folder in a plainer way.
        changes: mutations of further kinds of files, by suffix.
        weight: its part of all inputs; slow readers get fewer.
    """

    name: str
    files: Callable[[], Files]
    read: Callable[[Path], Any]
    check: Callable[[Path, Any], None]
    changes: Mapping[str, Callable[[Draw, bytes], bytes]] = field(default_factory=dict)
    weight: float = 1.0


def write(folder: Path, files: Files) -> None:
    """Write files into a new folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            path.mkdir()
        else:
            path.write_bytes(content)
