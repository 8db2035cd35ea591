"""The one reader of JSON: whatever a text holds, what is wrong with it is a `ValueError` with a short reason."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

from common.number_check import MOST_DIGITS


def json_decoder(object_pairs_hook: Callable[[list[tuple[str, Any]]], Any] | None = None) -> json.JSONDecoder:
    """Return a decoder for `parse_json`; the hook makes an object of its keys and values, of which two may have one key."""
    return json.JSONDecoder(parse_int=_integer, object_pairs_hook=object_pairs_hook)


def parse_json(text: str | bytes, decoder: json.JSONDecoder | None = None) -> Any:
    """Return the value that a text in JSON holds.

    >>> parse_json('{"score": 1}')
    {'score': 1}

    Raises:
        ValueError: it is no JSON (`json.JSONDecodeError`), no UTF-8, nested too deeply, holds a number that no float holds, or
            an object with two values under one key, of which the last would win without a word.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8-sig")
    try:
        return (decoder or _DECODER).decode(text)
    except RecursionError:
        raise ValueError("its brackets are nested too deeply") from None


def json_fault(error: Exception) -> str:
    """Return in a few words why a file could not be read, or a text is no JSON, with line and column where they are known."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if not isinstance(error, json.JSONDecodeError):
        return " ".join(str(error).split())
    place = f"column {error.colno}"
    if error.lineno > 1:
        place = f"line {error.lineno}, {place}"
    return f"{error.msg} at {place}"


def _integer(digits: str) -> int:
    if len(digits.lstrip("-")) > MOST_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits, {MOST_DIGITS} are the most")
    return int(digits)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of its keys and values."""
    content = dict(pairs)
    if len(content) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        raise ValueError(f"the key {counts.most_common(1)[0][0]!r} stands twice in one object")
    return content


_DECODER = json_decoder(_object)
