"""Write a comparison as JSON: indented, or where it is large in pieces, so that its text never stands whole in memory."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from comparison.claims.outcome import Comparison

MOST_INDENTED = 2_000  # comparisons of all categories
IN_PIECES = 4  # levels: the comparison, its categories, a category, its contrasts


def write_json(path: Path, about: Mapping[str, Any], comparison: Comparison) -> None:
    """Write all numbers of a comparison.

    Args:
        path: of the file.
        about: how it was made; stands at the head.
        comparison: the outcome.
    """
    content = {**about, **_parts(comparison)}
    count = 0
    for category in comparison.categories:
        count += len(category.contrasts)
    with path.open("w", encoding="utf-8", errors="backslashreplace") as stream:
        if count <= MOST_INDENTED:
            stream.write(json.dumps(plain(content), indent=1, ensure_ascii=False, allow_nan=False))
        else:
            stream.writelines(_pieces(content, IN_PIECES))
        stream.write("\n")


def plain(value: object) -> Any:
    """Return nested data as JSON holds it: numbers that are not finite are null."""
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return list(map(plain, value))
    if is_dataclass(value):
        return plain(_parts(value))
    return value


def _parts(value: object) -> dict[str, object]:
    """Return the fields of a dataclass by name."""
    return {field.name: getattr(value, field.name) for field in fields(value)}  # type: ignore[arg-type]


def _pieces(value: object, levels: int) -> Iterator[str]:
    """Yield the text of nested data; the parts below some levels are one piece each."""
    if is_dataclass(value):
        value = _parts(value)
    if not levels or not isinstance(value, dict | list):
        yield _one_piece(value)
        return
    opening, closing = "[]" if isinstance(value, list) else "{}"
    entries: list[tuple[str, object]] = []
    if isinstance(value, dict):
        for key, part in value.items():
            entries.append((f"{json.dumps(str(key), ensure_ascii=False)}: ", part))
    else:
        entries += [("", part) for part in value]
    between = "\n"
    yield opening
    for name, part in entries:
        yield f"{between}{name}"
        yield from _pieces(part, levels - 1)
        between = ",\n"
    yield f"\n{closing}"


def _one_piece(value: object) -> str:
    try:
        return json.dumps(value, default=_parts, ensure_ascii=False, allow_nan=False)
    except ValueError:  # a number that is not finite
        return json.dumps(plain(value), ensure_ascii=False, allow_nan=False)
