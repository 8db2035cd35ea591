"""A corpus of any size as memory-mapped Arrow, in the order of its documents' ids.

Rows are read as a stream and written in pieces; what stays in memory is one piece and 8 bytes a document for the order. The
files are temporary (`TMPDIR` says where) and are deleted while they are mapped: their space is free again when the corpus
is, however the program ends.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset
from datasets.fingerprint import generate_random_fingerprint
from datasets.table import InMemoryTable

from common.errors import UserError
from evaluation.tasks.id_order import is_sorted

Row = dict[str, Any]
COLUMNS = ("id", "title", "text")
SCHEMA = pa.schema([(name, pa.string()) for name in COLUMNS])
PIECE_ROWS = 50_000
PIECE_CHARACTERS = 1 << 26


def make_corpus(rows: Iterator[Row], where: Path, judged: Collection[str] = ()) -> Dataset:
    """Return documents as a `Dataset` with the columns id, title, text, sorted by id.

    Args:
        rows: with `id` and `text`, maybe `title`; read once.
        where: their file, for messages.
        judged: ids that must be there.

    Raises:
        UserError: an id is not unique or a judged one is missing, or there is no document.
    """
    with tempfile.TemporaryDirectory(prefix="corpus-") as scratch:
        path = Path(scratch) / "as-read.arrow"
        missing = set(judged)
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, SCHEMA) as writer:
            for piece in _pieces(rows):
                missing.difference_update(piece["id"])
                writer.write_batch(pa.record_batch(piece, schema=SCHEMA))
        if missing:
            raise UserError(f"{where} lacks {len(missing)} documents that are judged: {', '.join(sorted(missing)[:3])}")
        table = _mapped(path)
        if not len(table):
            raise UserError(f"{where} has no document")
        if not is_sorted(table.column("id")):
            path = _sorted_copy(table, path)
            table = _mapped(path)
        _check_unique(table.column("id"), where)
    # Not datasets' MemoryMappedTable, beside whose file every map would leave a copy; and without a fingerprint, datasets
    # would hash the table.
    return Dataset(InMemoryTable(table), fingerprint=generate_random_fingerprint())


def _pieces(rows: Iterator[Row]) -> Iterator[dict[str, list[str]]]:
    """Yield columns of so many rows that a piece stays small, however long the documents are."""
    piece: dict[str, list[str]] = {name: [] for name in COLUMNS}
    characters = 0
    for row in rows:
        title, text = row.get("title") or "", row["text"]
        for name, value in zip(COLUMNS, (str(row["id"]), title, text), strict=True):
            piece[name].append(value)
        characters += len(title) + len(text)
        if len(piece["id"]) >= PIECE_ROWS or characters >= PIECE_CHARACTERS:
            yield piece
            piece, characters = {name: [] for name in COLUMNS}, 0
    if piece["id"]:
        yield piece


def _mapped(path: Path) -> Any:
    """Return a file as an Arrow table whose columns are the file itself."""
    with pa.memory_map(str(path)) as file, pa.ipc.open_stream(file) as stream:
        return stream.read_all()


def _sorted_copy(table: Any, path: Path) -> Path:
    """Write the table in the order of its ids into a file beside `path`, and return that file.

    Rows are gathered piece by piece: Arrow's own `take` would put the whole table together in memory first.
    """
    batches = table.to_batches()
    starts = np.cumsum([0, *(len(batch) for batch in batches)])
    order = pc.sort_indices(table.column("id")).to_numpy().view(np.int64)
    rows = max(1, min(PIECE_ROWS, PIECE_CHARACTERS * len(table) // max(path.stat().st_size, 1)))
    target = path.with_name("sorted.arrow")
    with pa.OSFile(str(target), "wb") as file, pa.ipc.new_stream(file, SCHEMA) as writer:
        for begin in range(0, len(order), rows):
            writer.write_table(_gather(batches, starts, order[begin : begin + rows]).combine_chunks())
    return target


def _gather(batches: list[Any], starts: np.ndarray, rows: np.ndarray) -> Any:
    """Return the rows of given numbers, in this order."""
    by_place = np.argsort(rows)
    ascending = rows[by_place]
    holders, firsts = np.unique(np.searchsorted(starts, ascending, side="right") - 1, return_index=True)
    parts = zip(holders, np.split(ascending, firsts[1:]), strict=True)
    found = [batches[holder].take(pa.array(part - starts[holder])) for holder, part in parts]
    return pa.Table.from_batches(found).combine_chunks().take(pa.array(np.argsort(by_place)))


def _check_unique(ids: Any, where: Path) -> None:
    """Compare each id with the next one; they are sorted."""
    last: str | None = None
    for chunk in ids.chunks:
        same = pc.equal(chunk[1:], chunk[:-1])
        twice = chunk[pc.index(same, True).as_py()].as_py() if pc.any(same).as_py() else None
        if last == chunk[0].as_py() or twice is not None:
            raise UserError(f"{where}: the document id {twice or last!r} is not unique")
        last = chunk[-1].as_py()
