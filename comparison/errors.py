"""Errors that a user can act on: the command prints them as one message, without a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ComparisonError(Exception):
    """What is wrong, where, why, and what to do next."""


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` for the valid name nearest to `name`, or an empty string."""
    names = list(valid)
    inside = [one for one in names if name.lower() in one.lower()]  # a user types e5, not the organisation's full name
    match = difflib.get_close_matches(name, names, n=1, cutoff=0.5) or inside[:1]
    return f" (did you mean {match[0]!r}?)" if match else ""
