"""Read and check `study.json`: an error names the place, the expected value, and the nearest valid name."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields
from pathlib import Path
from typing import Any

from common.build import build
from common.errors import UserError
from common.files import is_below
from common.json_text import json_fault, parse_json
from common.lines import read_bytes, read_text
from common.number_check import is_number
from common.printable import printable
from comparison.errors import ComparisonError, nearest
from comparison.reading.study_data import CurvePoint, StudyData

FILE = "study.json"
FORMAT = 1
IDENTITIES = {"name", "design", "system", "cell", "folder"}  # texts that stay as they are, so that two never become one


def read_study_file(folder: Path) -> StudyData | None:
    """Read a study's `study.json`; None where there is none.

    Raises:
        ComparisonError: it is no JSON, of another format, or a field is missing, unknown, misshapen or contradicts another.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        content = parse_json(read_bytes(path))
    except (OSError, ValueError) as error:
        raise ComparisonError(f"{path} cannot be read ({json_fault(error)}); run the study again") from error
    if not isinstance(content, dict):
        raise ComparisonError(f"{path}: expected an object, as docs/report_data.md describes")
    if content.pop("format", None) != FORMAT:
        raise ComparisonError(f'{path}: expected "format": {FORMAT}; see docs/report_data.md')
    _read_curves(content.get("cells"), folder, path)
    try:
        data = build(StudyData, _tidy(content), str(path))
    except UserError as error:
        raise ComparisonError(f"{error}; see docs/report_data.md") from error
    _check_names(data, path)
    return data


def _tidy(value: Any, key: str = "") -> Any:
    """Return a JSON value as the dataclasses take it: no nulls, whole numbers as such, printable texts.

    Args:
        value: of the file.
        key: under which it stands; a recipe and names that identify something stay as they are.
    """
    if key == "recipe" or key in IDENTITIES:
        return value
    if isinstance(value, dict):
        return {name: _tidy(entry, name) for name, entry in value.items() if entry is not None}
    if isinstance(value, list):
        return [_tidy(entry, key) for entry in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str):
        return printable(value)
    return value


def _read_curves(cells: object, folder: Path, path: Path) -> None:
    """Replace each cell's curve by its points; another shape of cells is refused later."""
    if not isinstance(cells, list):
        return
    for number, cell in enumerate(cells):
        if isinstance(cell, dict) and "curve" in cell:
            cell["curve"] = _points(cell["curve"], folder, f"{path}: cells[{number}].curve")


def _points(value: object, folder: Path, place: str) -> list[dict[str, Any]]:
    """Return the points of a curve: a list in the file itself, or the path of a `metrics.jsonl` below the study's folder.

    Lines without a loss and without scores (an evaluation of the loss, the run's summary) are left out; where a run went back
    to a checkpoint, the lines that it wrote again replace the old ones.
    """
    if isinstance(value, str):
        value = _lines(value, folder, place)
    if not isinstance(value, list) or not all(isinstance(line, dict) for line in value):
        raise ComparisonError(f"{place}: expected a list of objects, or the path of a metrics.jsonl below the study's folder")
    figures = {field.name for field in fields(CurvePoint)}
    points: dict[int, dict[str, Any]] = {}
    for number, line in enumerate(value):
        if "loss" not in line and "eval_mean" not in line:
            continue
        step = line.get("step")
        if not isinstance(step, int) or isinstance(step, bool):
            raise ComparisonError(f"{place}[{number}]: expected a whole number as step, found {step!r}")
        known = {} if "loss" in line else points.get(step, {})  # scores follow the line of their step
        for earlier in list(points):
            if earlier >= step:
                del points[earlier]
        points[step] = known | {key: _finite_or_none(line[key]) for key in figures & line.keys()}
    return list(points.values())


def _lines(name: str, folder: Path, place: str) -> list[Any]:
    if not is_below(name):
        raise ComparisonError(f"{place}: {name!r} must be below the study's folder")
    try:
        text = read_text(folder / name)
    except OSError as error:
        raise ComparisonError(f"{place}: {name!r} cannot be read: {error.strerror}") from error
    rows = []
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        try:
            rows.append(parse_json(line))
        except ValueError as error:
            if number == len(lines):  # a run that was killed while it wrote
                break
            raise ComparisonError(f"{place}: {name!r}, line {number} is no JSON") from error
    return rows


def _finite_or_none(value: object) -> object:
    """Return a figure as it is, None where a run that diverged wrote NaN or infinity."""
    if isinstance(value, float) and not is_number(value):
        return None
    return value


def _check_names(data: StudyData, path: Path) -> None:
    """Check that cells have names of their own, and that attention is of one of them."""
    names = [cell.name for cell in data.cells]
    for name, count in Counter(names).items():
        if count > 1:
            raise ComparisonError(f"{path}: cells: {name!r} stands there twice")
    for number, attention in enumerate(data.attention):
        if attention.cell not in names:
            place = f"{path}: attention[{number}].cell"
            raise ComparisonError(f"{place}: there is no cell {attention.cell!r}{nearest(attention.cell, names)}")
