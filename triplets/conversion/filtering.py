"""Rules that a triplet must pass, each with the reason that is counted where it does not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from common.errors import UserError
from triplets.conversion.result import ConversionReport, Row, key_of
from triplets.conversion.store import Store
from triplets.keys import TEACHER_SCORES
from triplets.triplet import Triplet

TripletsFrom = Callable[[int], Iterable[Triplet]]


@dataclass(frozen=True)
class FilterRules:
    """Rules for rows and for their negatives.

    Attributes:
        min_characters: least length of query and positive.
        max_characters: most of query and positive; None for any.
        unique: ``pair`` keeps the first row of a query and a positive, ``query`` the first row of a query, ``none`` all.
        max_negatives: the first so many negatives are kept; None for all.
        min_negatives: rows with fewer are dropped.
        leave_out: hashes of texts of evaluation sets.
    """

    min_characters: int = 1
    max_characters: int | None = None
    unique: str = "pair"
    max_negatives: int | None = None
    min_negatives: int = 0
    leave_out: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        if self.max_characters is not None and self.max_characters < self.min_characters:
            raise UserError(f"--max_characters {self.max_characters} is below --min_characters {self.min_characters}")
        if self.max_negatives is not None and self.max_negatives < self.min_negatives:
            raise UserError(f"--max_negatives {self.max_negatives} is below --min_negatives {self.min_negatives}")


class SeenRows:
    """Hashes of the rows so far, on disk."""

    def __init__(self, store: Store) -> None:
        self.store = store
        store.tables.execute("CREATE TABLE IF NOT EXISTS seen (key BLOB PRIMARY KEY) WITHOUT ROWID")

    def again(self, *hashes: int) -> bool:
        """Whether some hashes came before together; from now on they did."""
        key = b"".join(number.to_bytes(8, "big", signed=True) for number in hashes)
        return not self.store.new("INSERT OR IGNORE INTO seen VALUES (?)", key)


class FilteredRows:
    """The rows that pass, in their order, each with the negatives that pass and a teacher's scores of what stays.

    A positive that equals its query teaches nothing. A negative that equals the query, the positive or another negative of its
    row (case and white space aside) is none.
    """

    def __init__(self, triplets: TripletsFrom, rules: FilterRules, store: Store, report: ConversionReport) -> None:
        """Make the rows of some triplets.

        Args:
            triplets: yields them, after a number of them.
            rules: that they must pass.
            store: keeps the hashes of the rows so far.
            report: of the command.
        """
        self.triplets, self.rules, self.report = triplets, rules, report
        self.seen = SeenRows(store)

    def state(self) -> object:
        """Return the number of rows that are done."""
        return self.report.read

    def go_on(self, state: Any) -> None:
        """Go on from a state: the report has the number of rows that are done."""
        assert state == self.report.read

    def rows(self) -> Iterator[Row]:
        """Yield the rows that follow."""
        for triplet in self.triplets(self.report.read):
            self.report.read += 1
            reason = reason_against(triplet, self.rules, self.seen)
            if reason:
                self.report.left_out[reason] += 1
                continue
            kept = kept_negatives(triplet, self.rules, self.report)
            if len(kept) < self.rules.min_negatives:
                self.report.left_out["rows with fewer than --min_negatives"] += 1
                continue
            negatives = [triplet.negatives[place] for place in kept]
            row: Row = {"query": triplet.query, "positive": triplet.positive, "negative": negatives}
            if triplet.scores is not None and kept:  # without negatives they would be taken for a label
                row[TEACHER_SCORES] = [triplet.scores[0], *(triplet.scores[1 + place] for place in kept)]
            yield row


def reason_against(triplet: Triplet, rules: FilterRules, seen: SeenRows) -> str:
    """Return why a row is left out, empty if it is not."""
    query, positive = key_of(triplet.query), key_of(triplet.positive)
    lengths = len(triplet.query), len(triplet.positive)
    if query == positive:
        return "rows whose positive is the query"
    if rules.leave_out & {query, positive}:
        return "rows with a text of an evaluation set"
    if min(lengths) < rules.min_characters:
        return "rows with a text that is too short"
    if rules.max_characters is not None and max(lengths) > rules.max_characters:
        return "rows with a text that is too long"
    if rules.unique == "query" and seen.again(query):
        return "rows whose query came before"
    if rules.unique == "pair" and seen.again(query, positive):
        return "rows whose query and positive came before"
    return ""


def kept_negatives(triplet: Triplet, rules: FilterRules, report: ConversionReport) -> list[int]:
    """Return the places of a row's negatives that pass, and count the others."""
    taken = {key_of(triplet.query), key_of(triplet.positive)}
    kept: list[int] = []
    for place, text in enumerate(triplet.negatives):
        key = key_of(text)
        if key in taken:
            report.notes["negatives dropped: the query, the positive or another negative of the row"] += 1
        elif key in rules.leave_out:
            report.notes["negatives dropped: a text of an evaluation set"] += 1
        else:
            taken.add(key)
            kept.append(place)
    if rules.max_negatives is not None and len(kept) > rules.max_negatives:
        report.notes["negatives dropped: beyond --max_negatives"] += len(kept) - rules.max_negatives
        kept = kept[: rules.max_negatives]
    return kept
