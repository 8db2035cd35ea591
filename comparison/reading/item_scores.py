"""Scores item by item, as our runs keep them beside a result: `items/<Task>.jsonl.gz`, one JSON object a line.

Every line has `subset`, `split` and `id`. What else it has says what the items are:

| keys                             | items                           | statistic                                   |
|----------------------------------|---------------------------------|---------------------------------------------|
| a metric such as `ndcg_at_10`    | queries                         | their mean                                  |
| `score`, `gold`                  | pairs                           | Spearman, or average precision for 0/1 gold |
| `gold`, `predicted`              | texts, each predicted some times | mean accuracy                               |
| `v_measure`                      | bootstrap draws of documents    | their mean                                  |

`group` (pairs) is the same number for pairs that share a text, directly or through others. `documents` and `drawn`
(clustering) are how many documents there were and how many a draw took.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from comparison.errors import ComparisonError

PLAIN = {"subset", "split", "id", "level", "group", "documents", "drawn"}


@dataclass(frozen=True, eq=False)  # told apart by identity, so that what is computed of them can be kept
class Items:
    """Items of one task and run, those of the compared split and subsets, sorted by subset and id.

    Attributes:
        kind: ``queries``, ``correlation``, ``precision``, ``accuracy`` or ``draws``.
        ids: subset and id of each item; two runs can be compared item by item where these are the same.
        subsets: number of each item's subset (and level, for draws), ``(items,)``; the task's score is the mean over them.
        values: ``(items, columns)``: the metric, the similarity, whether each prediction is right, or the draw's score.
        gold: of pairs, ``(items,)``; empty for other kinds.
        groups: number of each item's group of connected items, ``(items,)``.
        grouped: whether the file says which items are connected.
        ratio: of draws: documents drawn for each document there is; None if the file does not say.
        metric: what the values are.
    """

    kind: str
    ids: tuple[tuple[str, str], ...]
    subsets: np.ndarray
    values: np.ndarray
    gold: np.ndarray
    groups: np.ndarray
    grouped: bool
    ratio: float | None
    metric: str


def read_items(path: Path, cells: Collection[tuple[str, str]], main_score: float) -> Items | None:
    """Read a run's items of the compared (split, subset) cells.

    Args:
        path: the file.
        cells: what is compared.
        main_score: the task's score; of several metrics a query, the one whose mean it is.

    Returns:
        None where the file has no item of these cells, or of no kind that is known here.

    Raises:
        ComparisonError: the file is damaged.
    """
    try:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
        rows = [row for row in rows if (row["split"], row["subset"]) in cells]
        rows.sort(key=lambda row: (row["subset"], str(row.get("level", "")), str(row["id"])))
        return _items(rows, main_score) if rows else None
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError) as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise ComparisonError(f"{path} is damaged ({reason}); remove it, or score the task again") from error


def _items(rows: list[dict[str, Any]], main_score: float) -> Items | None:
    first = rows[0]
    strata = [(row["subset"], str(row.get("level", ""))) for row in rows]
    subsets = np.array([sorted(set(strata)).index(one) for one in strata])
    gold = np.array([])
    grouped, ratio = all("group" in row for row in rows), None
    if "predicted" in first:
        kind, metric = "accuracy", "accuracy"
        values = np.array([[one == row["gold"] for one in row["predicted"]] for row in rows], dtype=np.float64)
    elif "score" in first and "gold" in first:
        values = np.array([[row["score"]] for row in rows], dtype=np.float64)
        gold = np.array([row["gold"] for row in rows], dtype=np.float64)
        kind = "precision" if set(np.unique(gold)) <= {0.0, 1.0} else "correlation"
        metric = "cosine_ap" if kind == "precision" else "cosine_spearman"
    elif "v_measure" in first:
        kind, metric = "draws", "v_measure"
        values = np.array([[row["v_measure"]] for row in rows], dtype=np.float64)
        if all(row.get("documents") and row.get("drawn") for row in rows):
            ratio = max(row["drawn"] / row["documents"] for row in rows)
    else:
        found = _metric(rows, subsets, main_score)
        if found is None:
            return None
        kind, (metric, values) = "queries", found
    if not np.isfinite(values).all():
        return None
    groups = [f"{row['subset']} {row['group']}" for row in rows] if grouped else range(len(rows))
    ids = tuple((row["subset"], f"{row.get('level', '')} {row['id']}".strip()) for row in rows)
    numbers = np.unique(np.array(list(groups)), return_inverse=True)[1]
    return Items(kind, ids, subsets, values, gold, numbers, grouped, ratio, metric)


def _metric(rows: list[dict[str, Any]], subsets: np.ndarray, main_score: float) -> tuple[str, np.ndarray] | None:
    """Return the metric a query whose mean over subsets is nearest to the main score, if to three decimals."""
    names = [name for name in rows[0] if name not in PLAIN and all(name in row for row in rows)]
    columns = {name: np.array([[row[name]] for row in rows], dtype=np.float64) for name in names}
    means = {name: np.mean([column[subsets == one].mean() for one in np.unique(subsets)]) for name, column in columns.items()}
    near = {name: abs(mean - main_score) for name, mean in means.items() if abs(mean - main_score) < 5e-4}
    if not near:
        return None
    best = min(near, key=lambda name: near[name])
    return best, columns[best]
