"""A local folder as an mteb task: mteb's own class and metadata where the folder is named as one of its tasks."""

from __future__ import annotations

import hashlib
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

from evaluation.local_data import COLUMNS, MTEB_TYPES, Row, content_hash, data_files, iter_rows, read_settings, split_files
from evaluation.official_tasks import official_task
from model_loaders.errors import UserError

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


def local_task(folder: Path, name: str, kind: str) -> AbsTask:
    """Return the mteb task of a folder, without its data: metadata, splits and subsets are set.

    The dataset's revision is a hash of the folder's content, so that a result says which data it was made with.

    Raises:
        UserError: the folder's type or subsets are not those of the mteb task of its name, or an unknown main score.
    """
    source = {"path": f"local/{name}", "revision": f"local-{content_hash(folder)}"}
    task = official_task(name)
    if task is None:
        return _own_task(folder, name, kind, source)
    if task.metadata.type != MTEB_TYPES[kind]:
        raise UserError(
            f"{folder} holds {kind} data, but mteb's task {name} is of type {task.metadata.type}: rename the folder"
        )
    if kind not in ("retrieval", "reranking"):
        _keep_local_subsets(task, folder, name)
    task.metadata = task.metadata.model_copy(update={"dataset": source})
    return task.filter_eval_splits(["test"])


