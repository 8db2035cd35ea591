"""The rows that a conversion makes, what it left out and why, and the file that they go to."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from tqdm import tqdm

from common.errors import UserError
from common.files import write_json
from common.text_hash import text_hashes
from triplets.conversion import store as stores
from triplets.conversion.store import Store, saved_bytes
from triplets.folders import training_files
from triplets.formats import PlacedRow, rows

Row = dict[str, object]
SAMPLE = 3  # rows that a report shows
SHOWN = 100  # characters of a text in a report


@dataclass
class ConversionReport:
    """Counts of one conversion.

    Attributes:
        read: rows read.
        written: rows written.
        left_out: rows that were left out, by reason.
        notes: other counts, such as rows with fewer negatives than wanted.
        sample: the first rows written.
        skip_invalid: whether rows that cannot be used are left out and counted; else the first of them is an error.
    """

    read: int = 0
    written: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    sample: list[Row] = field(default_factory=list)
    skip_invalid: bool = False

    def counts(self) -> dict[str, object]:
        """Return the counts as JSON values, without the sample."""
        left_out, notes = dict(self.left_out), dict(self.notes)
        return {"read": self.read, "written": self.written, "left_out": left_out, "notes": notes}

    def state(self) -> dict[str, object]:
        """Return what `go_on` takes."""
        return {**self.counts(), "sample": self.sample}

    def go_on(self, saved: Any) -> None:
        """Take the counts that were saved, if any."""
        if saved is not None:
            self.read, self.written, self.sample = saved["read"], saved["written"], saved["sample"]
            self.left_out, self.notes = Counter(saved["left_out"]), Counter(saved["notes"])

    def as_text(self) -> str:
        """Format the counts and the sample."""
        lines = [f"{self.read:,} rows read, {self.written:,} written"]
        lines += [f"left out: {count:,} {reason}" for reason, count in sorted(self.left_out.items())]
        lines += [f"{count:,} {reason}" for reason, count in sorted(self.notes.items())]
        for row in self.sample:
            lines += ["", f"query     {shown(row['query'])}", f"positive  {shown(row['positive'])}"]
            negatives = row.get("negative", [])
            if isinstance(negatives, list):
                lines += [f"negative  {shown(text)}" for text in negatives[:SAMPLE]]
        return "\n".join(lines)


class RowMaker(Protocol):
    """Makes the rows of a conversion, from where it was when it was saved."""

    def rows(self) -> Iterator[Row]:
        """Yield the rows that follow."""

    def state(self) -> object:
        """Return what `go_on` needs to go on behind the last row that was yielded, as JSON values."""

    def go_on(self, state: Any) -> None:
        """Go on from a state."""


class GivenRows:
    """Rows that are made elsewhere, the same each time: the first ones are passed over where the command goes on."""

    def __init__(self, given: Iterable[Row]) -> None:
        self.given, self.done = given, 0

    def rows(self) -> Iterator[Row]:
        """Yield the rows that follow."""
        for row in islice(self.given, self.done, None):
            self.done += 1
            yield row

    def state(self) -> object:
        """Return the number of rows that are done."""
        return self.done

    def go_on(self, state: Any) -> None:
        """Go on from a state."""
        self.done = state


def shown(text: object) -> str:
    """Return a text on one line, cut where it is long."""
    line = " ".join(str(text).split())
    return line if len(line) <= SHOWN else line[: SHOWN - 1] + "…"


def read_into(store: Store, path: Path, report: ConversionReport, take: Callable[[str, Row], None]) -> None:
    """Hand the rows of a file or folder over with their places, and save now and then; saved rows are not handed over again.

    Raises:
        UserError: a row cannot be used, and the report does not skip such rows.
    """
    report.go_on(store.get("report"))
    if store.get("all read", False):
        return
    for place, row in islice(placed_rows(path), report.read, None):
        report.read += 1
        try:
            if not isinstance(row, dict):
                raise UserError(f"{place}: expected an object, found {row!r:.60}")
            take(place, row)
        except UserError as error:
            if not report.skip_invalid:
                raise UserError(f"{error}. Correct the row, or leave such rows out with --on_invalid_rows skip") from error
            report.left_out["rows that cannot be used: a text, label or score is missing, empty or of another type"] += 1
        if report.read % stores.SAVED_EVERY == 0:
            store.save({"report": report.state()})
    store.save({"report": report.state(), "all read": True})


def placed_rows(path: Path) -> Iterator[PlacedRow]:
    """Yield the rows of a file, or of the split ``train`` of a folder, with their places.

    Raises:
        UserError: a file cannot be read, or a folder has no such data.
    """
    for file in training_files(path):
        yield from tqdm(rows(file), desc=f"rows of {file.name}", unit="", disable=None)


def text_of(row: Row, names: Iterable[str], place: str) -> str:
    """Return the text under the first of some keys that a row has.

    Raises:
        UserError: it has none of them, or no text there.
    """
    names = list(names)
    for name in names:
        if name in row:
            value = row[name]
            if isinstance(value, str) and not value.strip():
                raise UserError(f"{place}: {name!r} is empty")
            if not isinstance(value, str):
                raise UserError(f"{place}: {name!r} must be a text, found {value!r:.60}")
            if any("\ud800" <= character <= "\udfff" for character in value):
                raise UserError(f"{place}: {name!r} holds half of a surrogate pair, which is no character")
            return value
    raise UserError(f"{place}: no key {' or '.join(map(repr, names))} (the keys are: {', '.join(row)})")


def key_of(text: str) -> int:
    """Return a hash of a text that case and white space do not change."""
    return int(text_hashes([text])[0])


def write_rows(maker: RowMaker, store: Store, output: Path, report: ConversionReport, facts: Row) -> None:
    """Write rows as JSON lines, whole or not at all, and the report beside them.

    Args:
        maker: of rows with query, positive and negative.
        store: of the command; rows that it holds are not made again.
        output: file to write.
        report: counts; completed here.
        facts: about the command, for the report's file.

    Raises:
        UserError: no row is left, or the file cannot be written.
    """
    report.go_on(store.get("report"))
    made = store.get("made")
    if made is not None:
        maker.go_on(made)
    with store.open_rows() as file, tqdm(desc="rows written", initial=report.written, unit="", disable=None) as bar:
        for row in maker.rows():
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            report.written += 1
            bar.update()
            if len(report.sample) < SAMPLE:
                report.sample.append(row)
            if report.written % stores.SAVED_EVERY == 0:
                store.save({"bytes": saved_bytes(file), "report": report.state(), "made": maker.state()})
    if not report.written:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in report.left_out.items()) or "the input has no rows"
        raise UserError(f"no row is left to write: {reasons}")
    store.rows.replace(output)
    write_json({**facts, **report.counts()}, output.with_name(output.name + ".report.json"))
