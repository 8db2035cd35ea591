"""Rows of one or several data sets, numbered through, each fetched with the treatment of its data set."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch.utils.data import Dataset

from triplets.batch_plan import EpochShare
from triplets.triplet import ReadReport

if TYPE_CHECKING:
    import datasets

Row = dict[str, Any]
SAMPLE = 1000  # rows to look at where nobody counted
ROWS_AT_ONCE = 10_000  # of a column that is read alone


@dataclass(frozen=True)
class LoadedDataSet:
    """One data set among those of a run.

    Attributes:
        rows: an Arrow data set with the columns of `triplets.read`, or a list of such rows.
        label: its short name.
        taken: number of its rows that an epoch takes; None for all of them, once.
        weight: its part of an epoch beside the other data sets' weights, which ``taken`` was made of; None where it was not.
        query_prompt: of its queries; None for the run's.
        document_prompt: of its positives and negatives; None for the run's.
        in_batch: whether documents of other rows are negatives of its queries.
        negatives: number of rows with 0, 1, 2, … negatives; empty where nobody counted.
        content: hash of the data and of the options it was read with; empty for rows that were made.
        report: counts of its reading; None for rows that were made.
    """

    rows: datasets.Dataset | list[Row]
    label: str = "rows"
    taken: int | None = None
    query_prompt: str | None = None
    document_prompt: str | None = None
    in_batch: bool = True
    negatives: tuple[int, ...] = ()
    content: str = ""
    report: ReadReport | None = None
    weight: float | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def share(self) -> EpochShare:
        """The rows that an epoch takes."""
        taken = len(self) if self.taken is None else self.taken
        return EpochShare(len(self), taken)

    def has_negatives(self) -> bool:
        """Whether any row has negatives; where nobody counted, any of the first thousand."""
        if self.negatives:
            return any(self.negatives[1:])
        return any(row["negatives"] for row in self.fetch(range(min(len(self), SAMPLE))))

    def first_without(self, column: str) -> Row | None:
        """Return the first row without a value in a column, None if all have one; no other column is read on the way."""
        if isinstance(self.rows, list):
            return next((row for row in self.rows if row.get(column) is None), None)
        start = 0
        for table in self.rows.select_columns(column).with_format("arrow").iter(ROWS_AT_ONCE):
            values = table.column(0)
            if values.null_count:
                return self.fetch([start + values.is_null().index(True).as_py()])[0]
            start += len(values)
        return None

    def fetch(self, indices: Sequence[int]) -> list[Row]:
        """Return rows by number, from Arrow in one go, with ``in_batch`` and the prompts of this data set."""
        treatment = {
            "query_prompt": self.query_prompt,
            "document_prompt": self.document_prompt,
            "in_batch": self.in_batch,
        }
        if isinstance(self.rows, list):
            return [{**self.rows[index], **treatment} for index in indices]
        columns: dict[str, list[Any]] = self.rows[list(indices)]
        return [{**dict(zip(columns, values, strict=True)), **treatment} for values in zip(*columns.values(), strict=True)]


class TripletRows(Dataset[Row]):
    """Rows of several data sets behind each other; nothing is copied.

    Attributes:
        parts: the data sets.
        starts: int64 ``(parts + 1,)``: number of each data set's first row, and of all rows.
    """

    def __init__(self, parts: Sequence[LoadedDataSet]) -> None:
        self.parts = list(parts)
        self.starts = np.concatenate([[0], np.cumsum([len(part) for part in self.parts])]).astype(np.int64)

    @classmethod
    def of(cls, rows: TripletRows | datasets.Dataset | list[Row]) -> TripletRows:
        """Return ``rows`` if they are of this class already, else one data set that holds them."""
        return rows if isinstance(rows, TripletRows) else cls([LoadedDataSet(rows)])

    @property
    def shares(self) -> list[EpochShare]:
        """The rows that an epoch takes of each data set."""
        return [part.share for part in self.parts]

    @property
    def content(self) -> str:
        """Hash of the content of all data sets, which identifies them to a run that goes on."""
        return hashlib.blake2b(" ".join(part.content for part in self.parts).encode(), digest_size=16).hexdigest()

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __getitem__(self, index: int) -> Row:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Row]:
        """Return the rows of a batch, as PyTorch's DataLoader asks for them; there may be none."""
        rows: list[Row] = [{}] * len(indices)
        numbers = np.asarray(indices, dtype=np.int64)
        parts = np.searchsorted(self.starts, numbers, side="right") - 1
        for part in np.unique(parts):
            positions = np.flatnonzero(parts == part)
            fetched = self.parts[part].fetch((numbers[positions] - self.starts[part]).tolist())
            for position, row in zip(positions, fetched, strict=True):
                rows[position] = row
        return rows

    def sample(self, count: int) -> list[Row]:
        """Return at most ``count`` rows, evenly spaced over all of them."""
        number = min(count, len(self))
        return self.__getitems__([index * len(self) // number for index in range(number)])
