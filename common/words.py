"""Sizes, counts, durations and names in words."""

from __future__ import annotations

from collections.abc import Sequence


def gigabytes(size: float) -> str:
    """Return bytes as GB or MB, of 1000 each.

    >>> gigabytes(14_500_000_000), gigabytes(2_500_000)
    ('14.50 GB', '2.5 MB')
    """
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def short(name: str, width: int = 32) -> str:
    """Return `name`, its middle left out where it is longer than `width`.

    >>> short("mistralai/Mistral-7B-v0.1", 15)
    'mistral…7B-v0.1'
    """
    if len(name) <= width:
        return name
    end = (width - 1) // 2
    start = width - 1 - end
    return f"{name[:start]}…{name[-end:]}"


def duration(seconds: float) -> str:
    """Return a time in one or two units.

    >>> duration(3.21), duration(250), duration(4800), duration(273600)
    ('3.2 s', '4 min', '80 min', '3 d 4 h')
    """
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours = minutes // 60
    if hours < 72:
        return f"{hours} h {minutes % 60} min"
    return f"{hours // 24} d {hours % 24} h"


def quantity(value: float) -> str:
    """Return a number with three digits and k or M.

    >>> quantity(14_231), quantity(7_240_000)
    ('14.2k', '7.24M')
    """
    for limit, letter in ((1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.3g}{letter}"
    return f"{value:.3g}"


def distinct(names: Sequence[str]) -> list[str]:
    """Return the names, each that stands there twice with a number behind it.

    >>> distinct(["base", "other", "base"])
    ['base-1', 'other', 'base-2']
    """
    names = list(names)
    different = []
    for place, name in enumerate(names):
        number = names[: place + 1].count(name)
        different.append(name if names.count(name) == 1 else f"{name}-{number}")
    return different
