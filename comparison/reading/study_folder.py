"""Read a study of ours: `cells/<design>-seed<number>-<hash>/`, described by `study.json` or `comparison.json`."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from common.files import is_below
from common.json_text import json_fault, parse_json
from common.lines import read_bytes
from common.number_check import finite
from common.printable import one_line, shown
from comparison.errors import ComparisonError
from comparison.reading.declared_plan import read_declarations
from comparison.reading.study_data import DIVERGED, FAILED, UNFINISHED, StudyData
from comparison.reading.study_file import read_study_file
from comparison.reading.systems import Reading, Score, StudyResults, System, SystemRun, grid_cells

ReadRevision = Callable[[Path], tuple[SystemRun, list[str]]]
CELL = re.compile(r"^(?P<cell>.+)-[0-9a-f]{8}$")
MOST_CHARACTERS = 200  # of a reason
SEEDED = re.compile(r"^(?P<design>.+)-seed(?P<seed>-?\d+)$")


def is_study(directory: Path) -> bool:
    """Return whether a directory is the output of a study; a directory that cannot be read counts as none."""
    try:
        return (directory / "cells").is_dir()
    except PermissionError:
        return False


@dataclass(frozen=True)
class CellFolder:
    """A cell on the disk.

    Attributes:
        name: such as ``model3-seed42``.
        system: the system that it is a run of.
        label: of the run.
        folder: the place of its scores; None if it has no folder.
        failed: the reason of its failure; None if it did not fail.
    """

    name: str
    system: str
    label: str
    folder: Path | None
    failed: str | None

    @property
    def scored_folder(self) -> Path | None:
        """Its folder where that holds scores, whole or damaged."""
        if self.folder is not None and (self.folder / "scores.json").is_file():
            return self.folder
        return None


def read_study(directory: Path, read_revision: ReadRevision) -> Reading:
    """Read the finished cells of a study: a system for each baseline, and for each design with its seeds as runs.

    What `study.json` says of cells goes before names of folders and before `comparison.json`. A cell that failed, or diverged
    and has no scores, is a run whose tasks all failed. A cell that is not finished, or has a damaged file, is left out and
    named.

    Raises:
        ComparisonError: `study.json` or `comparison.json` is damaged.
    """
    reading = Reading()
    data = read_study_file(directory)
    if data is None:
        cells = _unlisted_cells(directory, reading.notes)
    else:
        cells = _listed_cells(directory, data, reading)
        reading.studies = [StudyResults(data, directory, declarations=read_declarations(directory))]
        reading.notes += note_on_grid(data)
    runs: dict[str, list[SystemRun]] = {}  # in the study's order, whatever failed
    without_scores = []
    for cell in cells:
        runs.setdefault(cell.system, [])
        if cell.scored_folder is None:
            without_scores.append(cell)
            continue
        try:
            runs[cell.system].append(_read_cell(cell.scored_folder, cell.label, read_revision, reading.notes))
        except ComparisonError as error:  # hours of other cells are not lost for one file
            reading.damaged.append(f"{cell.name} left out: {error}")
            if cell.failed is not None:
                without_scores.append(cell)
    tasks = System("", directory, tuple(chain.from_iterable(runs.values()))).tasks
    unfinished = []
    for cell in without_scores:
        if cell.failed is None:
            unfinished.append(cell.name)
        else:
            reason = _first_line(cell.failed)
            runs[cell.system].append(SystemRun(cell.label, {}, dict.fromkeys(tasks, reason)))
    if unfinished:
        are = "is" if len(unfinished) == 1 else "are"
        reading.notes.append(f"{directory}: {', '.join(unfinished)} {are} not finished and left out")
    reading.notes += reading.damaged
    if tasks:
        reading.systems = [System(name, directory, tuple(of_system)) for name, of_system in runs.items() if of_system]
    return reading


def note_on_grid(data: StudyData) -> list[str]:
    """Return which systems are the grid of attention and pooling, where designs stand in the study with other settings too."""
    cells = grid_cells(data.cells)
    if not any(cell.setting for cell in data.cells):
        return []
    systems = "; ".join(dict.fromkeys(cell.compared_as for cell in cells))
    return [f"the grid has each design once, at the settings that it chose once all designs have run with theirs: {systems}"]


def _first_line(reason: str) -> str:
    lines = reason.strip().splitlines()
    if not lines:
        return "no reason was kept"
    return lines[0][:MOST_CHARACTERS]


def _unlisted_cells(directory: Path, notes: list[str]) -> list[CellFolder]:
    """Return the cells of a study without `study.json`, from its folders and from `comparison.json` where there is one."""
    summary: dict[str, Any] = {}
    if (directory / "comparison.json").is_file():
        summary = _load(directory / "comparison.json")
    listed = summary.get("cells")
    if not isinstance(listed, list):
        listed = None
    folders = _newest(directory, lambda folder, _: listed is None or folder in listed, notes)
    reasons = _mapping(summary.get("failed"))
    cells = []
    for name in dict.fromkeys([*folders, *reasons]):
        match = SEEDED.match(name)
        system, label = name, ""
        if match:
            system, label = match["design"], f"seed {match['seed']}"
        reason = None
        if name in reasons:
            reason = str(reasons[name])
        cells.append(CellFolder(name, system, label, folders.get(name), reason))
    return cells


def _listed_cells(directory: Path, data: StudyData, reading: Reading) -> list[CellFolder]:
    """Return the cells that `study.json` lists."""
    named = {cell.folder for cell in data.cells}
    unnamed = {cell.name for cell in data.cells if not cell.folder}
    newest = _newest(directory, lambda folder, cell: cell in unnamed and folder not in named, reading.notes)
    cells = []
    for cell in data.cells:
        folder = newest.get(cell.name)
        if cell.folder:
            folder = inside(directory / "cells", cell.folder, directory / "study.json")
        if cell.status == UNFINISHED:
            reading.damaged += _damage(cell.name, folder)
        if cell.status in (FAILED, UNFINISHED):
            folder = None  # scores that it may have are of another evaluation
        reason = None
        if cell.status in (FAILED, DIVERGED):
            reason = cell.reason or cell.status
        cells.append(CellFolder(cell.name, cell.compared_as, cell.run_label, folder, reason))
    return cells


def _damage(name: str, folder: Path | None) -> list[str]:
    """Return the sentence on a cell whose file of scores cannot be read, which is why it counts as unfinished."""
    if folder is None or not (folder / "scores.json").is_file():
        return []
    try:
        _load(folder / "scores.json")
    except ComparisonError as error:
        return [f"{name} left out: {error}"]
    return []


def _newest(directory: Path, wanted: Callable[[str, str], bool], notes: list[str]) -> dict[str, Path]:
    """Return the newest folder of each cell, of those whose folder's and cell's names are wanted."""
    by_cell: dict[str, list[Path]] = {}
    for folder in sorted((directory / "cells").iterdir()):
        if not folder.is_dir():
            continue
        match = CELL.match(folder.name)
        cell = folder.name
        if match:
            cell = match["cell"]
        if wanted(folder.name, cell):
            by_cell.setdefault(cell, []).append(folder)
    newest = {}
    for cell, folders in by_cell.items():
        folders.sort(key=lambda folder: ((folder / "scores.json").is_file(), folder.stat().st_mtime))
        newest[cell] = folders[-1]
        if len(folders) > 1:
            notes.append(f"{directory}: {cell} was run with {len(folders)} settings; the newest is taken, {folders[-1].name}")
    return newest


def _read_cell(folder: Path, label: str, read_revision: ReadRevision, notes: list[str]) -> SystemRun:
    """Read a cell; the items' paths in `scores.json` tell the trained revision from others."""
    content = _load(folder / "scores.json")
    revisions: dict[Path, SystemRun] = {}
    scores: dict[str, Score] = {}
    for name, value in _mapping(content.get("scores")).items():
        entry = _mapping(value)
        task = one_line(name)
        category = str(entry.get("type") or "Other")
        score = None
        if entry.get("items"):
            revision = inside(folder, entry["items"], folder / "scores.json").parent.parent
            if not revision.is_relative_to(folder):
                raise ComparisonError(f"{folder / 'scores.json'}: {shown(entry['items'])} is no path of a folder with results")
            if revision not in revisions:
                revisions[revision], of_revision = read_revision(revision)
                notes += of_revision
            score = revisions[revision].scores.get(task)
        if score is None:
            cell = ("test", "default")
            entries = {cell: finite(entry.get("score"))}
            score = Score(task, entries, category, None, None, folder / "scores.json")
            if isinstance(entry.get("metric"), str):
                score = replace(score, equal={cell: frozenset([entry["metric"]])})
        scores[task] = replace(score, category=category)
    failed: dict[str, str] = {}
    for name, reason in _mapping(content.get("failures")).items():
        if one_line(name) not in scores:
            failed[one_line(name)] = str(reason)[:MOST_CHARACTERS]
    return SystemRun(label, scores, failed)


def inside(folder: Path, name: object, record: Path) -> Path:
    """Return the path that a record names below a folder.

    Raises:
        ComparisonError: the path leads out of the folder, or is none.
    """
    if not isinstance(name, str) or not name or "\0" in name or not is_below(name):
        raise ComparisonError(f"{record}: {shown(name)} must be a path below {folder}; run the study again")
    return folder / name


def _mapping(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        return {}
    return value


def _load(path: Path) -> dict[str, Any]:
    try:
        content = parse_json(read_bytes(path))
    except (OSError, ValueError) as error:
        raise ComparisonError(f"{path} is damaged ({json_fault(error)}); run the study again") from error
    return _mapping(content)
