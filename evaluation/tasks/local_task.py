"""A local folder as an mteb task: mteb's own class and metadata where the folder is named as one of its tasks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict
from mteb import abstasks
from mteb.abstasks import AbsTask, AbsTaskClustering
from mteb.abstasks.clustering_legacy import AbsTaskClusteringLegacy
from mteb.abstasks.task_metadata import TaskMetadata

from common.errors import UserError
from evaluation.tasks.local_files import iter_rows
from evaluation.tasks.local_folder import DEFAULT_SUBSET, FilesBySplit, LocalFolder
from evaluation.tasks.local_retrieval import RetrievalSplit, reranking, reranking_of_parts, retrieval, without_ids
from evaluation.tasks.mteb_tasks import clustered, official_task, official_type, scores_queries_in_parts
from evaluation.tasks.schemas import SET, TRAIN, Content, Layout, TaskRow, TaskSchema

LANGUAGE = "eng-Latn"
MOST_SUBSETS = 8  # in a message
Label = str | int
RowsBySplit = dict[str, list[TaskRow]]
READERS: dict[Layout, Callable[[LocalFolder, str], RetrievalSplit]] = {
    Layout.CORPUS: retrieval,
    Layout.CANDIDATES: reranking,
}


def local_task(folder: LocalFolder, name: str, subsets: Sequence[str] = (), splits: Sequence[str] = ()) -> AbsTask:
    """Return the mteb task of a folder, without its data: metadata, splits and subsets are set.

    Of a folder with mteb's name, all subsets that the folder and mteb have, or those of them that are given. The dataset's
    revision is a hash of the folder's content, so that a result says which data it was made with.

    Raises:
        UserError: the folder's type, subsets or main score are not those of the mteb task of its name.
    """
    schema = folder.schema
    source = {"path": f"local/{name}", "revision": f"local-{folder.hash}"}
    task = official_task(name, subsets, splits)
    if task is None:
        return _own_task(folder, name, source)
    if task.metadata.type != schema.mteb_type:
        raise UserError(
            f"{folder.path} holds {schema.kind} data, but mteb's task {name} is of type {task.metadata.type}: rename the folder"
        )
    main_score = folder.settings.main_score
    if main_score not in (None, task.metadata.main_score):
        raise UserError(
            f"{folder.path}: task.json says main_score {main_score!r}, but that of mteb's task {name} is "
            f"{task.metadata.main_score!r}: leave it out, or give the task a name of its own"
        )
    if schema.layout is Layout.TABLE:
        _keep_local_subsets(task, folder, subsets or task.metadata.hf_subsets)
    elif len(task.hf_subsets) > 1:
        raise UserError(
            f"{folder.path} holds one set of queries and documents, but mteb's task {name} has {len(task.hf_subsets)} subsets "
            f"({', '.join(task.hf_subsets[:3])}, …): rename the folder, so that it is a task of its own"
        )
    source["revision"] += _reading(task, folder)
    task.metadata = task.metadata.model_copy(update={"dataset": source})
    return task


def reading_of(folder: LocalFolder, name: str, subsets: Sequence[str] = (), splits: Sequence[str] = ()) -> str:
    """Return what a result's revision says of how a folder's rows are read, beside their content; mostly nothing."""
    task = official_task(name, subsets, splits)
    return "" if task is None else _reading(task, folder)


def _reading(task: AbsTask, folder: LocalFolder) -> str:
    """Return what the revision says of rows that were read otherwise once: results of that time do not stand for today's."""
    if isinstance(task, AbsTaskClusteringLegacy):
        return "-sets"
    if scores_queries_in_parts(task) and any(without_ids(folder, split) for split in task.eval_splits):
        return "-numbered"
    return ""


def _keep_local_subsets(task: AbsTask, folder: LocalFolder, subsets: Sequence[str]) -> None:
    """Leave a task those of `subsets` that the folder has."""
    local = list(folder.subsets(*task.eval_splits))
    task.hf_subsets = [subset for subset in local if subset in subsets]
    if not task.hf_subsets:
        splits, name = " and ".join(task.eval_splits), task.metadata.name
        example = f"{subsets[0]}.{task.eval_splits[0]}.jsonl.gz".removeprefix(f"{DEFAULT_SUBSET}.")
        raise UserError(
            f"{folder.path} has {local or 'no subset'} with the split {splits}, mteb's task {name} has the subsets "
            f"{list(subsets)}: name the file after one, such as {example}"
        )


