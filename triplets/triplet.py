"""The schema of a row of training data: its keys, the triplets that it gives, and its errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from common.number_check import is_number
from triplets.keys import (
    KEYS,
    LOOKALIKES,
    MISSPELT,
    TEACHER_SCORES,
    TEXT,
    is_read,
    label_key,
    misnamed,
    names,
    normal,
    numbered_negatives,
)
from triplets.printed_lists import is_printed_list

CORRECTED: dict[object, object] = {MISSPELT: "positive"}
LISTED_KEYS = 100  # keys that are not read which a report lists
PRINTED = "a list that was printed into a text: lists need JSON lines or Parquet, where they are lists"
MOST_CHARACTERS = 2**28  # of a row's texts together; a column of Arrow holds 2**31 bytes
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
    """A query, a text that answers it, 0..k texts that do not, and their place (``file:line``).

    Attributes:
        scores: a teacher's, of the positive and of each negative; None where there are none.
    """

    query: str
    positive: str
    negatives: list[str]
    place: str = ""
    scores: list[float] | None = None


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
        ignored_keys: the first keys that are not read, with the number of rows that have them.
        numbered: rows whose negatives stand under ``negative_1``, ``negative_2``, …
        texts: rows of one text (``text``), for training without pairs.
        damaged: files that could not be read to their end, each with the reason; only where reading goes on after them.
    """

    rows: int = 0
    triplets: int = 0
    invalid: int = 0
    examples: list[str] = field(default_factory=list)
    misspelt: int = 0
    several_positives: int = 0
    negatives: list[int] = field(default_factory=list)
    ignored_keys: dict[str, int] = field(default_factory=dict)
    numbered: int = 0
    texts: int = 0
    damaged: list[str] = field(default_factory=list)

    def count(self, triplet: Triplet) -> None:
        """Count a triplet by its number of negatives."""
        self.triplets += 1
        missing = len(triplet.negatives) + 1 - len(self.negatives)
        self.negatives += [0] * missing
        self.negatives[len(triplet.negatives)] += 1

    def count_ignored(self, row: Mapping[object, object]) -> None:
        """Count the keys of a row that are not read."""
        for key in row:
            if is_read(key):
                continue
            name = str(key)
            if name in self.ignored_keys or len(self.ignored_keys) < LISTED_KEYS:
                self.ignored_keys[name] = self.ignored_keys.get(name, 0) + 1


def triplets_of(
    row: object, report: ReadReport, max_negatives: int | None = None, *, in_batch: bool = True, place: str = ""
) -> list[Triplet]:
    """Return the triplets of one row: one for each positive, each with the row's first ``max_negatives`` negatives.

    Texts are kept as they are, white space included. Without in-batch negatives a row needs negatives of its own. A row of one
    text (``text``) is its own positive.

    Raises:
        InvalidRowError: with the reason.

    >>> triplets_of({"query": "q", "positive": ["a", "b"], "negative": "c"}, ReadReport())[1]
    Triplet(query='q', positive='b', negatives=['c'], place='', scores=None)
    """
    if not isinstance(row, dict):
        raise InvalidRowError(f"expected an object with the keys {', '.join(KEYS)}, found {_type_name(row)}")
    if MISSPELT in row:
        if "positive" in row:
            raise InvalidRowError(f"both 'positive' and {MISSPELT!r} are there")
        row = dict(zip((CORRECTED.get(key, key) for key in row), row.values(), strict=True))
        report.misspelt += 1
    if is_one_text(row):
        text = _text(row[TEXT], TEXT)
        if not in_batch:
            raise InvalidRowError("one text has no negatives, and without in-batch negatives nothing is left to tell it from")
        _check_size(text, [text], [])
        report.texts += 1
        report.count_ignored({key: value for key, value in row.items() if key != TEXT})
        return [Triplet(text, text, [], place)]
    _check_keys(row)
    query = _text(row["query"], "query")
    positives = _positives(row["positive"])
    every_negative, from_columns = _row_negatives(row)
    negatives = every_negative[:max_negatives]
    if not negatives and not in_batch:
        raise InvalidRowError("no 'negative', and without in-batch negatives nothing else to tell the positive from")
    _check_size(query, positives, negatives)
    report.several_positives += len(positives) > 1
    report.numbered += from_columns
    scores = teacher_scores(row, len(positives), len(every_negative))
    if scores is not None:
        row = {key: value for key, value in row.items() if key != TEACHER_SCORES}
        scores = scores[: 1 + len(negatives)]
    report.count_ignored(row)
    return [Triplet(query, positive, negatives, place, scores) for positive in positives]


