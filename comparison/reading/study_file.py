"""Read and check `study.json`: an error names the place, the expected value, and the nearest valid name."""

from __future__ import annotations

import json
import math
import types
import typing
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from comparison.errors import ComparisonError, nearest
from comparison.reading.printable import printable
from comparison.reading.study_data import BY, KINDS, STATUSES, UNITS, AttentionMass, CurvePoint, StudyData

FILE = "study.json"
FORMAT = 1
ONE_OF = {"status": STATUSES, "kind": KINDS, "by": BY, "unit": UNITS}
NOT_NEGATIVE = {
    "step",
    "trainable_parameters",
    "training_seconds",
    "evaluation_texts_per_second",
    "evaluation_tokens_per_second",
    "peak_memory_bytes",
    "count",
    "total",
    "texts",
    "cut",
    "max_length",
}
IDENTITIES = {"name", "design", "system", "cell", "folder"}  # texts that stay as they are, so that two never become one
EXPECTED = {float: "a finite number", int: "a whole number", str: "a text", list: "a list"}
TOLERANCE = 0.01  # of the sum of a row of attention mass
MOST_CHARACTERS = 60  # of a value in an error
Built = TypeVar("Built")


def read_study_file(folder: Path) -> StudyData | None:
    """Read a study's `study.json`; None where there is none.

    Raises:
        ComparisonError: it is no JSON, of another format, or a field is missing, unknown, misshapen or contradicts another.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ComparisonError(f"{path} cannot be read ({' '.join(str(error).split())}); run the study again") from error
    if not isinstance(content, dict):
        raise ComparisonError(f"{path}: expected an object, as docs/report_data.md describes")
    if content.pop("format", None) != FORMAT:
        raise ComparisonError(f'{path}: expected "format": {FORMAT}; see docs/report_data.md')
    _read_curves(content.get("cells"), folder, path)
    data = _build(StudyData, content, f"{path}:")
    _check(data, path)
    return data


def _read_curves(cells: object, folder: Path, path: Path) -> None:
    """Replace each cell's curve by its points; another shape of cells is refused later."""
    if not isinstance(cells, list):
        return
    for number, cell in enumerate(cells):
        if isinstance(cell, dict) and "curve" in cell:
            cell["curve"] = _points(cell["curve"], folder, f"{path}: cells[{number}].curve")


def _points(value: object, folder: Path, place: str) -> list[dict[str, Any]]:
    """Return the points of a curve: a list in the file itself, or the path of a `metrics.jsonl` below the study's folder.

    Lines without a loss (an evaluation, the run's summary) are left out; where a run went back to a checkpoint, the lines
    that it wrote again replace the old ones.
    """
    if isinstance(value, str):
        value = _lines(value, folder, place)
    if not isinstance(value, list) or not all(isinstance(line, dict) for line in value):
        raise ComparisonError(f"{place}: expected a list of objects, or the path of a metrics.jsonl below the study's folder")
    figures = {field.name for field in fields(CurvePoint)}
    points: dict[int, dict[str, Any]] = {}
    for number, line in enumerate(value):
        if "loss" not in line:
            continue
        step = line.get("step")
        if not isinstance(step, int) or isinstance(step, bool):
            raise ComparisonError(f"{place}[{number}]: expected a whole number as step, found {_shown(step)}")
        for earlier in list(points):
            if earlier >= step:
                del points[earlier]
        points[step] = {key: _finite_or_none(line[key]) for key in figures & line.keys()}
    return list(points.values())


def _lines(name: str, folder: Path, place: str) -> list[Any]:
    relative = PurePosixPath(name)
    if relative.is_absolute() or ".." in relative.parts:
        raise ComparisonError(f"{place}: {name!r} must be below the study's folder")
    try:
        text = (folder / relative).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise ComparisonError(f"{place}: {name!r} cannot be read: {error}") from error
    rows = []
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            if number == len(lines):  # a run that was killed while it wrote
                break
            raise ComparisonError(f"{place}: {name!r}, line {number} is no JSON") from error
    return rows