def _keep_local_subsets(task: AbsTask, folder: Path, name: str) -> None:
    found, wanted = list(split_files(folder)), task.metadata.hf_subsets
    task.hf_subsets = [subset for subset in found if subset in wanted]
    if not task.hf_subsets:
        example = f"{wanted[0]}.test.jsonl.gz" if task.metadata.is_multilingual else "test.jsonl.gz"
        raise UserError(
            f"{folder} has the subsets {found}, mteb's task {name} has {wanted}: name the file after one, such as {example}"
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
        task.dataset = {subset: {"test": _retrieval(folder)} for subset in task.hf_subsets}
    elif kind == "reranking":
        task.dataset = {subset: {"test": _reranking(folder)} for subset in task.hf_subsets}
    else:
        files = split_files(folder)
        task.dataset = {subset: _rows_of_subset(task, files[subset], kind, folder) for subset in task.hf_subsets}
    task.data_loaded = True


def _rows_of_subset(task: AbsTask, files: dict[str, Path], kind: str, folder: Path) -> DatasetDict:
    splits = ["train", "test"] if kind == "classification" else ["test"]
    if kind == "classification" and "train" not in files:
        raise UserError(f"{folder} needs a train split beside {files['test'].name}: the classifier is trained on it")
    rows = {split: list(iter_rows(files[split], COLUMNS[kind])) for split in splits}
    for split in splits:
        if len(rows[split]) < 2:
            raise UserError(f"{files[split]} has {len(rows[split])} rows, a task needs at least 2")
    if kind != "pair":
        rows = _labelled(rows)
    columns = {"sts": _sts, "pair": _pair, "classification": _classification, "clustering": _clustering}[kind]
    return DatasetDict({split: Dataset.from_dict(columns(task, part)) for split, part in rows.items()})


def _labelled(rows: dict[str, list[Row]]) -> dict[str, list[Row]]:
    """Number string labels in sorted order, the same in all splits; leave whole numbers as they are."""
    labels = {row["label"] for part in rows.values() for row in part if "label" in row}
    if all(isinstance(label, int) for label in labels):
        return rows
    number = {label: index for index, label in enumerate(sorted(map(str, labels)))}
    return {split: [{**row, "label": number[str(row["label"])]} for row in part] for split, part in rows.items()}


def _column(rows: list[Row], name: str) -> list[Any]:
    return [row[name] for row in rows]


def _sts(task: Any, rows: list[Row]) -> dict[str, list[Any]]:
    first, second = task.column_names
    scores = [float(score) for score in _column(rows, "score")]
    return {first: _column(rows, "sentence1"), second: _column(rows, "sentence2"), "score": scores}


def _pair(task: Any, rows: list[Row]) -> dict[str, list[Any]]:
    other = {row["label"] for row in rows} - {0, 1}  # True and False are 1 and 0
    if other:  # numbering other labels would be a guess at which of them means "a pair"
        raise UserError(f"{task.metadata.name}: labels of pairs are 0 and 1, found {sorted(map(repr, other))[:3]}")
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


def _one_of(folder: Path, *stems: str) -> Path:
    for path in (folder / f"{stem}{suffix}" for stem in stems for suffix in (".jsonl", ".jsonl.gz", ".tsv")):
        if path.is_file():
            return path
    found = [path.name for path in data_files(folder)]
    raise UserError(f"{folder} has no {stems[0]}.jsonl or {stems[0]}.jsonl.gz; it has {found}")


def _retrieval(folder: Path) -> dict[str, Any]:
    corpus = list(iter_rows(_one_of(folder, "corpus"), ("id", "text")))
    query_rows = iter_rows(_one_of(folder, "queries", "queries.test"), ("id", "text"))
    queries = {str(row["id"]): row["text"] for row in query_rows}
    documents = {str(row["id"]) for row in corpus}
    if len(documents) < len(corpus):
        raise UserError(f"{folder}: the corpus has {len(corpus) - len(documents)} document ids that are not unique")
    path = _one_of(folder, "qrels.test", "qrels/test")
    relevant: dict[str, dict[str, int]] = {}
    for row in iter_rows(path, COLUMNS["retrieval"]):
        query, document = str(row["query-id"]), str(row["corpus-id"])
        if query not in queries or document not in documents:
            raise UserError(f"{path}: query {query!r} or document {document!r} is not in queries or corpus")
        relevant.setdefault(query, {})[document] = _grade(row["score"], path)
    judged = [query for query in queries if query in relevant]
    if not judged:
        raise UserError(f"{path}: no query has a judgement")
    return {
        "corpus": Dataset.from_dict(
            {
                "id": [str(row["id"]) for row in corpus],
                "title": [row.get("title") or "" for row in corpus],
                "text": [row["text"] for row in corpus],
            }
        ),
        "queries": Dataset.from_dict({"id": judged, "text": [queries[query] for query in judged]}),
        "relevant_docs": relevant,
        "top_ranked": None,
    }


def _grade(score: Any, path: Path) -> int:
    """Return a judgement as the whole number that nDCG needs."""
    try:
        if float(score) == int(float(score)):
            return int(float(score))
    except (TypeError, ValueError):
        pass
    raise UserError(f"{path}: a score must be a whole number, found {score!r}")


def _reranking(folder: Path) -> dict[str, Any]:
    """Make one corpus of all candidates. Ids are hashes of the text: ties, which are broken by id, favour no side."""
    path = split_files(folder).get("default", {}).get("test", folder / "test.jsonl.gz")
    texts: dict[str, str] = {}
    queries: dict[str, str] = {}
    relevant: dict[str, dict[str, int]] = {}
    for number, row in enumerate(iter_rows(path, COLUMNS["reranking"])):
        query = str(row.get("id", number))
        grades: dict[str, int] = {}
        for key, grade in (("negative", 0), ("positive", 1)):
            for text in [row[key]] if isinstance(row[key], str) else row[key]:
                identity = hashlib.sha256(text.encode()).hexdigest()[:16]
                texts[identity], grades[identity] = text, grade
        if 1 not in grades.values():
            raise UserError(f"{path}: row {number + 1} has no positive")
        queries[query], relevant[query] = row["query"], grades
    if not queries:
        raise UserError(f"{path} is empty")
    return {
        "corpus": Dataset.from_dict({"id": list(texts), "title": [""] * len(texts), "text": list(texts.values())}),
        "queries": Dataset.from_dict({"id": list(queries), "text": list(queries.values())}),
        "relevant_docs": relevant,
        "top_ranked": {query: sorted(grades) for query, grades in relevant.items()},
    }
