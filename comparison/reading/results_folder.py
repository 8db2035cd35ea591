"""Read results from directories: mteb's layout, `<organisation>__<model>/<revision>/<Task>.json`, at any depth.

Below a revision our own runs keep `items/` (scores item by item) and `failures/` (tasks that failed). A revision named
`external` holds scores that a model's authors reported; it fills what the model's own revision lacks. Several revisions
of a model are several systems; models named `<name>-seed<number>` are runs of one.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from common.json_text import json_fault, parse_json
from common.lines import read_bytes
from common.number_check import finite
from common.printable import one_line
from comparison.errors import ComparisonError
from comparison.reading.equal_runs import without_copies
from comparison.reading.measures import equal_to_main, metrics_of_items
from comparison.reading.study_folder import is_study, read_study
from comparison.reading.systems import Reading, Score, System, SystemRun, merge

EXTERNAL = "external"
EXPERIMENTS = "experiments"  # mteb's folder, below a revision, for the same model with other settings
# Folders that hold no result files.
BESIDE = {"items", "recipes", "failures", "predictions", "embeddings", "adapter", "corpus", "cells"}
MOST_NOTES = 3  # in the message of a folder without results
MOST_CHARACTERS = 200  # of a reason
SEED = re.compile(r"^(?P<name>.+?)[-_.]seed[-_]?(?P<seed>\d+)$")
# mteb's metrics of each type, looked for in this order; reranking's files hold nDCG too, summarisation's Spearman
METRICS = (
    ("Clustering", ("v_measure", "v_measures")),
    ("PairClassification", ("max_ap", "cosine_ap", "similarity_ap", "cos_sim_ap")),
    ("MultilabelClassification", ("lrap",)),
    ("STS", ("cosine_spearman", "cos_sim_spearman")),
    ("Reranking", ("map",)),
    ("Retrieval", ("ndcg_at_10",)),
    ("Classification", ("accuracy",)),
)


def read(directories: Sequence[Path]) -> Reading:
    """Read all directories, studies of ours and folders in mteb's layout.

    >>> read([results]).names
    ['better', 'plain', 'worse']

    Raises:
        ComparisonError: a directory is missing, given twice or without results; a file is damaged; one system only.
    """
    resolved = list(map(Path.resolve, directories))
    for number, directory in enumerate(directories):
        if not directory.is_dir():
            raise ComparisonError(f"there is no directory {directory}")
        if resolved[number] in resolved[:number]:
            raise ComparisonError(f"{directory} is given twice")
    reading = merge(list(map(_read_directory, directories)))
    notes: list[str] = []
    systems = [without_copies(system, notes) for system in reading.systems]
    return replace(reading, systems=systems, notes=[*reading.notes, *notes])


def _read_directory(directory: Path) -> Reading:
    try:
        reading = read_study(directory, read_revision) if is_study(directory) else read_folder(directory)
        studies = [str(path) for path in sorted(directory.iterdir()) if path.is_dir() and is_study(path)]
    except OSError as error:
        raise ComparisonError(f"{error.filename or directory} cannot be read: {error.strerror or error}") from error
    if reading.systems:
        return reading
    if studies:
        raise ComparisonError(f"{directory} holds studies; give them themselves: {' '.join(studies)}")
    problem = (
        f"{directory} holds no results: no mteb result files (<organisation>__<model>/<revision>/<Task>.json) and no "
        "finished cell of a study; give the --output_dir of run_mteb.py or of a study, or a clone of mteb's results"
    )
    raise ComparisonError("; ".join([problem, *reading.notes[:MOST_NOTES]]))


def read_folder(directory: Path) -> Reading:
    """Read every result file below a directory; systems in the order of their names."""
    reading = Reading()
    folders: dict[str, list[Path]] = {}
    runs: dict[Path, SystemRun] = {}
    for folder in _revision_folders(directory, reading.notes):
        run, notes = read_revision(folder)
        reading.notes += notes
        if run.scores or run.failed:
            runs[folder] = run
            folders.setdefault(_model_name(folder), []).append(folder)
    models: dict[tuple[str, Path], dict[str, SystemRun]] = {}
    for (model, source), of_model in _apart(folders, directory, reading.notes).items():
        models[model, source] = {folder.name: runs[folder] for folder in of_model}
    designs: dict[tuple[str, Path], list[SystemRun]] = {}
    for (model, source), revisions in models.items():
        for name, run in _join_external(model, revisions, reading.notes):
            match = SEED.match(name)
            if match:
                name, run = match["name"], replace(run, label=f"seed {match['seed']}")
            of_design = designs.setdefault((name, source), [])
            if any(run.label == other.label for other in of_design):  # org/m-seed1 and org/m_seed_1
                run = replace(run, label=f"{run.label} ({one_line(model)})")
            of_design.append(run)
    reading.systems = [System(name, source, tuple(of_design)) for (name, source), of_design in designs.items()]
    return reading


def _apart(folders: dict[str, list[Path]], directory: Path, notes: list[str]) -> dict[tuple[str, Path], list[Path]]:
    """Return the revisions' folders by model and by where that is from: the directory, or a folder below it.

    Where two revisions of one model have one name (mteb calls all local checkpoints alike), they are systems of their own.
    """
    twins = set()
    for model, of_model in folders.items():
        if len({folder.name for folder in of_model}) < len(of_model):
            twins.add(_design(model))
            places = ", ".join(str(folder.relative_to(directory)) for folder in of_model)
            notes.append(f"{model} has results of one revision in several folders, each a system of its own: {places}")
    groups: dict[tuple[str, Path], list[Path]] = {}
    for model, of_model in folders.items():
        bases = [folder.parent.parent for folder in of_model]
        for folder, base in zip(of_model, bases, strict=True):
            source = directory
            if _design(model) in twins:
                source = base if len(set(bases)) == len(bases) else folder.parent
            groups.setdefault((model, source), []).append(folder)
    return groups


def _design(model: str) -> str:
    """Return a model's name without its seed."""
    match = SEED.match(model)
    return match["name"] if match else model


