"""Rules that a triplet must pass, each with the reason that is counted where it does not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from common.errors import UserError
from triplets.conversion.result import ConversionReport, Row, key_of
from triplets.triplet import Triplet


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


@dataclass
class SeenRows:
    """Hashes of the rows so far: eight bytes or so a row.

    Attributes:
        keys: of queries, or of pairs.
    """

    keys: set[int | tuple[int, int]] = field(default_factory=set)

    def again(self, key: int | tuple[int, int]) -> bool:
        """Whether a key came before; from now on it did."""
        if key in self.keys:
            return True
        self.keys.add(key)
        return False


def filtered(triplets: Iterable[Triplet], rules: FilterRules, report: ConversionReport) -> Iterator[Row]:
    """Yield the rows that pass, in their order, each with the negatives that pass.

    A positive that equals its query teaches nothing. A negative that equals the query, the positive or another negative of its
    row (case and white space aside) is none.
    """
    seen = SeenRows()
    for triplet in triplets:
        report.read += 1
        reason = reason_against(triplet, rules, seen)
        if reason:
            report.left_out[reason] += 1
            continue
        negatives = kept_negatives(triplet, rules, report)
        if len(negatives) < rules.min_negatives:
            report.left_out["rows with fewer than --min_negatives"] += 1
            continue
        yield {"query": triplet.query, "positive": triplet.positive, "negative": negatives}


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
    if rules.unique == "pair" and seen.again((query, positive)):
        return "rows whose query and positive came before"
    return ""


def kept_negatives(triplet: Triplet, rules: FilterRules, report: ConversionReport) -> list[str]:
    """Return the negatives of a row that pass, and count the others."""
    taken = {key_of(triplet.query), key_of(triplet.positive)}
    kept: list[str] = []
    for text in triplet.negatives:
        key = key_of(text)
        if key in taken:
            report.notes["negatives dropped: the query, the positive or another negative of the row"] += 1
        elif key in rules.leave_out:
            report.notes["negatives dropped: a text of an evaluation set"] += 1
        else:
            taken.add(key)
            kept.append(text)
    if rules.max_negatives is not None and len(kept) > rules.max_negatives:
        report.notes["negatives dropped: beyond --max_negatives"] += len(kept) - rules.max_negatives
        kept = kept[: rules.max_negatives]
    return kept
