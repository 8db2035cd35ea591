"""Errors that a user can act on: the scripts print them as one message, without a traceback."""

from __future__ import annotations

import contextlib
import difflib
import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from common.printable import escaped

FAILED, MISUSED, STOPPED = 1, 2, 130  # exit statuses of a command, beside 0


class UserError(Exception):
    """What is wrong, where, why, and what to do next. Scripts print it and exit with a non-zero status.

    Keys, values, names and paths of users stand in messages; what a terminal would obey is escaped here, once for all.
    """

    def __str__(self) -> str:
        """Return the message without control characters."""
        return escaped(super().__str__())


class UsageError(UserError):
    """An error in what the user asked for, found after the flags were parsed; scripts exit with status 2."""


class SharedError(UserError):
    """An error that every process of a run raises; the first one says it for all."""


class DivergedError(SharedError):
    """Training led to values that are not finite; the same command would get there again."""


def tell_launcher(message: str) -> None:
    """Hand an error to torch's launcher, which ends its long report of failed processes with it.

    Without it our line stands above that report alone, and the report says "to enable traceback see …".
    """
    file = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if file:
        with contextlib.suppress(OSError):
            Path(file).write_text(json.dumps({"message": message, "timestamp": int(time.time())}), encoding="utf-8")


def nearest(name: str, valid: Iterable[str], most: int = 1) -> str:
    """Return `` (did you mean 'x' or 'y'?)`` for at most ``most`` valid names near to ``name``, or an empty string."""
    matches = [repr(match) for match in difflib.get_close_matches(name, list(dict.fromkeys(valid)), n=most)]
    listed = " or ".join(", ".join(part) for part in (matches[:-1], matches[-1:]) if part)
    return f" (did you mean {listed}?)" if matches else ""


def exit_status(work: Callable[[], int | None]) -> int:
    """Do a command's work; return its exit status: 1 after an error, which is printed in a line, 2 where it is one of usage.

    Ctrl-C is 130.
    """
    try:
        return work() or 0
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return MISUSED if isinstance(error, UsageError) else FAILED
    except KeyboardInterrupt:
        return STOPPED
