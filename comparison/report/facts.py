"""The page's tables on cells, recipe, versions, data and cut texts: what a study knows beside its scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from comparison.reading.study_data import CellData, DataFile, StudyData, Truncation
from comparison.reading.systems import StudyResults
from comparison.report.tables.columns import Column, heads, texts
from comparison.report.words.names import name
from comparison.report.words.wording import DASH


def _number(value: int | None) -> str:
    if value is None:
        return DASH
    return str(value)


def _large_number(value: int | None) -> str:
    if value is None:
        return DASH
    return f"{value:,}"


def _name_or_dash(text: str) -> str:
    return name(text) or DASH


def _status(cell: CellData) -> str:
    if cell.reason:
        return f"{cell.status}: {name(cell.reason)}"
    return cell.status


CELLS: Sequence[Column[CellData]] = [
    Column("cell", lambda cell: cell.name, text=_name_or_dash),
    Column("design", lambda cell: cell.design, text=_name_or_dash),
    Column("attention", lambda cell: cell.attention, text=_name_or_dash),
    Column("pooling", lambda cell: cell.pooling, text=_name_or_dash),
    Column("base model", lambda cell: cell.base_model, text=_name_or_dash),
    Column("seed", lambda cell: cell.seed, text=_number),
    Column("status", _status),
]
DATA: Sequence[Column[DataFile]] = [
    Column("what", lambda file: file.name, text=name),
    Column("role", lambda file: file.role, text=name),
    Column("rows", lambda file: file.rows, text=_large_number),
    Column("hash of the content", lambda file: file.hash, text=name),
]
CUTS: Sequence[Column[Truncation]] = [
    Column("task", lambda cut: cut.task, text=name),
    Column("side", lambda cut: cut.side, text=name),
    Column("texts", lambda cut: cut.texts, text=_large_number),
    Column("cut", lambda cut: cut.cut, text=_large_number),
    Column("to tokens", lambda cut: cut.max_length, text=_number),
]


@dataclass(frozen=True)
class FactTable:
    """One table of facts."""

    title: str
    head: list[str]
    rows: list[list[str]]


def facts(studies: Sequence[StudyResults]) -> list[FactTable]:
    """Return the tables of the section on recipe, versions and data; empty where nothing is known."""
    tables: list[FactTable] = []
    for study in studies:
        ending = ""
        if len(studies) > 1 and study.data.title:
            ending = f" of {name(study.data.title)}"
        tables += _facts_of(study.data, ending)
    return tables


def _facts_of(data: StudyData, ending: str) -> list[FactTable]:
    """Return the tables of one study; `ending` closes their titles."""
    tables = [
        FactTable(f"Cells{ending}", heads(CELLS), texts(CELLS, data.cells)),
        FactTable(f"Recipe{ending}", ["setting", "value"], _settings(data.recipe)),
        FactTable(f"Versions{ending}", ["what", "version"], _settings(data.versions)),
        FactTable(f"Data{ending}", heads(DATA), texts(DATA, data.data)),
        FactTable(f"Cut texts{ending}", heads(CUTS), texts(CUTS, data.truncation)),
    ]
    return [table for table in tables if table.rows]


def _settings(settings: Mapping[str, Any]) -> list[list[str]]:
    if not settings:
        return []
    return flat(settings)


def flat(value: object, path: str = "") -> list[list[str]]:
    """Return nested settings as rows of a dotted name and a value."""
    rows: list[list[str]] = []
    if isinstance(value, Mapping) and value:
        for key, part in value.items():
            inner = name(str(key))
            if path:
                inner = f"{path}.{inner}"
            rows += flat(part, inner)
        return rows
    if isinstance(value, list | tuple) and any(isinstance(part, Mapping | list | tuple) for part in value):
        for number, part in enumerate(value, 1):
            rows += flat(part, f"{path}[{number}]")
        return rows
    if isinstance(value, list | tuple):
        return [[path, ", ".join(map(str, value))]]
    if value is None or value == {}:
        return [[path, DASH]]
    return [[path, str(value)]]