def teacher_scores(row: Mapping[object, object], positives: int, negatives: int) -> list[float] | None:
    """Return a teacher's scores: a list of numbers, of the positive and of each negative; None for anything else."""
    scores = row.get(TEACHER_SCORES)
    if not isinstance(scores, list) or positives != 1 or len(scores) != 1 + negatives:
        return None
    return [float(score) for score in scores] if all(is_number(score) for score in scores) else None


def is_one_text(row: Mapping[object, object]) -> bool:
    """Whether a row is one text, and no triplet under these or other names."""
    return TEXT in row and not any(key in LOOKALIKES or is_read(key) for key in map(normal, row))


def _check_keys(row: Mapping[object, object]) -> None:
    """Raise `InvalidRowError` for a row whose keys say that it is no triplet, or a triplet under other names."""
    label = label_key(row)
    if label is not None:
        raise InvalidRowError(
            f"the row carries a label ({label!r}), and a pair with label 0 or a low score is no positive: keep the pairs that "
            f"match (label 1), without {label!r}; the others may be made 'negative' of a row with the same query "
            f"(the keys are: {names(row)})"
        )
    advice = misnamed(row)
    if advice is not None:
        raise InvalidRowError(f"{advice} (the keys are: {names(row)})")
    for key in ("query", "positive"):
        if key not in row:
            raise InvalidRowError(f"no key {key!r} (the keys are: {names(row)})")


def _check_size(query: str, positives: list[str], negatives: list[str]) -> None:
    characters = len(query) + max(map(len, positives)) + sum(map(len, negatives))
    if characters > MOST_CHARACTERS:
        raise InvalidRowError(f"its texts have {characters:,} characters together, {MOST_CHARACTERS:,} are the most")


def _row_negatives(row: Mapping[object, object]) -> tuple[list[str], bool]:
    """Return the negatives of a row, and whether they stand under numbered keys; an empty cell of those is none."""
    negatives = _negatives(row.get("negative"), "negative")
    numbered: list[str] = []
    for key in numbered_negatives(row):
        value = row[key]
        if isinstance(value, list):
            raise InvalidRowError(f"{key!r} must be a text, found a list: make one list 'negative' of it and its like")
        numbered += _negatives(value, key)
        if numbered and negatives:
            raise InvalidRowError(f"both 'negative' and {key!r} are there: make one list 'negative' of them")
    return (negatives or numbered), bool(numbered)


def _positives(value: object) -> list[str]:
    if not isinstance(value, list):
        return [_text(value, "positive")]
    if not value:
        raise InvalidRowError("'positive' is an empty list")
    return _texts(value, "positive")


def _negatives(value: object, name: str) -> list[str]:
    if value is None or (isinstance(value, str) and not value.strip()):
        return []
    if isinstance(value, str) and value.strip() == "[]":
        raise InvalidRowError(f"{name!r} is {PRINTED}")
    if isinstance(value, list):
        return _texts(value, name)
    return [_text(value, name)]


def _texts(values: list[object], name: str) -> list[str]:
    return [_text(value, f"{name}[{index}]") for index, value in enumerate(values)]


def _text(value: object, name: str) -> str:
    if value is None:
        raise InvalidRowError(f"{name!r} is null")
    if not isinstance(value, str):
        raise InvalidRowError(f"{name!r} must be a text, found {_type_name(value)}")
    if not value.strip():
        raise InvalidRowError(f"{name!r} is empty")
    if is_printed_list(value):
        raise InvalidRowError(f"{name!r} is {PRINTED}")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidRowError(f"{name!r} holds half of a surrogate pair, which is no character") from None
    return value


def _type_name(value: object) -> str:
    return TYPE_NAMES.get(type(value), type(value).__name__)
