"""Write a comparison as JSON; where it is large, its comparisons stand in a packed file of their own, one a line."""

from __future__ import annotations

import gzip
import io
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TextIO

from comparison.claims.outcome import Comparison

MOST_INDENTED = 2_000  # comparisons of all categories
LONG_PART = "contrasts.jsonl.gz"
LEVEL = 4  # of packing: half the time of the usual 6, a few per cent larger
IN_PIECES = 3  # levels: the comparison, its categories, a category


def write_json(path: Path, about: Mapping[str, Any], comparison: Comparison) -> list[Path]:
    """Write all numbers of a comparison.

    Above `MOST_INDENTED` comparisons each category has `contrasts_in`, the name of the packed file beside it, instead of its
    `contrasts`; every line of that file is a comparison, with its `category` first. At 120 models these lines are 230 MB
    unpacked, of which no reader needs all at once.

    Args:
        path: of the file.
        about: how it was made; stands at the head.
        comparison: the outcome.

    Returns:
        The files.
    """
    content = {**about, **_parts(comparison)}
    count = 0
    for category in comparison.categories:
        count += len(category.contrasts)
    if count <= MOST_INDENTED:
        with _writing(path) as stream:
            stream.write(json.dumps(plain(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n")
        return [path]
    categories = []
    for category in comparison.categories:
        parts = _parts(category)
        del parts["contrasts"]
        categories.append({**parts, "contrasts_in": LONG_PART})
    with _writing(path) as stream:
        stream.writelines(_pieces({**content, "categories": categories}, IN_PIECES))
        stream.write("\n")
    beside = path.with_name(LONG_PART)
    with (
        beside.open("wb") as file,
        gzip.GzipFile(fileobj=file, filename="", mode="wb", compresslevel=LEVEL, mtime=0) as packed,
        io.TextIOWrapper(packed, encoding="utf-8", errors="backslashreplace") as lines,
    ):
        for category in comparison.categories:
            for contrast in category.contrasts:
                lines.write(_one_piece({"category": category.name, **_parts(contrast)}) + "\n")
    return [path, beside]


def read_json(path: Path) -> dict[str, Any]:
    """Return the content of a comparison's JSON file, a large one's comparisons put back into their categories."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    packed = {category["name"]: category for category in content["categories"] if "contrasts_in" in category}
    for category in packed.values():
        del category["contrasts_in"]
        category["contrasts"] = []
    if packed:
        with gzip.open(path.with_name(LONG_PART), "rt", encoding="utf-8") as lines:
            for line in lines:
                contrast = json.loads(line)
                packed[contrast.pop("category")]["contrasts"].append(contrast)
    return content


def _writing(path: Path) -> TextIO:
    return path.open("w", encoding="utf-8", errors="backslashreplace")


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
