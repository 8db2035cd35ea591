"""Scores item by item, kept beside each task's result: significance tests resample them.

`<results of a model and revision>/items/<Task>.jsonl.gz` has one JSON object a line, with `subset`, `split` and `id`:

| type                       | a line is | further keys                                                              |
|----------------------------|-----------|---------------------------------------------------------------------------|
| Retrieval, Reranking       | a query   | `ndcg_at_10`, `recall_at_100` and the task's main score where it has one a query |
| STS, PairClassification    | a pair    | `score` (cosine), `gold`, `group`                                         |
| Classification             | a text    | `gold`, `predicted` (a label of each of the runs)                         |
| Clustering                 | a draw    | `level`, `v_measure`, `documents` (there were), `drawn` (of them)         |
| Summarization              | a text    | `cosine_spearman` (over its summaries)                                    |

Pairs have the same `group` if they share a text, directly or through other pairs: they are no independent evidence. Ids are
the query's own, else the row's number. The mean of a query's main score over a subset is mteb's score of it, and so is that
of a text's Spearman (not of SummEval, where mteb averages p-values into it; SummEvalSummarization.v2 has that mended). mteb
leaves out texts whose summaries all have one score.
Read it with `read_items`, or `pandas.read_json(path, lines=True, dtype={"id": str})`.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mteb.abstasks import (
    AbsTask,
    AbsTaskClassification,
    AbsTaskClustering,
    AbsTaskPairClassification,
    AbsTaskRetrieval,
    AbsTaskSTS,
)
from mteb.abstasks.text.summarization import AbsTaskSummarization
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.stats import spearmanr

from evaluation.tasks.mteb_tasks import clustered

Item = dict[str, Any]
# pytrec_eval's names of mteb's scores
TREC_NAMES = {"ndcg": "ndcg_cut", "map": "map_cut", "recall": "recall", "precision": "P", "hit_rate": "success"}


def items_path(folder: Path, task_name: str) -> Path:
    """Return where a task's items are kept in the results folder of a model and revision."""
    return folder / "items" / f"{task_name}.jsonl.gz"


def read_items(path: Path) -> list[Item]:
    """Return a task's items; [] if there is no such file."""
    if not path.is_file():
        return []
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def keeps_items(task: AbsTask) -> bool:
    """Return whether items of this task's type are kept."""
    pairs = (AbsTaskSTS, AbsTaskPairClassification, AbsTaskSummarization)
    return isinstance(task, (AbsTaskRetrieval, AbsTaskClassification, AbsTaskClustering, *pairs))


def record_items(task: Any, path: Path, predictions: Path | None = None) -> None:
    """Make `task` write its items to `path` while mteb evaluates it; it must be given a prediction folder.

    mteb's hooks are `task_specific_scores` (a query's scores) and `_save_task_predictions` (what a model predicted).
    What mteb would save there (9.7 MB for SciFact) is saved only if `predictions`, a folder, is given.
    """
    scores_hook = task.task_specific_scores if isinstance(task, AbsTaskRetrieval) else None
    save_hook = task._save_task_predictions

    def keep_queries(scores: Any, qrels: Any, results: Any, hf_split: str, hf_subset: str) -> Any:
        names = {name: _trec_name(name) for name in ("ndcg_at_10", "recall_at_100", task.metadata.main_score)}
        rows = [{"id": query, **{name: of[trec] for name, trec in names.items() if trec in of}} for query, of in scores.items()]
        _replace(path, rows, hf_subset, hf_split)
        return scores_hook(scores, qrels, results, hf_split=hf_split, hf_subset=hf_subset) if scores_hook else {}

    def keep_predictions(found: Any, model: Any, folder: Path, hf_split: str, hf_subset: str) -> None:
        data = task.dataset.get(hf_subset, task.dataset)[hf_split] if not isinstance(task, AbsTaskRetrieval) else None
        if isinstance(task, AbsTaskClustering):  # its scores come with the result, `write_draws`
            task.sizes_of_draws = {**getattr(task, "sizes_of_draws", {}), (hf_subset, hf_split): _sizes(task, found, data)}
        elif data is not None and keeps_items(task):
            _replace(path, _items(task, found, data), hf_subset, hf_split)
        if predictions is not None:
            save_hook(found, model, predictions, hf_split=hf_split, hf_subset=hf_subset)

    if scores_hook:
        task.task_specific_scores = keep_queries
    task._save_task_predictions = keep_predictions


