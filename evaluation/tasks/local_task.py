"""A local folder as an mteb task: mteb's own class and metadata where the folder is named as one of its tasks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict
from mteb.abstasks import (
    AbsTask,
    AbsTaskClassification,
    AbsTaskClustering,
    AbsTaskPairClassification,
    AbsTaskRetrieval,
    AbsTaskSTS,
)
from mteb.abstasks.clustering_legacy import AbsTaskClusteringLegacy
from mteb.abstasks.task_metadata import TaskMetadata

from common.errors import UserError
from evaluation.tasks.local_files import COLUMNS, MTEB_TYPES, Row, content_hash, iter_rows, read_settings, split_files
from evaluation.tasks.local_retrieval import reranking, retrieval
from evaluation.tasks.mteb_tasks import clustered, official_task

MAIN_SCORES = {
    "reranking": "map_at_1000",
    "sts": "cosine_spearman",
    "pair": "max_ap",
    "classification": "accuracy",
    "clustering": "v_measure",
    "retrieval": "ndcg_at_10",
}
# mteb's default embeds 4 % of the texts. A folder of mteb's name keeps what mteb's class says; another one is embedded
# whole up to this many texts, drawn with a fixed seed. The fewer, the higher is chance: V-measure 0.019 here for random
# vectors of 20 labels, 0.007 for 20,000 texts.
MAX_CLUSTERING_TEXTS = 4096


class _Clustering(AbsTaskClustering):  # type: ignore[misc]
    max_fraction_of_documents_to_embed = None
    max_document_to_embed = MAX_CLUSTERING_TEXTS


CLASSES: dict[str, type[AbsTask]] = {
    "reranking": AbsTaskRetrieval,
    "sts": AbsTaskSTS,
    "pair": AbsTaskPairClassification,
    "classification": AbsTaskClassification,
    "clustering": _Clustering,
    "retrieval": AbsTaskRetrieval,
}


def local_task(folder: Path, name: str, kind: str, subsets: Sequence[str] = (), splits: Sequence[str] = ()) -> AbsTask:
    """Return the mteb task of a folder, without its data: metadata, splits and subsets are set.

    Of a folder with mteb's name, all subsets that the folder and mteb have, or those of them that are given. The dataset's
    revision is a hash of the folder's content, so that a result says which data it was made with.

    Raises:
        UserError: the folder's type or subsets are not those of the mteb task of its name, or an unknown main score.
    """
    source = {"path": f"local/{name}", "revision": f"local-{content_hash(folder)}"}
    task = official_task(name, subsets, splits)
    if task is None:
        return _own_task(folder, name, kind, source)
    if task.metadata.type != MTEB_TYPES[kind]:
        raise UserError(
            f"{folder} holds {kind} data, but mteb's task {name} is of type {task.metadata.type}: rename the folder"
        )
    if kind not in ("retrieval", "reranking"):
        _keep_local_subsets(task, folder, subsets or task.metadata.hf_subsets)
    elif len(task.hf_subsets) > 1:
        raise UserError(
            f"{folder} holds one set of queries and documents, but mteb's task {name} has {len(task.hf_subsets)} subsets "
            f"({', '.join(task.hf_subsets[:3])}, …): rename the folder, so that it is a task of its own"
        )
    task.metadata = task.metadata.model_copy(update={"dataset": source})
    return task


def _keep_local_subsets(task: AbsTask, folder: Path, wanted: Sequence[str]) -> None:
    found = list(split_files(folder, task.eval_splits))
    task.hf_subsets = [subset for subset in found if subset in wanted]
    if not task.hf_subsets:
        splits, name = " and ".join(task.eval_splits), task.metadata.name
        example = f"{wanted[0]}.{task.eval_splits[0]}.jsonl.gz".removeprefix("default.")
        raise UserError(
            f"{folder} has {found or 'no subset'} with the split {splits}, mteb's task {name} has the subsets {list(wanted)}: "
            f"name the file after one, such as {example}"
        )


def _own_task(folder: Path, name: str, kind: str, source: dict[str, str]) -> AbsTask:
    settings = read_settings(folder)
    subsets = ["default"] if kind in ("retrieval", "reranking") else list(split_files(folder))
    if not subsets:
        raise UserError(f"{folder} has no test.jsonl or test.jsonl.gz")
    metadata = TaskMetadata(
        name=name,
        description=settings.get("description", f"{name}: local {kind} data"),
        dataset=source,
        type=MTEB_TYPES[kind],
        category="t2c" if kind in ("classification", "clustering") else "t2t",
        eval_splits=["test"],
        eval_langs=["eng-Latn"] if subsets == ["default"] else {subset: ["eng-Latn"] for subset in subsets},
        main_score=settings.get("main_score", MAIN_SCORES[kind]),
    )
    task_class = type(f"Local{CLASSES[kind].__name__}", (CLASSES[kind],), {"metadata": metadata})
    return task_class()


def fill(task: AbsTask, folder: Path, kind: str) -> None:
    """Read the folder's rows into the task, under the column names that its class expects.

    Raises:
        UserError: a row or a file is missing or malformed.
    """
    if kind == "retrieval":
        task.dataset = {subset: {split: retrieval(folder, split) for split in task.eval_splits} for subset in task.hf_subsets}
    elif kind == "reranking":
        task.dataset = {subset: {split: reranking(folder, split) for split in task.eval_splits} for subset in task.hf_subsets}
    else:
        files = split_files(folder, task.eval_splits)
        task.dataset = {subset: _rows_of_subset(task, files[subset], kind, folder) for subset in task.hf_subsets}
    task.data_loaded = True


def _rows_of_subset(task: AbsTask, files: dict[str, Path], kind: str, folder: Path) -> DatasetDict:
    splits = list(dict.fromkeys(["train"] * (kind == "classification") + list(task.eval_splits)))
    if kind == "classification" and "train" not in files:
        name = files[splits[-1]].name
        raise UserError(f"{folder} needs a train split beside {name}: the classifier is trained on it")
    rows = {split: list(iter_rows(files[split], COLUMNS[kind])) for split in splits}
    for split in splits:
        if len(rows[split]) < 2:
            raise UserError(f"{files[split]} has {len(rows[split])} rows, a task needs at least 2")
    if kind != "sts":
        rows = _with_labels(task, kind, rows, files)
    columns = {"sts": _sts, "pair": _pair, "classification": _classification, "clustering": _clustering}[kind]
    return DatasetDict({split: Dataset.from_dict(columns(task, part)) for split, part in rows.items()})


def _with_labels(task: AbsTask, kind: str, rows: dict[str, list[Row]], files: dict[str, Path]) -> dict[str, list[Row]]:
    """Check labels, and number those that are texts in sorted order, the same in all splits.

    Whole numbers stay as they are, but for a clustering folder of one's own: to mteb -1 is a text without a label, which it
    leaves out.
    """
    kinds = {type(row["label"]) for part in rows.values() for row in part}
    if {bool, int} <= kinds:
        raise UserError(
            f"{next(iter(files.values())).parent}: some labels are true or false and some are numbers: write all one way"
        )
    for split in rows:
        _check_labels(kind, split, rows, files[split])
        if kind == "clustering":
            _check_size(task, rows[split], files[split])
    if kind == "pair" or (str not in kinds and not isinstance(task, _Clustering)):
        return rows
    labels = {str(row["label"]) for part in rows.values() for row in part}
    number = {label: index for index, label in enumerate(sorted(labels))}
    return {split: [{**row, "label": number[str(row["label"])]} for row in part] for split, part in rows.items()}


def _check_labels(kind: str, split: str, rows: dict[str, list[Row]], path: Path) -> None:
    """Raise a UserError if labels are none, or if whatever the model does has the same score."""
    labels = {row["label"] for row in rows[split]}
    other = labels - {0, 1}  # True and False are 1 and 0
    if kind == "pair" and other:  # numbering other labels would be a guess at which of them means "a pair"
        raise UserError(f"{path}: labels of pairs are 0 and 1, found {', '.join(sorted(map(repr, other))[:3])}")
    if len(labels) < 2 and (kind in ("pair", "clustering") or (kind == "classification" and split == "train")):
        raise UserError(f"{path}: all rows have the label {labels.pop()!r}; such a task measures nothing")
    if kind == "classification" and not set(map(str, labels)) & {str(row["label"]) for row in rows["train"]}:
        raise UserError(f"{path}: none of its labels is one of the train split")


def _check_size(task: Any, rows: list[Row], path: Path) -> None:
    """Raise a UserError if so few texts are clustered that each could be a cluster of its own: the score would be about 1."""
    texts = len(rows) if isinstance(task, AbsTaskClusteringLegacy) else clustered(task, len(rows))
    labels = len({str(row["label"]) for row in rows})
    if texts <= labels:
        few = f" (mteb's task {task.metadata.name} clusters {texts} of so many: rename the folder)" if texts < len(rows) else ""
        raise UserError(f"{path} has {len(rows)} texts with {labels} labels{few}; such a task measures nothing")


def _column(rows: list[Row], name: str) -> list[Any]:
    return [row[name] for row in rows]


def _sts(task: Any, rows: list[Row]) -> dict[str, list[Any]]:
    first, second = task.column_names
    scores = [float(score) for score in _column(rows, "score")]
    return {first: _column(rows, "sentence1"), second: _column(rows, "sentence2"), "score": scores}


def _pair(task: Any, rows: list[Row]) -> dict[str, list[Any]]:
    return {
        task.input1_column_name: _column(rows, "sentence1"),
        task.input2_column_name: _column(rows, "sentence2"),
        task.label_column_name: _column(rows, "label"),
    }


def _classification(task: Any, rows: list[Row]) -> dict[str, list[Any]]:
    return {task.input_column_name: _column(rows, "text"), task.label_column_name: _column(rows, "label")}


def _clustering(task: Any, rows: list[Row]) -> dict[str, list[Any]]:
    texts, labels = _column(rows, "sentence"), _column(rows, "label")
    if isinstance(task, AbsTaskClusteringLegacy):  # its rows are whole sets of texts
        return {task.input_column_name: [texts], task.label_column_name: [labels]}
    return {task.input_column_name: texts, task.label_column_name: labels}