def lacking(folder: LocalFolder, subsets: Sequence[str], splits: Sequence[str]) -> str:
    """Return a sentence on those of a benchmark's subsets that a folder lacks; "" where it has them all, or none."""
    if folder.schema.layout is not Layout.TABLE:
        return ""
    try:
        local = folder.subsets(*splits)
    except UserError:  # the task fails with it, and no other
        return ""
    missing = [subset for subset in subsets if subset not in local]
    if len(missing) in (0, len(subsets)):  # without any of them the task fails, with a message of its own
        return ""
    shown = ", ".join(missing[:MOST_SUBSETS]) + (", …" if len(missing) > MOST_SUBSETS else "")
    return (
        f"{folder.path} has {len(subsets) - len(missing)} of the {len(subsets)} subsets that are asked for, and is scored on "
        f"those; it lacks {shown}"
    )


def _own_task(folder: LocalFolder, name: str, source: dict[str, str]) -> AbsTask:
    """Return the task of a folder that is named as none of mteb's tasks."""
    schema, settings = folder.schema, folder.settings
    subsets = list(folder.subsets("test")) if schema.layout is Layout.TABLE else [DEFAULT_SUBSET]
    if not subsets:
        raise UserError(f"{folder.path} has no test.jsonl or test.jsonl.gz")
    languages: Any = [LANGUAGE]
    if subsets != [DEFAULT_SUBSET]:
        languages = {subset: [LANGUAGE] for subset in subsets}
    metadata = TaskMetadata(
        name=name,
        description=settings.description or f"{name}: local {schema.kind} data",
        dataset=source,
        type=schema.mteb_type,
        category=schema.category,
        eval_splits=["test"],
        eval_langs=languages,
        main_score=settings.main_score or schema.main_score,
    )
    mteb_class = getattr(abstasks, schema.mteb_class)
    task_class = type(f"Local{schema.mteb_class}", (mteb_class,), {**schema.class_attributes, "metadata": metadata})
    task: AbsTask = task_class()
    return task


def fill(task: AbsTask, folder: LocalFolder) -> None:
    """Read the folder's rows into the task, under the column names that its class expects.

    Raises:
        UserError: a row or a file is missing or malformed.
    """
    schema = folder.schema
    task.dataset = {}
    files = folder.subsets(*task.eval_splits) if schema.layout is Layout.TABLE else {}
    for subset in task.hf_subsets:
        if schema.layout is Layout.TABLE:
            task.dataset[subset] = _tables(task, schema, files[subset])
        else:
            read = reranking_of_parts if scores_queries_in_parts(task) else READERS[schema.layout]
            task.dataset[subset] = {split: read(folder, split) for split in task.eval_splits}
    task.data_loaded = True


def _tables(task: AbsTask, schema: TaskSchema, files: FilesBySplit) -> DatasetDict:
    """Return the rows of one subset as tables, one a split."""
    splits = list(task.eval_splits)
    if schema.trains:
        if TRAIN not in files:
            path = files[splits[-1]]
            raise UserError(f"{path.parent} needs a train split beside {path.name}: the classifier is trained on it")
        splits = list(dict.fromkeys([TRAIN, *splits]))
    columns = schema.columns
    if isinstance(task, AbsTaskClusteringLegacy):
        columns = (*columns, SET)
        _check_sets(task, files, splits)
    rows = {split: list(iter_rows(files[split], columns)) for split in splits}
    for split in splits:
        if len(rows[split]) < 2:
            raise UserError(f"{files[split]} has {len(rows[split])} rows, a task needs at least 2")
    if schema.label_column:
        rows = _with_labels(task, schema, rows, files)
    return DatasetDict({split: _table(task, schema, rows[split]) for split in splits})


