"""How many characters a task will give to encode, before anything of it is read: for the bar and the time left.

Local folders are judged by the bytes of their files and by their first rows, mteb's own tasks by the statistics that mteb
ships. mteb trains its classifiers on a sample and embeds a part of a clustering task's texts: that is counted too. What
comes out is an estimate; `Progress` corrects it by the tasks that are done.
"""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from evaluation.tasks.find import TaskSpec
from evaluation.tasks.local_files import EVALUATED, data_files, split_files, stem
from evaluation.tasks.local_task import MAX_CLUSTERING_TEXTS

QUERIES = ("queries", *(f"queries.{split}" for split in EVALUATED))
SAMPLE_BYTES = 1 << 16
RUNS_AND_SAMPLES = 80  # mteb's classifiers are trained in 10 runs on 8 texts a label
LABELS = 20  # of a local classification task, whose labels are not read for this
TEXT_KEYS = ("text", "title", "sentence", "sentence1", "sentence2", "query", "positive", "negative")


def expected_characters(specs: Iterable[TaskSpec]) -> list[float]:
    """Return the characters of each task, 0 where they are not known."""
    return [_characters(spec) for spec in specs]


def _characters(spec: TaskSpec) -> float:
    try:
        return local_characters(spec.folder, spec.type) if spec.folder is not None else official_characters(spec.task())
    except Exception:  # an estimate must never stop a task: it fails, or not, when it is loaded
        return 0.0


def local_characters(folder: Path, kind: str) -> float:
    """Return the characters that a local folder of mteb's type `kind` will give to encode."""
    if kind == "Retrieval":
        found = {stem(path): path for path in data_files(folder)}
        queries = next((found[name] for name in QUERIES if name in found), None)
        return sum(math.prod(estimate(path)) for path in (found.get("corpus"), queries) if path is not None)
    total = 0.0
    split = next((split for split in EVALUATED if split_files(folder, [split])), EVALUATED[0])
    for files in split_files(folder, [split]).values():
        characters, rows = estimate(files[split])
        total += characters * (min(rows, MAX_CLUSTERING_TEXTS) if kind == "Clustering" else rows)
        if kind == "Classification" and "train" in files:
            characters, rows = estimate(files["train"])
            total += characters * min(rows, RUNS_AND_SAMPLES * LABELS)
    return total


def estimate(path: Path) -> tuple[float, float]:
    """Return the characters of text in a row of a JSON lines file, and its number of rows, both judged by its first rows."""
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        sample = file.read(SAMPLE_BYTES)
    lines = sample.splitlines()
    whole = lines[:-1] if len(sample) == SAMPLE_BYTES and len(lines) > 1 else lines
    rows = [json.loads(line) for line in whole if line.strip()]
    if not rows:
        return 0.0, 0.0
    used = sum(len(line) + 1 for line in whole)
    return sum(map(_text, rows)) / len(rows), max(len(rows), unpacked_size(path) * len(rows) / used)


def _text(row: dict[str, Any]) -> int:
    values = [row.get(key) for key in TEXT_KEYS]
    texts = [text for value in values for text in (value if isinstance(value, list) else [value])]
    return sum(len(text) for text in texts if isinstance(text, str))


def unpacked_size(path: Path) -> int:
    """Return a file's bytes, of a gzip file those of its content (which its last four bytes say, below 4 GB)."""
    size = path.stat().st_size
    if path.suffix != ".gz" or size < 18:
        return size
    with path.open("rb") as file:
        file.seek(-4, 2)
        return max(size, int.from_bytes(file.read(4), "little"))


def official_characters(task: Any) -> float:
    """Return the characters that one of mteb's own tasks will give to encode, by the statistics that mteb ships."""
    statistics = task.metadata.descriptive_stats or {}
    total = 0.0
    for split in task.eval_splits:
        of_split = statistics.get(split, {})
        subsets = of_split.get("hf_subset_descriptive_stats")
        parts = [subsets[name] for name in task.hf_subsets if name in subsets] if subsets else [of_split]
        total += sum(_official_part(task, part) for part in parts)
    return total


def _official_part(task: Any, part: dict[str, Any]) -> float:
    lengths = [
        value["total_text_length"] for value in part.values() if isinstance(value, dict) and "total_text_length" in value
    ]
    characters = float(part.get("number_of_characters") or sum(lengths))
    rows = part.get("num_samples") or 1
    labels = (part.get("label_statistics") or {}).get("unique_labels")
    if task.metadata.type == "Classification" and labels:
        characters += characters / rows * labels * task.samples_per_label * task.n_experiments
    fraction, most = (getattr(task, f"max_{what}_to_embed", None) for what in ("fraction_of_documents", "document"))
    if fraction is not None:
        characters *= fraction
    elif most is not None:
        characters *= min(1.0, most / rows)
    return characters
