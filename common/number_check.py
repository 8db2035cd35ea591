"""Checks of numbers that come from a file or a flag."""

from __future__ import annotations

import math
from typing import Any, TypeGuard

from common.errors import UserError

MOST_DIGITS = 308  # of a whole number that a float surely holds


def is_number(value: object) -> TypeGuard[int | float]:
    """Return whether a value is a finite number that a float holds; True and False are none.

    >>> is_number(3), is_number(float("nan")), is_number(10**400), is_number(True)
    (True, False, False, False)
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def finite(value: object) -> float:
    """Return a number as a float, NaN where a value is none or is not finite."""
    if is_number(value):
        return float(value)
    return math.nan


def parse_number(value: object) -> float:
    """Return a number, or a text that is one, as a float; NaN for anything else.

    >>> parse_number("0.5"), parse_number("1e400"), parse_number("half")
    (0.5, nan, nan)
    """
    if not isinstance(value, str):
        return finite(value)
    try:
        return finite(float(value))
    except ValueError:
        return math.nan


def check_positive(arguments: Any, *names: str) -> None:
    """Raise `UserError` for the first of the fields ``names`` that is set and not above zero."""
    for name in names:
        value = getattr(arguments, name)
        if value is not None and not value > 0:
            raise UserError(f"--{name} must be above 0, got {value}")
