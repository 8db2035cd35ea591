"""What was found out about files and is slow to find out again, kept between runs in one JSON file."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path


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
