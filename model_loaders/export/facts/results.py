"""The scores of a model in mteb's layout, for its card: ``results/NAME/REVISION/TASK.json``, with items where there are any."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from huggingface_hub import EvalResult

from common.errors import UserError
from common.files import listing, read_json

META, RECORDS = "model_meta.json", "recipes"
NORMAL = 1.96  # standard errors on either side of a mean that make an interval of 95 %
ROUNDING = 2e-4  # between the mean of items and the score in mteb's file


@dataclass(frozen=True)
class Side:
    """How the texts of one side of a task were read.

    Attributes:
        name: ``query``, ``document``, or ``text`` for those of a task without sides.
        prompt: as the recipe has prompts.
        max_length: tokens of a text at most.
    """

    name: str
    prompt: str
    max_length: int


@dataclass(frozen=True)
class Encoder:
    """What made the vectors, as a record says it.

    Attributes:
        version: ``EmbedModel.version``; empty where it is not known.
        dtype: in which it computed.
        revision: commit of its base LLM.
    """

    version: str = ""
    dtype: str = ""
    revision: str = ""


@dataclass(frozen=True)
class Score:
    """One score of a task.

    Attributes:
        task: its name.
        type: mteb's type of the task, where a record says it.
        subset: of the task.
        split: of the task.
        metric: name of the main score; empty where no record says it.
        value: the main score.
        dataset: mteb's name of the data.
        revision: of the data.
        half: half the width of the 95 % interval over items; ``None`` where the score is no mean of items.
        items: how many.
        mteb: version that scored; empty where it is not known.
        sides: with which prompts and lengths; empty where no record says it.
        encoder: of which model.
    """

    task: str
    type: str
    subset: str
    split: str
    metric: str
    value: float
    dataset: str
    revision: str
    half: float | None = None
    items: int = 0
    mteb: str = ""
    sides: tuple[Side, ...] = ()
    encoder: Encoder = Encoder()


def read_scores(place: Path) -> list[Score]:
    """Read the scores of one model. Where the folder has records, a task's file without one is of no finished result.

    Args:
        place: the folder that holds the task files, or one above it that holds a single such folder.

    Raises:
        UserError: there is none, or there are several.
    """
    folders = sorted(path.parent for path in place.rglob(META) if "unfinished" not in path.parts)
    if len(folders) != 1:
        found = f"{len(folders)} folders with {META}" if folders else f"no {META}; it holds: {listing_of(place)}"
        raise UserError(f"{place} has {found}; give the folder of one model and revision (results/NAME/REVISION)")
    scores = []
    recorded = (folders[0] / RECORDS).is_dir()
    for path in sorted(folders[0].glob("*.json")):
        if path.name != META and (not recorded or record_of(path).is_file()):
            scores += scores_of(path)
    if not scores:
        raise UserError(f"{folders[0]} has no finished scores; it holds: {listing_of(folders[0])}")
    return scores


def listing_of(place: Path) -> str:
    """Return some names in a folder, for messages."""
    return listing(place) if place.is_dir() else "nothing, since it is no folder"


def record_of(path: Path) -> Path:
    """Return where the record of a task's file is, if there is one."""
    return path.parent / RECORDS / path.name


def sides_of(record: Mapping[str, Any]) -> tuple[Side, ...]:
    """Return the sides that a record tells whole."""
    sides = []
    for name, side in (record.get("sides") or {}).items():
        prompt, length = side.get("prompt"), side.get("max_length")
        if isinstance(prompt, str) and isinstance(length, int):
            sides.append(Side(str(name), prompt, length))
    return tuple(sides)


def encoder_of(record: Mapping[str, Any]) -> Encoder:
    """Return the model that a record tells."""
    facts = record.get("encoder") or {}
    revision = (facts.get("base_model") or {}).get("revision")
    return Encoder(str(facts.get("version") or ""), str(facts.get("dtype") or ""), str(revision or ""))


def scores_of(path: Path) -> list[Score]:
    """Return the scores in a task's file."""
    content = read_json(path)
    record = read_json(record_of(path)) if record_of(path).is_file() else {}
    items = read_items(path.parent / "items" / f"{path.stem}.jsonl.gz")
    dataset, scores = record.get("dataset") or {}, []
    for split, entries in content.get("scores", {}).items():
        for entry in entries:
            subset, metric = str(entry.get("hf_subset", "default")), str(record.get("main_score") or "")
            value = float(entry["main_score"])
            half, count = interval(items, subset, split, metric, value)
            scores.append(
                Score(
                    task=str(content.get("task_name", path.stem)),
                    type=str(record.get("type") or "Embedding"),
                    subset=subset,
                    split=str(split),
                    metric=metric,
                    value=value,
                    dataset=str(dataset.get("path") or content.get("task_name", path.stem)),
                    revision=str(content.get("dataset_revision") or ""),
                    half=half,
                    items=count,
                    mteb=str(content.get("mteb_version") or ""),
                    sides=sides_of(record),
                    encoder=encoder_of(record),
                )
            )
    return scores


def read_items(path: Path) -> list[dict[str, Any]]:
    """Return the items of a task; none where there is no file."""
    if not path.is_file():
        return []
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def interval(items: Sequence[dict[str, Any]], subset: str, split: str, metric: str, value: float) -> tuple[float | None, int]:
    """Return half the 95 % interval of a score that is the mean of items, and their number; ``None`` where it is none."""
    values = []
    for item in items:
        if item.get("subset") == subset and item.get("split") == split and metric in item:
            values.append(float(item[metric]))
    if len(values) < 2 or abs(float(np.mean(values)) - value) > ROUNDING:
        return None, len(values)
    return NORMAL * float(np.std(values, ddof=1)) / len(values) ** 0.5, len(values)


def model_index(scores: Sequence[Score]) -> list[EvalResult]:
    """Return the scores as the hub's ``model-index`` holds them."""
    results = []
    for score in scores:
        results.append(
            EvalResult(
                task_type=score.type,
                dataset_type=score.dataset,
                dataset_name=f"{score.task} ({score.subset})",
                dataset_config=score.subset,
                dataset_split=score.split,
                dataset_revision=score.revision or None,
                metric_type="main_score",
                metric_name=score.metric or None,
                metric_value=score.value,
            )
        )
    return results


def table_of(scores: Sequence[Score]) -> str:
    """Return the scores as a Markdown table."""
    lines = ["| task | subset | split | measure | score | 95 % interval |", "|---|---|---|---|---|---|"]
    for score in scores:
        between = "–"
        if score.half is not None:
            between = f"[{score.value - score.half:.4f}, {score.value + score.half:.4f}] over {score.items} items"
        cells = [score.task, score.subset, score.split, score.metric or "main score", f"{score.value:.4f}", between]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
