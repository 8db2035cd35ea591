"""One row of training data in, checked triplets out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

# Names that other toolkits use. One of these instead of ours is an error that names ours: not reading it would
# silently train without negatives.
LOOKALIKES: dict[str, str] = {
    **dict.fromkeys(("query", "queries", "anchor", "question", "qry", "sentence1"), "query"),
    **dict.fromkeys(("positive", "positives", "pos", "answer", "passage", "document", "sentence2"), "positive"),
    **dict.fromkeys(("negative", "negatives", "neg", "negs", "hard_negative", "hard_negatives"), "negative"),
}
KEYS = ("query", "positive", "negative")
MISSPELT = "postive"  # as the published README prints it


class InvalidRowError(ValueError):
    """A row that cannot be trained on; the text is the reason, without the place."""


@dataclass(frozen=True)
class Triplet:
    """A query, a text that answers it, 0..k texts that do not, and where they stand (``file:line``)."""

    query: str
    positive: str
    negatives: list[str]
    place: str = ""


@dataclass
class Report:
    """What was found while reading, to be said once at the end and kept beside prepared data."""

    rows: int = 0
    triplets: int = 0
    invalid: int = 0
    examples: list[str] = field(default_factory=list)  # the first invalid rows: file:line: reason
    misspelt: int = 0
    several_positives: int = 0
    negatives: list[int] = field(default_factory=list)  # triplets with 0, 1, 2, … negatives
    ignored_keys: list[str] = field(default_factory=list)


def triplets_of(
    row: Any, report: Report, max_negatives: int | None = None, *, in_batch: bool = True, place: str = ""
) -> list[Triplet]:
    """Return the triplets of one row: one for each positive, each with the row's first ``max_negatives`` negatives.

    Texts are kept as they are, white space included. Without in-batch negatives a row needs negatives of its own.

    Raises:
        InvalidRowError: with the reason.
    """
    if not isinstance(row, dict):
        raise InvalidRowError(f"expected an object with the keys {', '.join(KEYS)}, found {_type_name(row)}")
    if MISSPELT in row:
        if "positive" in row:
            raise InvalidRowError(f"both 'positive' and {MISSPELT!r} are there")
        row = {("positive" if key == MISSPELT else key): value for key, value in row.items()}
        report.misspelt += 1
    _check_keys(row, report)
    query = _text(row["query"], "query")
    value = row["positive"]
    if isinstance(value, list):
        if not value:
            raise InvalidRowError("'positive' is an empty list")
        positives = [_text(part, f"positive[{index}]") for index, part in enumerate(value)]
        report.several_positives += len(positives) > 1
    else:
        positives = [_text(value, "positive")]
    negatives = _negatives(row.get("negative"))[:max_negatives]
    if not negatives and not in_batch:
        raise InvalidRowError("no 'negative', and without in-batch negatives nothing else to tell the positive from")
    return [Triplet(query, positive, negatives, place) for positive in positives]


def _check_keys(row: dict[Any, Any], report: Report) -> None:
    for key in row:
        if key in KEYS:
            continue
        meant = LOOKALIKES.get(str(key).strip().lower())
        if meant is not None and meant not in row:
            raise InvalidRowError(f"no key {meant!r}: rename {key!r} to {meant!r} (the keys are: {_names(row)})")
        if key not in report.ignored_keys and len(report.ignored_keys) < 20:
            report.ignored_keys.append(str(key))
    for key in ("query", "positive"):
        if key not in row:
            raise InvalidRowError(f"no key {key!r} (the keys are: {_names(row)})")


def _negatives(value: Any) -> list[str]:
    if value is None or (isinstance(value, str) and not value.strip()):
        return []
    if isinstance(value, list):
        return [_text(part, f"negative[{index}]") for index, part in enumerate(value)]
    return [_text(value, "negative")]


def _text(value: Any, name: str) -> str:
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


def _names(row: dict[Any, Any]) -> str:
    return ", ".join(str(key) for key in row) or "none"


def _type_name(value: Any) -> str:
    names = {dict: "an object", list: "a list", bool: "true or false", int: "a number", float: "a number"}
    return names.get(type(value), "null" if value is None else "a text" if isinstance(value, str) else type(value).__name__)