def _revision_folders(directory: Path, notes: list[str]) -> list[Path]:
    """Return the folders below a directory that hold results, links followed, each once; notes get those not readable."""

    def unreadable(error: OSError) -> None:
        notes.append(f"{error.filename or directory}: left out, the folder cannot be read: {error.strerror or error}")

    revisions, visited = [], set[Path]()
    for place, names, _ in os.walk(directory, onerror=unreadable, followlinks=True):
        folder = Path(place)
        if EXPERIMENTS in names and (folder / "model_meta.json").is_file():
            names.remove(EXPERIMENTS)
            notes.append(f"{folder / EXPERIMENTS}: left out, the model with other settings; to compare these give that folder")
        names[:] = sorted(name for name in names if name not in BESIDE and (folder / name).resolve() not in visited)
        visited |= {(folder / name).resolve() for name in names}
        try:
            if _looks_like_revision(folder):
                revisions.append(folder)
        except PermissionError as error:  # its names can be read, and nothing else
            unreadable(PermissionError(error.errno, error.strerror, str(folder)))
    return sorted(revisions)


def _looks_like_revision(folder: Path) -> bool:
    return (folder / "failures").is_dir() or any(_result_files(folder))


def _result_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.json") if path.name != "model_meta.json")


def _join_external(name: str, revisions: dict[str, SystemRun], notes: list[str]) -> list[tuple[str, SystemRun]]:
    """Return systems' names and runs: the external scores fill the gaps of a model's only own revision."""
    own = dict(revisions)
    external = own.pop(EXTERNAL, None)
    if len(own) > 1:
        notes.append(f"{name} has {len(own)} revisions with results: each is a system of its own")
        if external:
            notes.append(
                f"{name}: {len(external.scores)} scores reported by its authors left out: of which revision is unclear"
            )
        length = next(size for size in range(8, 10**4) if len({revision[:size] for revision in own}) == len(own))
        return [(f"{name}@{revision[:length]}", run) for revision, run in own.items()]
    if external is None:
        return [(name, run) for run in own.values()]
    if not own:
        return [(name, external)]
    (run,) = own.values()
    twice = [task for task in external.scores if task in run.scores]
    if twice:
        notes.append(f"{name}: {len(twice)} tasks stand under its revision and as reported by its authors; the first is taken")
    return [(name, replace(run, scores={**external.scores, **run.scores}))]


