"""Read a study of ours: `cells/<design>-seed<number>-<hash>/` and what `comparison.json` says of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from comparison.errors import ComparisonError
from comparison.systems import Reading, Run, Score, System, finite

ReadRevision = Callable[[Path], tuple[Run, list[str]]]
CELL = re.compile(r"^(?P<cell>.+)-[0-9a-f]{8}$")
SEEDED = re.compile(r"^(?P<design>.+)-seed(?P<seed>-?\d+)$")


def is_study(directory: Path) -> bool:
    """Return whether a directory is the output of a study."""
    return (directory / "cells").is_dir()


def read_study(directory: Path, read_revision: ReadRevision) -> Reading:
    """Read the finished cells of a study: a system for each baseline, and for each design with its seeds as runs.

    A cell that failed is a run without scores, all its tasks failed; one that is not finished is left out and named.

    Raises:
        ComparisonError: a file is damaged.
    """
    reading = Reading()
    about = _load(directory / "comparison.json") if (directory / "comparison.json").is_file() else {}
    chosen = _folders(directory, about, reading.notes)
    failed = _mapping(about.get("failed"))
    runs: dict[str, list[Run]] = {}
    for cell, folder in chosen.items():
        if (folder / "scores.json").is_file():
            design, label = _design(cell)
            runs.setdefault(design, []).append(_read_cell(folder, label, read_revision, reading.notes))
    tasks = list(dict.fromkeys(task for of_design in runs.values() for run in of_design for task in run.scores))
    for cell in [*chosen, *(cell for cell in failed if cell not in chosen)]:
        if cell in chosen and (chosen[cell] / "scores.json").is_file():
            continue
        if cell in failed:
            design, label = _design(cell)
            why = str(failed[cell]).strip().splitlines() or ["no reason was kept"]
            runs.setdefault(design, []).append(Run(label, {}, dict.fromkeys(tasks, why[0][:200])))
        else:
            reading.notes.append(f"{directory}: {cell} is not finished and left out")
    reading.systems = [System(design, directory, tuple(of_design)) for design, of_design in runs.items()]
    if not any(run.scores for of_design in runs.values() for run in of_design):
        reading.systems = []
    return reading


def _folders(directory: Path, about: dict[str, Any], notes: list[str]) -> dict[str, Path]:
    """Return the folder of each cell: those that the study names, else the newest of each name."""
    named = about.get("cells") if isinstance(about.get("cells"), list) else None
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
    return Run(label, scores)


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
