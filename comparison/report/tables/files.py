"""Write a comparison as `comparison.md`, `comparison.csv`, `comparison.json` and `scores.csv`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from common import csv_files
from common.files import PART
from comparison.claims.outcome import Category, Comparison
from comparison.errors import ComparisonError
from comparison.report.tables.columns import COLUMNS, CSV, pairs_of, records
from comparison.report.tables.json_file import write_json
from comparison.report.tables.markdown import as_markdown

UTF8: Any = {"encoding": "utf-8", "errors": "backslashreplace"}  # a name may hold half a surrogate pair


def save(comparison: Comparison, folder: Path, about: Mapping[str, Any]) -> list[Path]:
    """Write all files into a folder, made if missing.

    Args:
        comparison: the outcome.
        folder: where to.
        about: how it was made; stands at the head of the JSON file.

    Raises:
        ComparisonError: the folder cannot be written, or is a study's, whose own `comparison.json` would be lost.
    """
    check_no_study(folder)
    paths = [folder / name for name in ("comparison.md", "comparison.csv", "comparison.json", "scores.csv")]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        paths[0].write_text(as_markdown(comparison), **UTF8)
        write_csv(paths[1], _comparison_rows(comparison))
        beside = write_json(paths[2], about, comparison)[1:]
        write_csv(paths[3], chain.from_iterable(map(score_rows, comparison.categories)))
    except OSError as error:
        raise not_writable(folder, error) from error
    return [*paths, *beside]


def _comparison_rows(comparison: Comparison) -> Iterator[dict[str, object]]:
    """Yield a row for each comparison."""
    for category in comparison.categories:
        yield from records(COLUMNS, pairs_of(category, comparison), CSV)


def check_no_study(folder: Path) -> None:
    """Raise a `ComparisonError` if a folder is a study's, whose own `comparison.json` would be lost."""
    if (folder / "cells").is_dir():
        raise ComparisonError(f"--output_dir {folder} is a study's directory, which has files of these names; give another one")


def not_writable(folder: Path, error: OSError) -> ComparisonError:
    """Return the error of an output folder that cannot be written, or of the folder in it where files are written aside."""
    if folder.name.startswith(PART):
        folder = folder.parent
    return ComparisonError(f"--output_dir {folder} cannot be written: {error.strerror}; give another directory")


def score_rows(category: Category) -> list[dict[str, object]]:
    """Return a row for each task of a category, with every system's score."""
    rows: list[dict[str, object]] = []
    family_of: dict[str, str] = {}
    for family in category.families:
        family_of |= dict.fromkeys(family, family[0])
    for task in category.tasks:
        place = {"category": category.name, "family": family_of[task], "task": task}
        for system, scores in category.scores.items():
            rows.append({**place, "system": system, "score": scores.get(task)})
    return rows


def write_csv(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Write rows with the fields of the first; a file with one word where there are none.

    A text that a spreadsheet would take for a formula, such as a model's name, gets an apostrophe in front.
    """
    remaining = iter(rows)
    first = next(remaining, None)
    if first is None:
        csv_files.write_csv(path, [["category"]])
        return
    names = list(first)
    values = ([row[name] for name in names] for row in chain([first], remaining))
    csv_files.write_csv(path, chain([names], values))
