"""Values as JSON, with what `json.dumps` cannot write: a key that stands twice, numbers and brackets beyond any limit."""

from __future__ import annotations

import json
from typing import Any


class Raw(str):
    """A piece of JSON, or of what looks like it, that is written as it stands."""


class Pairs(list[tuple[Any, Any]]):
    """The keys and values of an object, of which two may have one key."""


DEEP = Raw("[" * 5000 + "]" * 5000)
ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 7.0, 0.5, -0.0, 1e308, 1e-320, 10**18, 10**400, 2**63),
    *("", " ", "\0", "a\0b", "\ud800", "x" * 70_000, "0", "-1", "nan", "1e400", "null", "true", "é漢\u202e\x1b[31m", "../../x"),
    *(
        "['one', 'two']",
        "/etc/passwd",
        "~",
        "(a+)+$",
        "\\",
        "%s{}",
        "\ufeff",
        "a\r\nb",
        "\u2028",
        "=1+1",
        "a" * 300,
        "2024-02-31",
    ),
    *("a" * 300, [], {}, [[]], [None], [1, "a"], {"": ""}, {"a": {"b": [1]}}, [["x"] * 3] * 3, ["a"] * 2000),
    *(
        Raw("NaN"),
        Raw("Infinity"),
        Raw("-1e999"),
        Raw("9" * 5000),
        Raw("1" + "0" * 400),
        DEEP,
        Raw("01"),
        Raw("1."),
        Raw("'a'"),
    ),
)
ODD_KEYS = ("", "a", "\0", "\x1b[2J", "\ud800", "id", "_id", "label", "score", "text", "negative_1", "NEGATIVE", "k" * 5000)


def json_text(value: Any, ascii_only: bool = True) -> str:
    """Return a value as JSON."""
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, dict):
        value = Pairs(value.items())
    if isinstance(value, Pairs):
        entries = [f"{json_text(str(key), ascii_only)}: {json_text(member, ascii_only)}" for key, member in value]
        return "{" + ", ".join(entries) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join([json_text(member, ascii_only) for member in value]) + "]"
    return json.dumps(value, ensure_ascii=ascii_only)


def encoded(text: str) -> bytes:
    """Return a text as bytes; half a character gives bytes that are no UTF-8."""
    return text.encode("utf-8", "surrogatepass")


def same(left: Any, right: Any) -> bool:
    """Return whether two values are equal; NaN equals itself, 1 equals 1.0, a tuple equals a list."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        return len(left) == len(right) and all(same(*pair) for pair in zip(left, right, strict=True))
    return bool(left == right) or (left != left and right != right)
