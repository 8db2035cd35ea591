"""Read scores item by item, as our runs keep them beside a result: `items/<Task>.jsonl.gz`, one JSON object a line.

Every line has `subset`, `split` and `id`. Its other keys announce the items' kind:

| keys                             | items                           | statistic                                   |
|----------------------------------|---------------------------------|---------------------------------------------|
| a metric such as `ndcg_at_10`    | queries                         | their mean                                  |
| `score`, `gold`                  | pairs                           | Spearman, or average precision for 0/1 gold |
| `gold`, `predicted`              | texts, each predicted some times | mean accuracy                               |
| `v_measure`                      | bootstrap draws of documents    | their mean                                  |

`group` (pairs) is the same number for pairs that share a text, directly or through others. `documents` and `drawn`
(clustering) are the number of documents and the number that a draw took.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import UserError
from common.json_text import parse_json
from common.lines import DAMAGED, MOST_BYTES, iter_lines
from comparison.errors import ComparisonError

Row = dict[str, Any]
PLAIN = {"subset", "split", "id", "level", "group", "documents", "drawn"}


@dataclass(frozen=True, eq=False)  # compared by identity, so that results computed from them can be cached
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
        cells: the ones that are compared.
        main_score: the task's score; of several metrics a query, the metric with this mean is taken.

    Returns:
        None where the file has no item of these cells, or of no known kind.

    Raises:
        ComparisonError: the file is damaged.
    """
    try:
        rows = []
        for _, line in iter_lines(path, MOST_BYTES):
            row = parse_json(line)
            if (row["split"], row["subset"]) in cells:
                rows.append(row)
        if not rows:
            return None
        rows.sort(key=lambda row: (row["subset"], _level(row), str(row["id"])))
        return _items(rows, main_score)
    except UserError as error:
        raise ComparisonError(f"{error}; remove the file, or score the task again") from error
    except (*DAMAGED, ValueError, KeyError, TypeError, OverflowError) as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise ComparisonError(f"{path} is damaged ({reason}); remove it, or score the task again") from error


def _level(row: Row) -> str:
    """Return the level of a clustering draw; empty for other items."""
    return str(row.get("level", ""))


def _items(rows: list[Row], main_score: float) -> Items | None:
    subsets = _subset_numbers(rows)
    measured = _measure(rows, subsets, main_score)
    if measured is None or not np.isfinite(measured.values).all():
        return None
    grouped = all("group" in row for row in rows)
    ids = tuple((row["subset"], f"{_level(row)} {row['id']}".strip()) for row in rows)
    for first, second in pairwise(ids):  # they are sorted
        if first == second:
            raise ValueError(f"the item {first[1]!r} of {first[0]!r} stands twice")
    return Items(
        kind=measured.kind,
        ids=ids,
        subsets=subsets,
        values=measured.values,
        gold=measured.gold,
        groups=_group_numbers(rows, grouped),
        grouped=grouped,
        ratio=measured.ratio,
        metric=measured.metric,
    )


def _subset_numbers(rows: list[Row]) -> np.ndarray:
    """Return the number of each row's subset and level, in their order."""
    strata = [(row["subset"], _level(row)) for row in rows]
    numbers = {stratum: number for number, stratum in enumerate(sorted(set(strata)))}
    return np.array([numbers[stratum] for stratum in strata])


def _group_numbers(rows: list[Row], grouped: bool) -> np.ndarray:
    """Return the number of each row's group; without groups in the file every row is its own."""
    if not grouped:
        return np.arange(len(rows))
    names = [f"{row['subset']} {row['group']}" for row in rows]
    return np.asarray(np.unique(np.array(names), return_inverse=True)[1])


@dataclass(frozen=True, eq=False)
class _Measure:
    kind: str
    metric: str
    values: np.ndarray
    gold: np.ndarray = field(default_factory=lambda: np.array([]))
    ratio: float | None = None


def _measure(rows: list[Row], subsets: np.ndarray, main_score: float) -> _Measure | None:
    """Return the values that the rows' keys announce (the table at the top); None for an unknown kind."""
    first = rows[0]
    if "predicted" in first:
        return _Measure("accuracy", "accuracy", _correct(rows))
    if "score" in first and "gold" in first:
        return _measure_pairs(rows)
    if "v_measure" in first:
        return _Measure("draws", "v_measure", _column(rows, "v_measure"), ratio=_draw_ratio(rows))
    metric = _main_metric(rows, subsets, main_score)
    if metric is None:
        return None
    return _Measure("queries", metric, _column(rows, metric))


def _column(rows: list[Row], key: str) -> np.ndarray:
    return np.array([[row[key]] for row in rows], dtype=np.float64)


def _correct(rows: list[Row]) -> np.ndarray:
    """Return 1 where a prediction is right, ``(texts, predictions)``."""
    correct = []
    for row in rows:
        correct.append([label == row["gold"] for label in row["predicted"]])
    return np.array(correct, dtype=np.float64)


def _measure_pairs(rows: list[Row]) -> _Measure:
    gold = np.array([row["gold"] for row in rows], dtype=np.float64)
    values = _column(rows, "score")
    if set(np.unique(gold)) <= {0.0, 1.0}:
        return _Measure("precision", "cosine_ap", values, gold)
    return _Measure("correlation", "cosine_spearman", values, gold)


def _draw_ratio(rows: list[Row]) -> float | None:
    """Return the largest ratio of drawn documents to documents; None where a row does not say."""
    if not all(row.get("documents") and row.get("drawn") for row in rows):
        return None
    return float(max(row["drawn"] / row["documents"] for row in rows))


def _main_metric(rows: list[Row], subsets: np.ndarray, main_score: float) -> str | None:
    """Return the metric a query whose mean over subsets is nearest to the main score; None if none agrees to three decimals."""
    best, smallest = None, 5e-4
    for name in rows[0]:
        if name in PLAIN or not all(name in row for row in rows):
            continue
        column = _column(rows, name)
        means = [column[subsets == subset].mean() for subset in np.unique(subsets)]
        distance = abs(np.mean(means) - main_score)
        if distance < smallest:
            best, smallest = name, distance
    return best
