"""The keys of a row of training data: those that are read, those of other toolkits, and those that mark pairs."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from common.printable import escaped

KEYS = ("query", "positive", "negative")
TEXT = "text"  # of a row that is one text, for training without pairs
MISSPELT = "postive"  # as the published README prints it
NUMBERED = re.compile(r"negative_?(\d{1,6})")  # one negative a column, as sentence-transformers' mining writes them
MOST_NAMES = 100  # of the keys of a row in a message

# Names that other toolkits use. One of these instead of ours is an error that names ours: not reading it would
# silently train without negatives.
QUERIES = (
    *("query", "queries", "anchor", "anchors", "question", "questions", "qry", "q", "query_text", "search_query"),
    *("sentence1", "sentence_1", "sentence_a", "text1", "text_1", "text_a", "premise", "src", "input"),
)
POSITIVES = (
    *("positive", "positives", "pos", "answer", "answers", "passage", "passages", "document", "documents", "doc"),
    *("sentence2", "sentence_2", "sentence_b", "text2", "text_2", "text_b", "text_pair", "hypothesis", "tgt"),
    *("response", "chosen", "output", "target", "context", "positive_passages", "positive_ctxs", "positive_document"),
    *("positive_documents", "positive_passage", "positive_text", "positive_texts", "pos_passages", "gold", "relevant"),
)
NEGATIVES = (
    *("negative", "negatives", "neg", "negs", "contradiction", "contradictions", "distractor", "distractors"),
    *("irrelevant", "nonrelevant", "non_relevant", "mined", "rejected", "rejects"),
)
LOOKALIKES: dict[str, str] = {
    **dict.fromkeys(QUERIES, "query"),
    **dict.fromkeys(POSITIVES, "positive"),
    **dict.fromkeys(NEGATIVES, "negative"),
}
# A key with such a part holds negatives whatever else its name says (hard_negatives, negative_passages, rejected_response),
# unless its last part says that it holds something about them.
_NEGATIVE_PART = re.compile(r"(?:^|_)(?:hard)?(?:neg|negs|negative|negatives|rejected)(?:\d+)?(?:_|$)")
_NUMBERED_POSITIVE = re.compile(r"(?:pos|positives?)_?\d+")
_ABOUT = (
    *("_id", "_ids", "_score", "_scores", "_source", "_type", "_index", "_indices", "_prompt", "_instruction", "_count"),
    *("_rank", "_ranks", "_label", "_labels", "_title", "_titles", "_url", "_urls"),
)

# Keys whose value says how well a pair matches: such a pair need not be a positive one.
LABELS = frozenset(
    (
        *("label", "labels", "gold_label", "label_text", "score", "scores", "similarity", "similarity_score", "sim"),
        *("relevance", "relevance_score", "relevancy", "relevant_score", "rating", "grade", "gold_score", "human_score"),
        *("is_duplicate", "duplicate", "is_match", "match", "is_relevant", "is_positive", "is_paraphrase", "paraphrase"),
    )
)
TEACHER_SCORES = "scores"  # of a teacher: a number for the positive and for each negative
_SCORES = ("score", "scores")  # a list of these beside negatives is a teacher's: one for each text of the row


@functools.lru_cache(maxsize=4096)
def normal(key: object) -> str:
    """Return a key as it is compared with names: small letters, words joined by ``_``.

    >>> normal(" Hard-Negatives")
    'hard_negatives'
    """
    return re.sub(r"[\s\-.]+", "_", str(key).strip().lower())


def names(keys: Iterable[object]) -> str:
    """Return keys for a message."""
    listed = [in_words(key) for key in keys]
    if len(listed) > MOST_NAMES:
        listed = [*listed[:MOST_NAMES], f"… and {len(listed) - MOST_NAMES} more"]
    return ", ".join(listed) or "none"


def in_words(key: object) -> str:
    """Return a key for a message, quoted where it is empty or has white space at an end.

    >>> in_words("query"), in_words("positive ")
    ('query', "'positive '")
    """
    text = str(key)
    return escaped(text) if text and text == text.strip() else repr(text)


def is_read(key: object) -> bool:
    """Whether a row's key is read."""
    return key in KEYS or (isinstance(key, str) and NUMBERED.fullmatch(key) is not None)


def numbered_negatives(row: Mapping[object, object]) -> list[str]:
    """Return the keys ``negative_1``, ``negative_2``, … of a row in the order of their numbers."""
    numbers: list[tuple[int, str]] = []
    for key in row:
        match = NUMBERED.fullmatch(key) if isinstance(key, str) else None
        if match is not None:
            numbers.append((int(match[1]), match[0]))
    return [key for _, key in sorted(numbers)]


def label_key(row: Mapping[object, object]) -> str | None:
    """Return the key of a row that marks or grades its pair; None if there is none."""
    for key, value in row.items():
        name = normal(key)
        if name not in LABELS or value is None or (isinstance(value, str) and not value.strip()):
            continue
        if name in _SCORES and isinstance(value, list) and has_negatives(row):
            continue
        return str(key)
    return None


def has_negatives(row: Mapping[object, object]) -> bool:
    """Whether a row has negatives under a key that is read."""
    return bool(row.get("negative")) or any(row[key] for key in numbered_negatives(row))


def misnamed(row: Mapping[object, object]) -> str | None:
    """Return what to do about the first key that stands for a key of ours which the row lacks; None if there is none."""
    for key, value in row.items():
        if is_read(key):
            continue
        correct = meant(key, value)
        if correct is None:
            continue
        if correct == "positive" and _NUMBERED_POSITIVE.fullmatch(normal(key)):
            return f"make one list 'positive' of {str(key)!r} and its like"
        present = has_negatives(row) if correct == "negative" else correct in row
        if not present:
            return f"no key {correct!r}: {_advice(key, value, correct)}"
    return None


def meant(key: object, value: object) -> str | None:
    """Return the key that one of another toolkit stands for; None if it is just another key."""
    name = normal(key)
    correct = LOOKALIKES.get(name)
    if correct in ("query", "positive"):
        return correct
    if not _holds_texts(value) or name.endswith(_ABOUT):
        return None
    if correct or _NEGATIVE_PART.search(name) or get_close_matches(name, ["negative"], cutoff=0.85):
        return "negative"
    return "positive" if _NUMBERED_POSITIVE.fullmatch(name) else None


def _holds_texts(value: object) -> bool:
    """Whether a value is a text or a list of texts, or of objects, which may hold texts."""
    if isinstance(value, list):
        return any(isinstance(part, dict) or _is_text(part) for part in value)
    return isinstance(value, dict) or _is_text(value)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _advice(key: object, value: object, correct: str) -> str:
    """Return how to turn a key of another toolkit into ours."""
    if isinstance(value, dict) or (isinstance(value, list) and any(isinstance(part, dict) for part in value)):
        return f"{str(key)!r} holds objects: make a list of their texts, called {correct!r}"
    if correct == "negative" and re.search(r"\d$", str(key)):
        return f"make one list 'negative' of {str(key)!r} and its like"
    return f"rename {str(key)!r} to {correct!r}"
