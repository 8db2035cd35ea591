"""Scores item by item, kept beside each task's result: significance tests resample them.

`<results of a model and revision>/items/<Task>.jsonl.gz` has one JSON object a line, with `subset`, `split` and `id`:

| type                       | a line is | further keys                                                              |
|----------------------------|-----------|---------------------------------------------------------------------------|
| Retrieval, Reranking       | a query   | `ndcg_at_10`, `recall_at_100` and the task's main score where it has one a query |
| STS, PairClassification    | a pair    | `score` (cosine), `gold`, `group`                                         |
| Classification             | a text    | `gold`, `predicted` (a label of each of the runs)                         |
| Clustering                 | a draw    | `level`, `v_measure`, `documents` (embedded), `drawn` (of these)          |
| Summarization              | a text    | `cosine_spearman` (over its summaries)                                    |

Other types have none: several labels a text, numbers (Regression), classification by cross-validation, where each run predicts
another part of the texts, mteb's older clustering tasks, bitext mining.

Pairs have the same `group` if they share a text, directly or through other pairs: they are no independent evidence. Ids are
the query's own, else the row's number. The mean of the queries' main scores over a subset is mteb's score of the subset, and
so is the mean of the texts' Spearman (not for SummEval, where mteb averages p-values into it; SummEvalSummarization.v2 mends
that). mteb leaves out texts whose summaries all have the same score.
Read it with `read_items`, or `pandas.read_json(path, lines=True, dtype={"id": str})`.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from mteb.abstasks import (
    AbsTask,
    AbsTaskClassification,
    AbsTaskClustering,
    AbsTaskPairClassification,
    AbsTaskRetrieval,
    AbsTaskSTS,
)
from mteb.abstasks.multilabel_classification import AbsTaskMultilabelClassification
from mteb.abstasks.regression import AbsTaskRegression
from mteb.abstasks.text.summarization import AbsTaskSummarization
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.stats import spearmanr

from common.files import write_whole
from common.json_text import parse_json
from common.lines import MOST_BYTES, iter_lines
from evaluation.tasks.mteb_tasks import clustered

if TYPE_CHECKING:
    from datasets import Dataset

Item = dict[str, Any]
ModelOutput = Any  # what mteb's hook gets: of a shape for each type of task
# pytrec_eval's names of mteb's scores
TREC_NAMES = {"ndcg": "ndcg_cut", "map": "map_cut", "recall": "recall", "precision": "P", "hit_rate": "success"}


def items_path(folder: Path, task_name: str) -> Path:
    """Return where a task's items are kept in the results folder of a model and revision."""
    return folder / "items" / f"{task_name}.jsonl.gz"


def read_items(path: Path) -> list[Item]:
    """Return a task's items; [] if there is no such file.

    >>> items = read_items(results / "ours__plain/revision/items/Task0Retrieval.jsonl.gz")
    >>> len(items), "ndcg_at_10" in items[0]
    (2, True)
    """
    if not path.is_file():
        return []
    return [parse_json(line) for _, line in iter_lines(path, MOST_BYTES)]


def keeps_items(task: AbsTask) -> bool:
    """Return whether items of this task's type are kept; of classification each run must give each text one label."""
    if isinstance(task, AbsTaskClassification):
        other = isinstance(task, (AbsTaskMultilabelClassification, AbsTaskRegression))
        return not (other or task.is_cross_validation)
    pairs = (AbsTaskSTS, AbsTaskPairClassification, AbsTaskSummarization)
    return isinstance(task, (AbsTaskRetrieval, AbsTaskClustering, *pairs))


def record_items(task: AbsTask, path: Path, predictions: Path | None = None) -> None:
    """Make `task` write its items to `path` while mteb evaluates it; it must be given a prediction folder.

    mteb's hooks are `task_specific_scores` (a query's scores) and `_save_task_predictions` (the output of a model).
    What mteb would save there (9.7 MB for SciFact) is saved only if `predictions`, a folder, is given.
    """
    save_predictions = task._save_task_predictions

    def keep_output(output: ModelOutput, model: object, folder: Path, hf_split: str, hf_subset: str) -> None:
        if not isinstance(task, AbsTaskRetrieval):
            rows = task.dataset.get(hf_subset, task.dataset)[hf_split]
            if isinstance(task, AbsTaskClustering):  # its scores come with the result, `write_draws`
                sizes = _sizes(task, output, len(rows))
                task.sizes_of_draws = {**getattr(task, "sizes_of_draws", {}), (hf_subset, hf_split): sizes}
            elif keeps_items(task):
                _replace(path, _items(task, output, rows), hf_subset, hf_split)
        if predictions is not None:
            save_predictions(output, model, predictions, hf_split=hf_split, hf_subset=hf_subset)

    if isinstance(task, AbsTaskRetrieval):
        _record_queries(task, path)
    task._save_task_predictions = keep_output


