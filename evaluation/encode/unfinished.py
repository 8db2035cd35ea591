"""What a run was encoding when it was killed, so that texts that are encoded a second time are counted."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path


class Journal:
    """Notes in a task's working folder: shards that were begun and not saved, texts that were encoded a second time.

    The notes are of one output directory; a store of vectors may be shared between many. That they cannot be written is no
    reason to stop: the count is then too low, and the store has said that the disk cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._mine: set[str] = set()

    def begin(self, key: str, texts: int) -> int:
        """Note that a shard of `texts` texts is being encoded; return how many of them an earlier run had begun."""
        note = self.folder / "begun" / key
        again = texts if key not in self._mine and note.exists() else 0
        self._mine.add(key)
        with contextlib.suppress(OSError):
            note.parent.mkdir(parents=True, exist_ok=True)
            if again:
                with (self.folder / "again.txt").open("a", encoding="utf-8") as file:
                    file.write(f"{key} {again}\n")
            note.touch()
        return again

    def end(self, key: str) -> None:
        """Note that a shard is saved."""
        with contextlib.suppress(OSError):
            (self.folder / "begun" / key).unlink(missing_ok=True)

    def again(self) -> int:
        """Return how many texts all runs of this task have encoded a second time."""
        try:
            lines = (self.folder / "again.txt").read_text(encoding="utf-8").splitlines()
        except OSError:
            return 0
        return sum(int(line.split()[1]) for line in lines if len(line.split()) == 2 and line.split()[1].isdecimal())

    def remove(self) -> None:
        """Remove the working folder, and those above it that it leaves empty: the task is finished."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            self.folder.parent.rmdir()
            self.folder.parent.parent.rmdir()