def _model_name(folder: Path) -> str:
    meta = folder / "model_meta.json"
    if meta.is_file():
        name = _load(meta).get("name")
        if isinstance(name, str) and name:
            return name
    return folder.resolve().parent.name.replace("__", "/", 1)


def read_revision(folder: Path) -> tuple[SystemRun, list[str]]:
    """Read the result files of one model and revision; returns the run, and sentences on what was left out.

    Raises:
        ComparisonError: a file is no valid JSON, or two are of one task.
    """
    scores: dict[str, Score] = {}
    notes: list[str] = []
    others: list[str] = []
    for path in _result_files(folder):
        content = _load(path)
        if "mteb_dataset_name" in content:
            notes.append(f"{path}: left out, in the layout of mteb before 1.11; load and save it with a newer mteb")
        elif isinstance(content.get("task_name"), str) and isinstance(content.get("scores"), dict):
            score = _score(path, content, folder)
            if score.task in scores:
                raise ComparisonError(f"{path} and {scores[score.task].file} are both of {score.task}; remove one")
            scores[score.task] = score
        else:
            others.append(path.name)
    failed: dict[str, str] = {}
    for path in sorted((folder / "failures").glob("*.txt")):
        if one_line(path.stem) not in scores:
            failed[one_line(path.stem)] = _last_line(path)
    if others and (scores or failed or "__" in folder.parent.name):  # elsewhere JSON files may be anything
        notes.append(f"{folder}: left out, no results of mteb (no task_name with scores): {', '.join(others)}")
    return SystemRun(folder.name, scores, failed), notes


def _score(path: Path, content: dict[str, Any], folder: Path) -> Score:
    entries: dict[tuple[str, str], float] = {}
    equal: dict[tuple[str, str], frozenset[str]] = {}
    metrics: dict[tuple[str, str], dict[str, float]] = {}
    category = "Other"
    for split, rows in content["scores"].items():
        if not isinstance(rows, list):
            continue
        for row in rows:
            if isinstance(row, dict):
                cell = str(split), str(row.get("hf_subset", "default"))
                if cell in entries:
                    raise ComparisonError(f"{path}: the subset {cell[1]!r} of {cell[0]!r} stands there twice; remove one")
                entries[cell] = finite(row.get("main_score"))
                equal[cell] = equal_to_main(row)
                metrics[cell] = metrics_of_items(row)
                category = _category(row) or category
    file_name = PurePosixPath(f"{content['task_name']}.jsonl.gz").name  # a name with slashes must not lead out of the folder
    items = folder / "items" / file_name
    return Score(
        task=one_line(content["task_name"]),
        entries=entries,
        category=category,
        dataset_revision=_text(content.get("dataset_revision")),
        mteb_version=_text(content.get("mteb_version")),
        file=path,
        items=items if items.is_file() else None,
        external=folder.name == EXTERNAL,
        equal=equal,
        metrics=metrics,
    )


def _category(row: dict[str, Any]) -> str | None:
    """Guess the type of task from the metrics; a main score that equals a metric says more than the metric's presence."""
    main = finite(row.get("main_score"))
    present = None
    for category, names in METRICS:
        for name in names:
            if name not in row:
                continue
            if math.isfinite(main) and row[name] == main:
                return category
            present = present or category
    return present


def _load(path: Path) -> dict[str, Any]:
    try:
        content = parse_json(read_bytes(path))
    except (OSError, ValueError) as error:
        raise ComparisonError(f"{path} is damaged ({json_fault(error)}); remove it or score the task again") from error
    if not isinstance(content, dict):
        return {}
    return content


def _text(value: object) -> str | None:
    """Return a stated text; some files hold the word None."""
    if value in (None, "", "None"):
        return None
    return str(value)


def _last_line(path: Path) -> str:
    text = path.read_text(encoding="utf-8", errors="replace").strip()
    if not text:
        return "no reason was kept"
    return text.splitlines()[-1].strip()[:MOST_CHARACTERS]
