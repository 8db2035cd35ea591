"""The schema of a row of training data: its keys, the triplets that it gives, and its errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

# Names that other toolkits use. One of these instead of ours is an error that names ours: not reading it would
# silently train without negatives.
LOOKALIKES: dict[str, str] = {
    **dict.fromkeys(("query", "queries", "anchor", "question", "qry", "sentence1"), "query"),
    **dict.fromkeys(("positive", "positives", "pos", "answer", "passage", "document", "sentence2"), "positive"),
    **dict.fromkeys(("negative", "negatives", "neg", "negs", "hard_negative", "hard_negatives"), "negative"),
}
KEYS = ("query", "positive", "negative")
MISSPELT = "postive"  # as the published README prints it
CORRECTED: dict[object, object] = {MISSPELT: "positive"}
LISTED_KEYS = 20  # unknown keys that a report lists
TYPE_NAMES: dict[type, str] = {
    dict: "an object",
    list: "a list",
    bool: "true or false",
    int: "a number",
    float: "a number",
    str: "a text",
    type(None): "null",
}


class InvalidRowError(ValueError):
    """A row that cannot be trained on; the text is the reason, without the place."""


@dataclass(frozen=True)
class Triplet:
    """A query, a text that answers it, 0..k texts that do not, and their place (``file:line``)."""

    query: str
    positive: str
    negatives: list[str]
    place: str = ""


COLUMNS = tuple(column.name for column in fields(Triplet))  # of prepared data


@dataclass
class ReadReport:
    """Counts of one reading, logged once at its end and kept beside the prepared data.

    Attributes:
        rows: rows read.
        triplets: triplets made of them.
        invalid: rows that cannot be used.
        examples: the first invalid rows, as ``file:line: reason``.
        misspelt: rows with the key ``postive``.
        several_positives: rows with more than one positive.
        negatives: number of triplets with 0, 1, 2, … negatives.
        ignored_keys: the first keys that are not read.
    """

    rows: int = 0
    triplets: int = 0
    invalid: int = 0
    examples: list[str] = field(default_factory=list)
    misspelt: int = 0
    several_positives: int = 0
    negatives: list[int] = field(default_factory=list)
    ignored_keys: list[str] = field(default_factory=list)

    def count(self, triplet: Triplet) -> None:
        """Count a triplet by its number of negatives."""
        self.triplets += 1
        missing = len(triplet.negatives) + 1 - len(self.negatives)
        self.negatives += [0] * missing
        self.negatives[len(triplet.negatives)] += 1


def triplets_of(
    row: object, report: ReadReport, max_negatives: int | None = None, *, in_batch: bool = True, place: str = ""
) -> list[Triplet]:
    """Return the triplets of one row: one for each positive, each with the row's first ``max_negatives`` negatives.

    Texts are kept as they are, white space included. Without in-batch negatives a row needs negatives of its own.

    Raises:
        InvalidRowError: with the reason.

    >>> triplets_of({"query": "q", "positive": ["a", "b"], "negative": "c"}, ReadReport())[1]
    Triplet(query='q', positive='b', negatives=['c'], place='')
    """
    if not isinstance(row, dict):
        raise InvalidRowError(f"expected an object with the keys {', '.join(KEYS)}, found {_type_name(row)}")
    if MISSPELT in row:
        if "positive" in row:
            raise InvalidRowError(f"both 'positive' and {MISSPELT!r} are there")
        row = dict(zip((CORRECTED.get(key, key) for key in row), row.values(), strict=True))
        report.misspelt += 1
    _check_keys(row, report)
    query = _text(row["query"], "query")
    positives = _positives(row["positive"])
    report.several_positives += len(positives) > 1
    negatives = _negatives(row.get("negative"))[:max_negatives]
    if not negatives and not in_batch:
        raise InvalidRowError("no 'negative', and without in-batch negatives nothing else to tell the positive from")
    return [Triplet(query, positive, negatives, place) for positive in positives]


def _check_keys(row: Mapping[object, object], report: ReadReport) -> None:
    names = ", ".join(map(str, row)) or "none"
    for key in row:
        if key in KEYS:
            continue
        correct = LOOKALIKES.get(str(key).strip().lower())
        if correct is not None and correct not in row:
            raise InvalidRowError(f"no key {correct!r}: rename {key!r} to {correct!r} (the keys are: {names})")
        if key not in report.ignored_keys and len(report.ignored_keys) < LISTED_KEYS:
            report.ignored_keys.append(str(key))
    for key in ("query", "positive"):
        if key not in row:
            raise InvalidRowError(f"no key {key!r} (the keys are: {names})")


def _positives(value: object) -> list[str]:
    if not isinstance(value, list):
        return [_text(value, "positive")]
    if not value:
        raise InvalidRowError("'positive' is an empty list")
    return _texts(value, "positive")


def _negatives(value: object) -> list[str]:
    if value is None or (isinstance(value, str) and not value.strip()):
        return []
    if isinstance(value, list):
        return _texts(value, "negative")
    return [_text(value, "negative")]


def _texts(values: list[object], name: str) -> list[str]:
    return [_text(value, f"{name}[{index}]") for index, value in enumerate(values)]


def _text(value: object, name: str) -> str:
    if value is None:
        raise InvalidRowError(f"{name!r} is null")
    if not isinstance(value, str):
        raise InvalidRowError(f"{name!r} must be a text, found {_type_name(value)}")
    if not value.strip():
        raise InvalidRowError(f"{name!r} is empty")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidRowError(f"{name!r} holds half of a surrogate pair, which is no character") from None
    return value


def _type_name(value: object) -> str:
    return TYPE_NAMES.get(type(value), type(value).__name__)
