"""Notes of the shards that are being encoded: after a kill they tell which texts are encoded a second time."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path


class UnfinishedShards:
    """Notes in a task's working folder: shards that were begun and not saved, and texts that were encoded a second time.

    The notes belong to one output directory, while many directories may share a store of vectors. A note that cannot be
    written does not stop a run: the count is then too low, and the store has warned that the disk cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._begun_here: set[str] = set()

    def begin(self, key: str, texts: int) -> int:
        """Note that a shard of `texts` texts is being encoded; return how many of them an earlier run had begun."""
        note = self.folder / "begun" / key
        repeated = 0
        if key not in self._begun_here and note.exists():
            repeated = texts
        self._begun_here.add(key)
        with contextlib.suppress(OSError):
            note.parent.mkdir(parents=True, exist_ok=True)
            if repeated:
                with (self.folder / "again.txt").open("a", encoding="utf-8") as file:
                    file.write(f"{key} {repeated}\n")
            note.touch()
        return repeated

    def end(self, key: str) -> None:
        """Note that a shard is saved."""
        with contextlib.suppress(OSError):
            (self.folder / "begun" / key).unlink(missing_ok=True)

    def again(self) -> int:
        """Return how many texts all runs of this task have encoded a second time; a half-written line does not count."""
        try:
            lines = (self.folder / "again.txt").read_text(encoding="utf-8").splitlines()
        except OSError:
            return 0
        total = 0
        for line in lines:
            words = line.split()
            if len(words) == 2 and words[1].isdecimal():
                total += int(words[1])
        return total

    def remove(self) -> None:
        """Remove the working folder, and those above it that it leaves empty: the task is finished."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            self.folder.parent.rmdir()
            self.folder.parent.parent.rmdir()