def _check_sets(task: AbsTaskClusteringLegacy, files: FilesBySplit, splits: Sequence[str]) -> None:
    """Raise a UserError if the first row is of no set: one set of all texts would have another score."""
    for split in splits:
        row = next(iter_rows(files[split]), None)
        if row is not None and row.get(SET.name) is None:
            raise UserError(
                f"{files[split]}: mteb's task {task.metadata.name} clusters sets of texts one by one and averages the scores: "
                f"name the set of each row in a column {SET.name!r}, or rename the folder, so that it is a task of its own"
            )


def _table(task: AbsTask, schema: TaskSchema, rows: list[TaskRow]) -> Dataset:
    """Return rows under mteb's names of their columns."""
    assert schema.mteb_columns is not None
    columns: dict[str, list[Any]] = {}
    mteb_columns = schema.mteb_columns(task)
    for column in schema.columns:
        values = [row[column.name] for row in rows]
        if column.content is Content.SCORE:
            values = list(map(float, values))
        if isinstance(task, AbsTaskClusteringLegacy):  # its rows are whole sets of texts
            sets: dict[str, list[Any]] = {}
            for row, value in zip(rows, values, strict=True):
                sets.setdefault(row[SET.name], []).append(value)
            values = list(sets.values())
        columns[mteb_columns[column.name]] = values
    return Dataset.from_dict(columns)


def _with_labels(task: AbsTask, schema: TaskSchema, rows: RowsBySplit, files: FilesBySplit) -> RowsBySplit:
    """Check labels, and number those that are texts in sorted order, the same in all splits.

    Whole numbers stay as they are, but for a clustering folder of one's own: to mteb -1 is a text without a label, which it
    leaves out.
    """
    labels = set[Label]()
    types = set[type]()
    for split in rows:
        for row in rows[split]:
            labels.add(row["label"])
            types.add(type(row["label"]))
    if {bool, int} <= types:
        folder = next(iter(files.values())).parent
        raise UserError(f"{folder}: some labels are true or false and some are numbers: write all one way")
    for split in rows:
        _check_labels(schema, split, rows, files[split])
        if schema.clusters:
            _check_size(task, rows[split], files[split])
    own_clusters = schema.clusters and official_type(task.metadata.name) is None
    if schema.binary or not (str in types or own_clusters):
        return rows
    names = sorted(_names(labels))
    number = dict(zip(names, range(len(names)), strict=True))
    numbered: RowsBySplit = {}
    for split in rows:
        numbered[split] = [{**row, "label": number[str(row["label"])]} for row in rows[split]]
    return numbered


def _check_labels(schema: TaskSchema, split: str, rows: RowsBySplit, path: Path) -> None:
    """Raise a UserError if labels are none, or if whatever the model does has the same score."""
    labels = _labels(rows[split])
    other = labels - {0, 1}  # True and False are 1 and 0
    if schema.binary and other:  # numbering other labels would be a guess at which of them means "a pair"
        raise UserError(f"{path}: labels of pairs are 0 and 1, found {', '.join(sorted(map(repr, other))[:3])}")
    if len(labels) < 2 and (split == TRAIN or not schema.trains):
        raise UserError(f"{path}: all rows have the label {labels.pop()!r}; such a task measures nothing")
    if schema.trains and _names(labels).isdisjoint(_names(_labels(rows[TRAIN]))):
        raise UserError(f"{path}: none of its labels is one of the train split")


def _labels(rows: list[TaskRow]) -> set[Label]:
    return {row["label"] for row in rows}


def _names(labels: set[Label]) -> set[str]:
    return set(map(str, labels))


def _check_size(task: AbsTaskClustering | AbsTaskClusteringLegacy, rows: list[TaskRow], path: Path) -> None:
    """Raise a UserError if so few texts are clustered that each could be a cluster of its own: the score would be about 1."""
    texts = len(rows) if isinstance(task, AbsTaskClusteringLegacy) else clustered(task, len(rows))
    labels = len(_names(_labels(rows)))
    if texts <= labels:
        reason = ""
        if texts < len(rows):
            reason = f" (mteb's task {task.metadata.name} clusters {texts} of so many: rename the folder)"
        raise UserError(f"{path} has {len(rows)} texts with {labels} labels{reason}; such a task measures nothing")
