"""Estimate the characters that a task will give to encode, before anything of it is read: for the bar and the time left.

Local folders are judged by the bytes of their files and by their first rows, mteb's own tasks by the statistics that mteb
ships. mteb trains its classifiers on a sample and embeds a part of a clustering task's texts: that is counted too. What
comes out is an estimate; `Progress` corrects it by the tasks that are done.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mteb.abstasks import AbsTask

from common.json_text import parse_json
from common.lines import open_unpacked
from evaluation.tasks.find import TaskSpec
from evaluation.tasks.local_files import stem
from evaluation.tasks.local_folder import LocalFolder
from evaluation.tasks.schemas import EVALUATED, MAX_CLUSTERING_TEXTS, TRAIN, Layout, TaskRow, text_columns

QUERIES = ("queries", *(f"queries.{split}" for split in EVALUATED))
SAMPLE_BYTES = 1 << 16
SMALLEST_GZIP = 18  # bytes: header and trailer
RUNS_AND_SAMPLES = 80  # mteb's classifiers are trained in 10 runs on 8 texts a label
LABELS = 20  # of a local classification task, whose labels are not read for this
TEXT_COLUMNS = text_columns()


def expected_characters(specs: Iterable[TaskSpec]) -> list[float]:
    """Return the characters of each task, 0 where they are not known."""
    return [_characters(spec) for spec in specs]


def _characters(spec: TaskSpec) -> float:
    try:
        return official_characters(spec.task()) if spec.local is None else local_characters(spec.local)
    except Exception:  # an estimate must never stop a task: it fails, or not, when it is loaded
        return 0.0


def local_characters(folder: LocalFolder) -> float:
    """Return the characters that a local folder will give to encode."""
    schema = folder.schema
    if schema.layout is Layout.CORPUS:
        return _searched_characters(folder)
    total = 0.0
    split = next((split for split in EVALUATED if folder.subsets(split)), EVALUATED[0])
    for files in folder.subsets(split).values():
        characters, rows = estimate(files[split])
        if schema.clusters:
            rows = min(rows, MAX_CLUSTERING_TEXTS)
        total += characters * rows
        if schema.trains and TRAIN in files:
            characters, rows = estimate(files[TRAIN])
            total += characters * min(rows, RUNS_AND_SAMPLES * LABELS)
    return total


def _searched_characters(folder: LocalFolder) -> float:
    """Return the characters of the documents and of the queries."""
    files = {stem(path): path for path in folder.files}
    queries = next((files[name] for name in QUERIES if name in files), None)
    total = 0.0
    for path in (files.get("corpus"), queries):
        if path is not None:
            total += math.prod(estimate(path))
    return total


def estimate(path: Path) -> tuple[float, float]:
    """Return the characters of text in a row of a JSON lines file, and its number of rows, both judged by its first rows."""
    with open_unpacked(path) as file:
        sample = file.read(SAMPLE_BYTES)
    lines = sample.splitlines()
    if len(sample) == SAMPLE_BYTES and len(lines) > 1:
        lines.pop()  # the sample ends within it
    rows = [parse_json(line) for line in lines if line.strip()]
    if not rows:
        return 0.0, 0.0
    used = sum(map(len, lines)) + len(lines)  # with the ends of the lines
    return sum(map(_text_length, rows)) / len(rows), max(len(rows), unpacked_size(path) * len(rows) / used)


def _text_length(row: TaskRow) -> int:
    """Return the characters of all texts of a row."""
    total = 0
    for column in TEXT_COLUMNS:
        value = row.get(column)
        texts = value if isinstance(value, list) else [value]
        total += sum(len(text) for text in texts if isinstance(text, str))
    return total


def unpacked_size(path: Path) -> int:
    """Return a file's bytes, of a gzip file those of its content (which its last four bytes say, below 4 GB)."""
    size = path.stat().st_size
    if path.suffix != ".gz" or size < SMALLEST_GZIP:
        return size
    with path.open("rb") as file:
        file.seek(-4, 2)
        return max(size, int.from_bytes(file.read(4), "little"))


def official_characters(task: AbsTask) -> float:
    """Return the characters that one of mteb's own tasks will give to encode, by the statistics that mteb ships."""
    statistics = task.metadata.descriptive_stats or {}
    total = 0.0
    for split in task.eval_splits:
        split_statistics = statistics.get(split, {})
        subsets = split_statistics.get("hf_subset_descriptive_stats")
        if not subsets:
            total += _characters_of_part(task, split_statistics)
            continue
        for name in task.hf_subsets:
            if name in subsets:
                total += _characters_of_part(task, subsets[name])
    return total


def _characters_of_part(task: AbsTask, statistics: Mapping[str, Any]) -> float:
    """Return the characters of one split or subset, by mteb's statistics of it."""
    lengths = []
    for value in statistics.values():
        if isinstance(value, dict) and "total_text_length" in value:
            lengths.append(value["total_text_length"])
    characters = float(statistics.get("number_of_characters") or sum(lengths))
    rows = statistics.get("num_samples") or 1
    labels = (statistics.get("label_statistics") or {}).get("unique_labels")
    if task.metadata.type == "Classification" and labels:
        characters += characters / rows * labels * task.samples_per_label * task.n_experiments
    fraction = getattr(task, "max_fraction_of_documents_to_embed", None)
    most = getattr(task, "max_document_to_embed", None)
    if fraction is not None:
        characters *= fraction
    elif most is not None:
        characters *= min(1.0, most / rows)
    return characters
