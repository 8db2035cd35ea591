"""Lists that something printed into a text, such as a CSV cell: ``['one', 'two']`` is two texts for whoever made it."""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Sequence

LONGEST = 1_000_000  # characters that are parsed; of a longer text only its two ends are looked at
_BEGINS = re.compile(r"\s*(?:array\(|np\.array\()?[\[({]")
_ARRAY = re.compile(r"(?:np\.)?array\((.*?)(?:,\s*dtype=\S+?)?\)", re.DOTALL)
_ENDS_QUOTED = re.compile(r"""\[\s*['"].*['"]\s*,?\s*\]""", re.DOTALL)


def is_printed_list(text: str) -> bool:
    """Whether a text is a list or a set of texts as Python, NumPy or JSON print it.

    >>> is_printed_list("['one', 'two']"), is_printed_list("[1] says the first footnote")
    (True, False)
    """
    if not _BEGINS.match(text):
        return False
    text = text.strip()
    if not text.endswith(("]", ")", "}")) or not ("'" in text or '"' in text):
        return False
    array = _ARRAY.fullmatch(text)
    if array is not None:
        text = array[1].strip()
    if len(text) <= LONGEST:
        for parse in (json.loads, _literal):
            try:
                value = parse(text)
            except (ValueError, SyntaxError, MemoryError, RecursionError):
                continue
            return isinstance(value, list | tuple | set) and _are_texts(list(value))
    return _ENDS_QUOTED.fullmatch(text) is not None


def _literal(text: str) -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a backslash in a text is no escape
        return ast.literal_eval(text)


def _are_texts(values: Sequence[object]) -> bool:
    """Whether values are texts, null or such lists, and some are there."""
    for value in values:
        if isinstance(value, list | tuple):
            if value and not _are_texts(value):
                return False
        elif value is not None and not isinstance(value, str):
            return False
    return bool(values)
