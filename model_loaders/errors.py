"""Errors that a user can act on: the scripts print them as one message, without a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from safetensors import SafetensorError

# What a full disk, a missing permission or a lost mount raise, by whoever writes.
WRITE_ERRORS = (OSError, SafetensorError)


class UserError(Exception):
    """What is wrong, where, why, and what to do next. Scripts print it and exit with a non-zero status."""


class SharedError(UserError):
    """An error that every process of a run raises; the first one says it for all."""


class DivergedError(SharedError):
    """Training led to values that are not finite; the same command would get there again."""


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` for the valid name nearest to ``name``, or an empty string."""
    match = difflib.get_close_matches(name, list(valid), n=1)
    return f" (did you mean {match[0]!r}?)" if match else ""
