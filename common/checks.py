"""Checks of numbers that several groups of flags share."""

from __future__ import annotations

from typing import Any

from common.errors import UserError


def check_positive(arguments: Any, *names: str) -> None:
    """Raise `UserError` for the first of the fields ``names`` that is set and not above zero."""
    for name in names:
        value = getattr(arguments, name)
        if value is not None and not value > 0:
            raise UserError(f"--{name} must be above 0, got {value}")