def _record_queries(task: AbsTaskRetrieval, path: Path) -> None:
    """Make a retrieval task write the scores of each query when mteb computes those of all."""
    task_specific_scores = task.task_specific_scores
    names = {}
    for name in ("ndcg_at_10", "recall_at_100", task.metadata.main_score):
        names[name] = _trec_name(name)

    def keep_queries(
        scores: Mapping[str, Mapping[str, float]], qrels: object, results: object, hf_split: str, hf_subset: str
    ) -> Mapping[str, float]:
        items: list[Item] = []
        for query, by_name in scores.items():
            item: Item = {"id": query}
            for name, trec_name in names.items():
                if trec_name in by_name:
                    item[name] = by_name[trec_name]
            items.append(item)
        _replace(path, items, hf_subset, hf_split)
        specific: Mapping[str, float] = task_specific_scores(scores, qrels, results, hf_split=hf_split, hf_subset=hf_subset)
        return specific

    task.task_specific_scores = keep_queries


def _trec_name(score: str) -> str:
    """Return pytrec_eval's name of a score of mteb."""
    match = re.fullmatch(r"(\w+)_at_(\d+)", score)
    if match is None:
        return score
    return f"{TREC_NAMES.get(match[1], match[1])}_{match[2]}"


def _items(task: AbsTask, output: ModelOutput, rows: Dataset) -> list[Item]:
    """Return the items of a task that is neither retrieval nor clustering."""
    if isinstance(task, AbsTaskSummarization):
        return _text_items(task, output, rows)
    if isinstance(task, AbsTaskClassification):
        return _label_items(rows[task.label_column_name], output)
    if isinstance(task, AbsTaskSTS):
        first, second = task.column_names
        gold = rows["score"]
    else:
        if len(rows) == 1:  # mteb's old layout, all pairs in one row
            rows = rows[0]
        first, second = task.input1_column_name, task.input2_column_name
        gold = rows[task.label_column_name]
    items: list[Item] = []
    for score, gold_value, group in zip(output["cosine_scores"], gold, connected(rows[first], rows[second]), strict=True):
        items.append({"score": score, "gold": _plain(gold_value), "group": group})
    return items


def _label_items(gold: Sequence[object], runs: Sequence[Sequence[object]]) -> list[Item]:
    """Return the label of each text beside the labels that each run predicted."""
    items: list[Item] = []
    for gold_label, predicted in zip(gold, zip(*runs, strict=True), strict=True):
        items.append({"gold": _plain(gold_label), "predicted": [_plain(label) for label in predicted]})
    return items


def _text_items(task: AbsTaskSummarization, output: ModelOutput, rows: Dataset) -> list[Item]:
    """Return the Spearman of each text that mteb kept, under the text's row number; they stand in the order of the rows."""
    lowest = task.min_score
    span = task.max_score - lowest
    gold = [(np.array(scores) - lowest) / span for scores in rows[task.relevancy_column_name]]
    items: list[Item] = []
    row = -1
    for judged, similar in zip(output["human_scores"], output["cosine_scores"], strict=True):
        row += 1
        while not np.array_equal(gold[row], judged):  # mteb left this text out
            row += 1
        items.append({"id": str(row), "cosine_spearman": float(spearmanr(judged, similar).statistic)})
    return items


def connected(first: Sequence[str], second: Sequence[str]) -> list[int]:
    """Return a number for each pair of texts, the same for pairs that share a text, directly or through other pairs."""
    nodes: dict[str, int] = {}
    first_nodes = [nodes.setdefault(text, len(nodes)) for text in first]
    second_nodes = [nodes.setdefault(text, len(nodes)) for text in second]
    edges = (np.ones(len(first_nodes)), (first_nodes, second_nodes))
    _, component = connected_components(coo_array(edges, shape=(len(nodes), len(nodes))), directed=False)
    return [int(number) for number in component[first_nodes]]


def _sizes(task: AbsTaskClustering, draws_by_level: Mapping[str, list[Sequence[int]]], documents: int) -> dict[str, int]:
    """Return how many documents a clustering task embedded, by mteb's rule, and how many a draw took."""
    largest = 0
    for draws in draws_by_level.values():
        largest = max(largest, *map(len, draws))
    return {"documents": clustered(task, documents), "drawn": largest}


def _plain(value: Any) -> Any:
    """Return a value of numpy as one of Python."""
    return value.item() if hasattr(value, "item") else value


def write_draws(
    path: Path, part: tuple[str, str], v_measures: Mapping[str, list[float]] | list[float], sizes: Mapping[str, int]
) -> None:
    """Write the V-measure of each bootstrap draw of a clustering task's subset and split, with the sizes of the draws."""
    levels = v_measures if isinstance(v_measures, Mapping) else {"Level 0": v_measures}
    items: list[Item] = []
    for level, values in levels.items():
        for value in values:
            items.append({"level": level, "v_measure": value, **sizes})
    _replace(path, items, *part)


def _replace(path: Path, items: Sequence[Item], subset: str, split: str) -> None:
    """Write the items of a subset and split; others in the file stay. A kill leaves the old file or the new.

    The same items, written in the same order, give the same bytes: no time and no name in the packed file.
    """
    written = [item for item in read_items(path) if (item["subset"], item["split"]) != (subset, split)]
    for number, item in enumerate(items):
        written.append({"subset": subset, "split": split, "id": str(number), **item})
    lines = [json.dumps(item, ensure_ascii=False) + "\n" for item in written]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, gzip.compress("".join(lines).encode(), mtime=0))
