"""The work of a conversion on disk: what was read, what was written, how far both came. A killed command goes on there.

Beside the output lies a folder with a SQLite file and the rows so far. Both are saved together every `SAVED_EVERY` rows: memory
does not grow with the input, and a kill costs the rows since then.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any

from common.disk import check_apart, check_writable
from common.errors import UserError
from common.files import read_json_or_empty, write_json
from common.locks import locked

SAVED_EVERY = 20_000  # rows read or written
CACHE_KIB = 2**16  # of the SQLite file that is kept in memory
FACTS, TABLES, ROWS = "facts.json", "tables.sqlite", "rows.jsonl"


class Store:
    """Tables on disk, a state by name, and the file of rows.

    Attributes:
        tables: the connection; changes are saved by `save` alone.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tables = sqlite3.connect(folder / TABLES)
        self.tables.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        self.tables.execute("PRAGMA temp_store = FILE")
        self.tables.execute("CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, value TEXT)")

    @property
    def rows(self) -> Path:
        """The file of the rows so far."""
        return self.folder / ROWS

    def get(self, name: str, default: Any = None) -> Any:
        """Return a saved value."""
        entry = self.first("SELECT value FROM state WHERE name = ?", name)
        return default if entry is None else json.loads(entry[0])

    def put(self, name: str, value: object) -> None:
        """Keep a value under a name, from the next `save` on."""
        self.tables.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", (name, json.dumps(value)))

    def first(self, query: str, *values: object) -> Any:
        """Return the first row of a query, None without any."""
        return self.tables.execute(query, values).fetchone()

    def new(self, statement: str, *values: object) -> bool:
        """Insert a row with ``INSERT OR IGNORE``; returns whether it was not there."""
        return self.tables.execute(statement, values).rowcount == 1

    def save(self, values: Mapping[str, object]) -> None:
        """Keep values under names, and save them with all changes of the tables."""
        for name, value in values.items():
            self.put(name, value)
        self.tables.commit()

    def open_rows(self) -> IO[str]:
        """Open the file of rows at its last saved end."""
        with self.rows.open("ab") as file:
            file.truncate(self.get("bytes", 0))
        return self.rows.open("a", encoding="utf-8")


def saved_bytes(file: IO[str]) -> int:
    """Bring what was written to disk; returns the size of the file."""
    file.flush()
    os.fsync(file.fileno())
    return os.fstat(file.fileno()).st_size


@contextmanager
def working(output: Path, facts: Mapping[str, object], inputs: Sequence[Path]) -> Iterator[Store]:
    """Yield the store of a command: the one that it left when it was killed, or a new one. It is removed after the block.

    Args:
        output: file that the command writes; the store is beside it.
        facts: decide the output, beside the input files; another command begins anew.
        inputs: files whose size and time of change must be the same too.

    Raises:
        UserError: the folder of the output cannot be written, the output is an input, or another command writes it now.
    """
    check_apart(output, inputs)
    check_writable(output.parent, "output")
    folder = output.with_name(output.name + ".making")
    folder.mkdir(exist_ok=True)
    with locked(folder / "lock", f"a command that writes {output}", patience=0):
        known = {**facts, "inputs": [states_of(path) for path in inputs]}
        known = json.loads(json.dumps(known))
        resumes = read_json_or_empty(folder / FACTS) == known
        if not resumes or (folder / TABLES).is_file() != (folder / ROWS).is_file():
            for name in (TABLES, f"{TABLES}-journal", ROWS, FACTS):
                (folder / name).unlink(missing_ok=True)
            (folder / ROWS).touch()
            write_json(known, folder / FACTS)
        store = Store(folder)
        try:
            with closing(store.tables):
                yield store
        except UserError:  # of the input: what is corrected is another one
            shutil.rmtree(folder)
            raise
    shutil.rmtree(folder)


def states_of(path: Path) -> list[object]:
    """Return name, size and time of change of a file, or of all files of a folder."""
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    states: list[object] = []
    for file in files:
        about = file.stat() if file.exists() else None
        states.append([str(file), about and about.st_size, about and about.st_mtime_ns])
    return states
