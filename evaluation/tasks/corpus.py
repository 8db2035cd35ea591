"""A corpus of any size as memory-mapped Arrow, in the order of its documents' ids.

Rows are read as a stream and written in pieces; what stays in memory is one piece and 8 bytes a document for the order. The
files are temporary (`TMPDIR` says where) and are deleted while they are mapped: their space is free again when the corpus
is, however the program ends.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset
from datasets.fingerprint import generate_random_fingerprint
from datasets.table import InMemoryTable

from common.errors import UserError
from evaluation.tasks.id_order import is_sorted
from evaluation.tasks.schemas import TaskRow

COLUMNS = ("id", "title", "text")
SCHEMA = pa.schema([(name, pa.string()) for name in COLUMNS])
PIECE_ROWS = 50_000
PIECE_CHARACTERS = 1 << 26


def make_corpus(rows: Iterable[TaskRow], where: Path, judged: Collection[str] = ()) -> tuple[Dataset, set[str]]:
    """Return documents as a `Dataset` with the columns id, title, text, sorted by id, and the judged ids that it lacks.

    Args:
        rows: with `id` and `text`, maybe `title`; read once.
        where: their file, for messages.
        judged: ids that are looked for.

    Raises:
        UserError: an id is not unique, or there is no document.
    """
    with tempfile.TemporaryDirectory(prefix="corpus-") as scratch:
        path = Path(scratch) / "as-read.arrow"
        missing = set(judged)
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, SCHEMA) as writer:
            for piece in _pieces(rows):
                missing.difference_update(piece["id"])
                writer.write_batch(pa.record_batch(piece, schema=SCHEMA))
        table = _mapped(path)
        if not len(table):
            raise UserError(f"{where} has no document")
        if not is_sorted(table.column("id")):
            path = _sorted_copy(table, path)
            table = _mapped(path)
        _check_unique(table.column("id"), where)
    # Not datasets' MemoryMappedTable, beside whose file every map would leave a copy; and without a fingerprint, datasets
    # would hash the table.
    return Dataset(InMemoryTable(table), fingerprint=generate_random_fingerprint()), missing


def _pieces(rows: Iterable[TaskRow]) -> Iterator[dict[str, list[str]]]:
    """Yield the columns of consecutive rows; a piece stays small, however long the documents are."""
    piece = _empty_piece()
    characters = 0
    for row in rows:
        title, text = row.get("title") or "", row["text"]
        for name, value in zip(COLUMNS, (str(row["id"]), title, text), strict=True):
            piece[name].append(value)
        characters += len(title) + len(text)
        if len(piece["id"]) >= PIECE_ROWS or characters >= PIECE_CHARACTERS:
            yield piece
            piece, characters = _empty_piece(), 0
    if piece["id"]:
        yield piece


def _empty_piece() -> dict[str, list[str]]:
    return {name: [] for name in COLUMNS}


def _mapped(path: Path) -> pa.Table:
    """Return a file as an Arrow table whose columns are the file itself."""
    with pa.memory_map(str(path)) as file, pa.ipc.open_stream(file) as stream:
        return stream.read_all()


def _sorted_copy(table: pa.Table, path: Path) -> Path:
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


def _gather(batches: list[pa.RecordBatch], starts: np.ndarray, rows: np.ndarray) -> pa.Table:
    """Return the rows with these numbers, in this order; batch `n` begins with row `starts[n]`."""
    by_number = np.argsort(rows)
    ascending = rows[by_number]
    # Each batch gives all its rows at once, in ascending order; the order that was asked for is made at the end.
    holders, firsts = np.unique(np.searchsorted(starts, ascending, side="right") - 1, return_index=True)
    taken = []
    for holder, numbers in zip(holders, np.split(ascending, firsts[1:]), strict=True):
        taken.append(batches[holder].take(pa.array(numbers - starts[holder])))
    return pa.Table.from_batches(taken).combine_chunks().take(pa.array(np.argsort(by_number)))


def _check_unique(ids: pa.ChunkedArray, where: Path) -> None:
    """Compare each id with the next one; they are sorted."""
    last: str | None = None
    for chunk in ids.chunks:
        if last == chunk[0].as_py():
            raise UserError(f"{where}: the document id {last!r} is not unique")
        same = pc.equal(chunk[1:], chunk[:-1])
        if pc.any(same).as_py():
            copy = chunk[pc.index(same, True).as_py()].as_py()
            raise UserError(f"{where}: the document id {copy!r} is not unique")
        last = chunk[-1].as_py()
