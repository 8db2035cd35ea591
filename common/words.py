"""Sizes, counts and durations in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


def gigabytes(size: float) -> str:
    """Return bytes as GB or MB, of 1000 each."""
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def short(name: str, width: int = 32) -> str:
    """Return `name`, its middle left out where it is longer than `width`."""
    if len(name) <= width:
        return name
    kept = width - 1
    return f"{name[: kept - kept // 2]}…{name[-(kept // 2) :]}"


def duration(seconds: float) -> str:
    """Return `3.2 s`, `4 min`, `1 h 20 min` or `3 d 4 h`."""
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours = minutes // 60
    return f"{hours} h {minutes % 60} min" if hours < 72 else f"{hours // 24} d {hours % 24} h"


def quantity(value: float) -> str:
    """Return a number with three digits and k or M: ``14.2k``."""
    for limit, letter in ((1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.3g}{letter}"
    return f"{value:.3g}"
