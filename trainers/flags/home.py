"""Paths in the user's home, as the record of a run names them: by ``~``, since the record lies beside the adapter.

An adapter is shared, and a home names a person; with ``~`` the record also starts the run on another machine.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any


def without_home(value: Any) -> Any:
    """Return a value of a record in which each path in the user's home begins with ``~``; lists and mappings in depth."""
    home = Path.home()
    if isinstance(value, dict):
        return {key: without_home(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [without_home(member) for member in value]
    if not isinstance(value, str) or home == Path(home.anchor):  # a home of "/" is nobody's
        return value
    for place in (str(home), str(home.resolve())):
        if value == place or value.startswith(f"{place}/"):
            return f"~{value.removeprefix(place)}"
    return value


def with_home(value: Any) -> Any:
    """Return a value of a file of flags in which a path that begins with ``~/`` is whole; lists and mappings in depth."""
    if isinstance(value, dict):
        return {key: with_home(member) for key, member in value.items()}
    if isinstance(value, list):
        return [with_home(member) for member in value]
    if isinstance(value, str) and (value == "~" or value.startswith("~/")):
        return f"{Path.home()}{value[1:]}"
    return value
