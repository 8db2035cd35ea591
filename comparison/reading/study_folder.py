"""Read a study of ours: `cells/<design>-seed<number>-<hash>/` and what `study.json` or `comparison.json` says of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from comparison.errors import ComparisonError
from comparison.reading.study_data import DIVERGED, FAILED, StudyData
from comparison.reading.study_file import read_study_file
from comparison.reading.systems import Reading, Run, Score, Study, System, finite

ReadRevision = Callable[[Path], tuple[Run, list[str]]]
CELL = re.compile(r"^(?P<cell>.+)-[0-9a-f]{8}$")
SEEDED = re.compile(r"^(?P<design>.+)-seed(?P<seed>-?\d+)$")


def is_study(directory: Path) -> bool:
    """Return whether a directory is the output of a study; one that cannot be looked into is taken for none."""
    try:
        return (directory / "cells").is_dir()
    except PermissionError:
        return False


@dataclass(frozen=True)
class Cell:
    """A cell as it is found: which system it is a run of, where its scores may be, and why it failed, if it did."""

    name: str
    system: str
    label: str
    folder: Path | None
    failed: str | None

    @property
    def has_scores(self) -> bool:
        """Whether its scores are there, whole or damaged."""
        return self.folder is not None and (self.folder / "scores.json").is_file()


def read_study(directory: Path, read_revision: ReadRevision) -> Reading:
    """Read the finished cells of a study: a system for each baseline, and for each design with its seeds as runs.

    What `study.json` says of cells goes before names of folders and before `comparison.json`. A cell that failed or diverged
    and has no scores is a run whose tasks all failed; one that is not finished is left out and named, and so is one of whose
    files one is damaged.

    Raises:
        ComparisonError: `study.json` or `comparison.json` is damaged.
    """
    reading = Reading()
    data = read_study_file(directory)
    cells = _found_cells(directory, reading.notes) if data is None else _named_cells(directory, data, reading.notes)
    runs: dict[str, list[Run]] = {cell.system: [] for cell in cells}  # in the study's order, whatever failed
    damaged = set()
    for cell in cells:
        if cell.has_scores:
            assert cell.folder is not None
            try:
                runs[cell.system].append(_read_cell(cell.folder, cell.label, read_revision, reading.notes))
            except ComparisonError as error:  # hours of other cells are not lost for one file
                damaged.add(cell.name)
                reading.damaged.append(f"{cell.name} left out: {error}")
    tasks = list(dict.fromkeys(task for of_system in runs.values() for run in of_system for task in run.scores))
    for cell in cells:
        if cell.has_scores and cell.name not in damaged:
            continue
        if cell.failed is not None:
            why = cell.failed.strip().splitlines() or ["no reason was kept"]
            runs[cell.system].append(Run(cell.label, {}, dict.fromkeys(tasks, why[0][:200])))
        elif cell.name not in damaged:
            reading.notes.append(f"{directory}: {cell.name} is not finished and left out")
    reading.notes += reading.damaged
    reading.systems = [System(name, directory, tuple(of_system)) for name, of_system in runs.items() if of_system]
    if not any(run.scores for of_system in runs.values() for run in of_system):
        reading.systems = []
    reading.studies = [Study(data, directory)] if data is not None else []
    return reading


def _found_cells(directory: Path, notes: list[str]) -> list[Cell]:
    """Return the cells that folders, and `comparison.json` where there is one, tell of."""
    about = _load(directory / "comparison.json") if (directory / "comparison.json").is_file() else {}
    folders = _folders(directory, about.get("cells") if isinstance(about.get("cells"), list) else None, notes)
    failed = {name: str(reason) for name, reason in _mapping(about.get("failed")).items()}
    return [
        Cell(name, *_design(name), folders.get(name), failed.get(name))
        for name in [*folders, *(name for name in failed if name not in folders)]
    ]


def _named_cells(directory: Path, data: StudyData, notes: list[str]) -> list[Cell]:
    """Return the cells that `study.json` tells of."""
    named = [cell.folder for cell in data.cells] if all(cell.folder for cell in data.cells) else None
    folders = _folders(directory, named, notes)
    found = []
    for cell in data.cells:
        label = "" if cell.seed is None else f"seed {cell.seed}"
        folder = directory / "cells" / cell.folder if cell.folder else folders.get(cell.name)
        failed = (cell.reason or cell.status) if cell.status in (FAILED, DIVERGED) else None
        found.append(Cell(cell.name, cell.compared_as, label, folder, failed))
    return found


def _folders(directory: Path, named: Sequence[str] | None, notes: list[str]) -> dict[str, Path]:
    """Return the folder of each cell: those that the study names, else the newest of each name."""
    found: dict[str, list[Path]] = {}
    for folder in sorted(path for path in (directory / "cells").iterdir() if path.is_dir()):
        match = CELL.match(folder.name)
        if named is None or folder.name in named:
            found.setdefault(match["cell"] if match else folder.name, []).append(folder)
    chosen = {}
    for cell, folders in found.items():
        folders.sort(key=lambda folder: ((folder / "scores.json").is_file(), folder.stat().st_mtime))
        chosen[cell] = folders[-1]
        if len(folders) > 1:
            notes.append(f"{directory}: {cell} was run with {len(folders)} settings; the newest is taken, {folders[-1].name}")
    return chosen


def _read_cell(folder: Path, label: str, read_revision: ReadRevision, notes: list[str]) -> Run:
    """Read a cell; `scores.json` says which revision is the trained one, where several are."""
    content = _load(folder / "scores.json")
    listed = _mapping(content.get("scores"))
    kept: dict[str, Run] = {}
    scores: dict[str, Score] = {}
    for task, entry in ((task, _mapping(entry)) for task, entry in listed.items()):
        items = folder / entry["items"] if entry.get("items") else None
        full = None
        if items is not None:
            revision = items.parent.parent
            if revision.name not in kept:
                kept[revision.name], of_revision = read_revision(revision)
                notes += of_revision
            full = kept[revision.name].scores.get(task)
        category = str(entry.get("type") or "Other")
        if full is None:
            value = finite(entry.get("score"))
            full = Score(task, {("test", "default"): value}, category, None, None, folder / "scores.json")
        scores[task] = replace(full, category=category)
    failed = {task: str(why)[:200] for task, why in _mapping(content.get("failures")).items() if task not in scores}
    return Run(label, scores, failed)


def _design(cell: str) -> tuple[str, str]:
    match = SEEDED.match(cell)
    return (match["design"], f"seed {match['seed']}") if match else (cell, "")


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _load(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ComparisonError(f"{path} is damaged ({reason}); run the study again") from error
    return _mapping(content)
