"""Write paths for other readers: from the project's folder, so that they name no machine where that is possible."""

from __future__ import annotations

import os
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]


def from_project(path: str | Path) -> str:
    """Return a path as users type it in the project's folder: relative if it lies in it or beside it, else absolute.

    >>> from_project(PROJECT / "runs" / "study")
    'runs/study'
    """
    whole = Path(os.path.normpath(Path.cwd() / path))  # not resolved: links keep their names
    if whole.is_relative_to(PROJECT):
        return str(whole.relative_to(PROJECT))
    beside = PROJECT.parent
    if beside != Path("/") and whole.is_relative_to(beside):
        return str(Path("..") / whole.relative_to(beside))
    return str(whole)
