"""The command's error, which it prints as one message without a traceback, and the nearest valid name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from common.errors import UserError


class ComparisonError(UserError):
    """A comparison that cannot be made: the message states the place, the cause and the next step."""


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` for the valid name nearest to `name`, or an empty string.

    Unlike `common.errors.nearest` it takes a part of a name, too: users type e5, not the organisation's full name.

    >>> nearest("e5", ["intfloat/e5-mistral-7b-instruct", "Qwen3-Embedding-8B"])
    " (did you mean 'intfloat/e5-mistral-7b-instruct'?)"
    """
    names = list(valid)
    matches = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if not matches:
        matches = [candidate for candidate in names if name.lower() in candidate.lower()]
    if not matches:
        return ""
    return f" (did you mean {matches[0]!r}?)"