def _finite_or_none(value: object) -> object:
    """Return a figure as it is, None where a run that diverged wrote NaN or infinity."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _build(kind: type[Built], content: object, place: str) -> Built:
    """Build a dataclass from an object, its fields checked by their annotations."""
    if not isinstance(content, Mapping):
        raise ComparisonError(f"{place} expected an object, found {_shown(content)}")
    valid = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(kind)
    for name in content:
        if name not in valid:
            raise ComparisonError(f"{place} unknown field {name!r}{nearest(str(name), valid)}; see docs/report_data.md")
    values = {}
    for name, field in valid.items():
        if name not in content and field.default is MISSING and field.default_factory is MISSING:
            raise ComparisonError(f"{place} the field {name!r} is missing; see docs/report_data.md")
        if name not in content or (content[name] is None and field.default is not MISSING):
            continue
        place_of_field = f"{place}.{name}"
        if place.endswith(":"):
            place_of_field = f"{place} {name}"
        value = _value(hints[name], content[name], place_of_field)
        if name in IDENTITIES:
            value = content[name]
        _limit(name, value, place_of_field)
        values[name] = value
    return kind(**values)


def _value(hint: Any, value: Any, place: str) -> Any:
    """Return a JSON value as an annotation wants it: a dataclass, a list, a mapping, a number or a text."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (types.UnionType, typing.Union):  # always a type or None
        if value is None:
            return None
        return _value(arguments[0], value, place)
    if is_dataclass(hint):
        return _build(hint, value, place)  # type: ignore[arg-type]
    if origin is list and isinstance(value, list):
        return [_value(arguments[0], entry, f"{place}[{number}]") for number, entry in enumerate(value)]
    if origin is dict and isinstance(value, dict):
        return {str(key): _value(arguments[1], entry, f"{place}.{key}") for key, entry in value.items()}
    if hint is str and isinstance(value, str):
        return printable(value)
    if hint in (int, float) and _is_number(value) and (hint is float or value == int(value)):
        return hint(value)
    raise ComparisonError(f"{place}: expected {EXPECTED.get(origin or hint, 'an object')}, found {_shown(value)}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _limit(name: str, value: object, place: str) -> None:
    if name in ONE_OF and value not in ONE_OF[name]:
        close = nearest(str(value), ONE_OF[name])
        raise ComparisonError(f"{place}: expected {' or '.join(ONE_OF[name])}, found {_shown(value)}{close}")
    if name in NOT_NEGATIVE and isinstance(value, int | float) and value < 0:
        raise ComparisonError(f"{place}: {value} is negative")


def _check(data: StudyData, path: Path) -> None:
    """Check facts that fields state together."""
    names = [cell.name for cell in data.cells]
    for name, count in Counter(names).items():
        if count > 1:
            raise ComparisonError(f"{path}: cells: {name!r} stands there twice")
    for number, attention in enumerate(data.attention):
        _check_attention(attention, names, f"{path}: attention[{number}]")
    for number, truncation in enumerate(data.truncation):
        if truncation.cut > truncation.texts:
            raise ComparisonError(f"{path}: truncation[{number}]: {truncation.cut} of {truncation.texts} texts are cut")
    for number, leak in enumerate(data.leakage or []):
        if leak.total is not None and leak.count > leak.total:
            raise ComparisonError(f"{path}: leakage[{number}]: {leak.count} of {leak.total} {leak.unit} are found")


def _check_attention(attention: AttentionMass, cells: Sequence[str], place: str) -> None:
    if attention.cell not in cells:
        raise ComparisonError(f"{place}.cell: there is no cell {attention.cell!r}{nearest(attention.cell, cells)}")
    widths = {len(row) for row in attention.mass}
    if len(widths) != 1 or 0 in widths:
        raise ComparisonError(f"{place}.mass: expected rows of equal length, one number a layer")
    for number, row in enumerate(attention.mass):
        if min(row) < 0 or abs(sum(row) - 1) > TOLERANCE:
            raise ComparisonError(f"{place}.mass[{number}]: a row's masses are positive and add up to 1, not {sum(row):.4g}")


def _shown(value: object) -> str:
    text = json.dumps(value, default=str)
    if len(text) <= MOST_CHARACTERS:
        return text
    return f"{text[: MOST_CHARACTERS - 3]}..."