def _trec_name(score: str) -> str:
    match = re.fullmatch(r"(\w+)_at_(\d+)", score)
    return f"{TREC_NAMES.get(match[1], match[1])}_{match[2]}" if match else score


def _items(task: Any, found: Any, data: Any) -> list[Item]:
    if isinstance(task, AbsTaskSummarization):
        return _texts(task, found, data)
    if isinstance(task, AbsTaskClassification):
        gold, runs = data[task.label_column_name], found
        by_text = zip(gold, zip(*runs, strict=True), strict=True)
        return [{"gold": _plain(g), "predicted": [_plain(p) for p in predicted]} for g, predicted in by_text]
    if isinstance(task, AbsTaskPairClassification) and len(data) == 1:  # mteb's old layout, all pairs in one row
        data = data[0]
    sts = isinstance(task, AbsTaskSTS)
    gold = data["score" if sts else task.label_column_name]
    first, second = task.column_names if sts else (task.input1_column_name, task.input2_column_name)
    groups = connected(data[first], data[second])
    pairs = zip(found["cosine_scores"], gold, groups, strict=True)
    return [{"score": score, "gold": _plain(of_pair), "group": group} for score, of_pair, group in pairs]


def _texts(task: Any, found: Any, data: Any) -> list[Item]:
    """Return the Spearman of each text that mteb kept, under the text's row number; they stand in the order of the rows."""
    lowest, span = task.min_score, task.max_score - task.min_score
    gold = [(np.array(scores) - lowest) / span for scores in data[task.relevancy_column_name]]
    items: list[Item] = []
    row = -1
    for judged, similar in zip(found["human_scores"], found["cosine_scores"], strict=True):
        row = next(later for later in range(row + 1, len(gold)) if np.array_equal(gold[later], judged))
        items.append({"id": str(row), "cosine_spearman": float(spearmanr(judged, similar).statistic)})
    return items


def connected(first: Sequence[str], second: Sequence[str]) -> list[int]:
    """Return a number for each pair of texts, the same for pairs that share a text, directly or through other pairs."""
    nodes: dict[str, int] = {}
    ends = [[nodes.setdefault(text, len(nodes)) for text in texts] for texts in (first, second)]
    graph = coo_array((np.ones(len(ends[0])), (ends[0], ends[1])), shape=(len(nodes), len(nodes)))
    return [int(number) for number in connected_components(graph, directed=False)[1][ends[0]]]


def _sizes(task: Any, found: Mapping[str, list[Any]], data: Any) -> dict[str, int]:
    """Return how many documents a clustering task embedded, by mteb's rule, and how many one draw took."""
    drawn = max(len(draw) for draws in found.values() for draw in draws)
    return {"documents": clustered(task, len(data)), "drawn": drawn}


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def write_draws(
    path: Path, subset: str, split: str, v_measures: Mapping[str, list[float]] | list[float], sizes: Mapping[str, int]
) -> None:
    """Write the V-measure of each bootstrap draw of a clustering task, from mteb's scores, with the sizes of the draws."""
    levels = v_measures if isinstance(v_measures, Mapping) else {"Level 0": v_measures}
    rows = [{"level": level, "v_measure": value, **sizes} for level, values in levels.items() for value in values]
    _replace(path, rows, subset, split)


def _replace(path: Path, rows: list[Item], subset: str, split: str) -> None:
    """Write `rows` as the items of one subset and split; others in the file stay. A kill leaves the old file or the new."""
    others = [item for item in read_items(path) if (item["subset"], item["split"]) != (subset, split)]
    new = [{"subset": subset, "split": split, "id": str(n), **row} for n, row in enumerate(rows)]
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    with gzip.open(part, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(item, ensure_ascii=False) + "\n" for item in others + new)
    part.replace(path)
