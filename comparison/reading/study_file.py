"""Read and check `study.json`: a mistake is told with its place, what was expected, and the nearest valid name."""

from __future__ import annotations

import json
import math
import types
import typing
from collections import Counter
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from comparison.errors import ComparisonError, nearest
from comparison.reading.study_data import BY, KINDS, STATUSES, UNITS, CurvePoint, StudyData

FILE = "study.json"
FORMAT = 1
ONE_OF = {"status": STATUSES, "kind": KINDS, "by": BY, "unit": UNITS}
NOT_NEGATIVE = {
    "step", "trainable_parameters", "training_seconds", "evaluation_texts_per_second", "evaluation_tokens_per_second",
    "peak_memory_bytes", "count", "total", "texts", "cut", "max_length",
}  # fmt: skip
ONE = 0.01  # a row of attention mass adds up to 1 within this
Made = TypeVar("Made")


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
    for number, cell in enumerate(content["cells"] if isinstance(content.get("cells"), list) else []):
        if isinstance(cell, dict) and "curve" in cell:
            cell["curve"] = _points(cell["curve"], folder, f"{path}: cells[{number}].curve")
    made = _make(StudyData, content, f"{path}:")
    _check(made, path)
    return made


def _points(value: Any, folder: Path, place: str) -> list[dict[str, Any]]:
    """Return the points of a curve that is given itself, or as the path of a `metrics.jsonl` below the study's folder.

    Lines without a loss (an evaluation, the run's summary) are left out; where a run went back to a checkpoint, the lines
    that it wrote again replace the old ones.
    """
    if isinstance(value, str):
        value = _lines(value, folder, place)
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise ComparisonError(f"{place}: expected a list of objects, or the path of a metrics.jsonl below the study's folder")
    known = {one.name for one in fields(CurvePoint)}
    points: dict[int, dict[str, Any]] = {}
    for number, line in enumerate(value):
        if "loss" not in line:
            continue
        step = line.get("step")
        if not isinstance(step, int) or isinstance(step, bool):
            raise ComparisonError(f"{place}[{number}]: expected a whole number as step, found {_shown(step)}")
        for later in [old for old in points if old >= step]:
            del points[later]
        points[step] = {key: _number(line[key]) for key in known & line.keys()}
    return list(points.values())


def _lines(name: str, folder: Path, place: str) -> list[Any]:
    where = PurePosixPath(name)
    if where.is_absolute() or ".." in where.parts:
        raise ComparisonError(f"{place}: {name!r} must be below the study's folder")
    try:
        text = (folder / where).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise ComparisonError(f"{place}: {name!r} cannot be read: {error}") from error
    found = []
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError as error:
            if number == len(lines):  # a run that was killed while it wrote
                break
            raise ComparisonError(f"{place}: {name!r}, line {number} is no JSON") from error
    return found


def _number(value: Any) -> Any:
    """Return a figure as it is, None where a run that diverged wrote NaN or infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _make(kind: type[Made], content: Any, place: str) -> Made:
    """Make a dataclass from an object, its fields checked by their annotations."""
    if not isinstance(content, Mapping):
        raise ComparisonError(f"{place} expected an object, found {_shown(content)}")
    known = {one.name: one for one in fields(kind)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(kind)
    for name in content:
        if name not in known:
            raise ComparisonError(f"{place} unknown field {name!r}{nearest(str(name), known)}; see docs/report_data.md")
    values = {}
    for name, one in known.items():
        if name in content and not (content[name] is None and one.default is not MISSING):
            values[name] = _value(hints[name], content[name], f"{place} {name}" if place.endswith(":") else f"{place}.{name}")
            _limit(name, values[name], f"{place} {name}" if place.endswith(":") else f"{place}.{name}")
        elif one.default is MISSING and one.default_factory is MISSING:
            raise ComparisonError(f"{place} the field {name!r} is missing; see docs/report_data.md")
    return kind(**values)


def _value(hint: Any, value: Any, place: str) -> Any:
    origin, inside = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return None if value is None else _value(next(one for one in inside if one is not type(None)), value, place)
    if is_dataclass(hint):
        return _make(hint, value, place)  # type: ignore[arg-type]
    if origin is list and isinstance(value, list):
        return [_value(inside[0], one, f"{place}[{number}]") for number, one in enumerate(value)]
    if origin is dict and isinstance(value, dict):
        return {str(key): one if inside[1] is Any else _value(inside[1], one, f"{place}.{key}") for key, one in value.items()}
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if hint is float and number and math.isfinite(value):
        return float(value)
    if hint is int and number and value == int(value if math.isfinite(value) else 0):
        return int(value)
    if hint is str and isinstance(value, str):
        return value
    names = {float: "a finite number", int: "a whole number", str: "a text"}
    wanted = names.get(hint, "a list" if origin is list else "an object")
    raise ComparisonError(f"{place}: expected {wanted}, found {_shown(value)}")


def _limit(name: str, value: Any, place: str) -> None:
    if name in ONE_OF and value not in ONE_OF[name]:
        close = nearest(str(value), ONE_OF[name])
        raise ComparisonError(f"{place}: expected {' or '.join(ONE_OF[name])}, found {_shown(value)}{close}")
    if name in NOT_NEGATIVE and isinstance(value, int | float) and value < 0:
        raise ComparisonError(f"{place}: {value} is negative")


def _check(made: StudyData, path: Path) -> None:
    """Check what fields say together."""
    names = [cell.name for cell in made.cells]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ComparisonError(f"{path}: cells: {twice[0]!r} stands there twice")
    for number, one in enumerate(made.attention):
        place = f"{path}: attention[{number}]"
        if one.cell not in names:
            raise ComparisonError(f"{place}.cell: there is no cell {one.cell!r}{nearest(one.cell, names)}")
        widths = {len(row) for row in one.mass}
        if len(widths) != 1 or 0 in widths:
            raise ComparisonError(f"{place}.mass: expected rows of equal length, one number a layer")
        for at, row in enumerate(one.mass):
            if min(row) < 0 or abs(sum(row) - 1) > ONE:
                raise ComparisonError(f"{place}.mass[{at}]: a row's masses are positive and add up to 1, not {sum(row):.4g}")
    for number, cut in enumerate(made.truncation):
        if cut.cut > cut.texts:
            raise ComparisonError(f"{path}: truncation[{number}]: {cut.cut} of {cut.texts} texts are cut")
    for number, leak in enumerate(made.leakage or []):
        if leak.total is not None and leak.count > leak.total:
            raise ComparisonError(f"{path}: leakage[{number}]: {leak.count} of {leak.total} {leak.unit} are found")


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."
