"""Leakage: test texts of a study's tasks in its training data, alone and as pairs that belong together.

Texts count as equal if their letters and digits are, so that other capitals, white space, punctuation or tokenisation (mteb
distributes STS12-16 tokenised) hide nothing. A pair is a test's pair of sentences, or a query and a document that answers
it; it has leaked if both stand in one training row.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from common.files import read_json_or_empty, write_json
from common.hashes import digest
from evaluation.tasks.find import find_tasks
from evaluation.tasks.local_files import Row, data_files, iter_rows, split_files, stem
from study.study import Study
from triplets.arguments import DataArguments
from triplets.check.scan import columns
from triplets.dataset import Part
from triplets.read import read_triplets

FORMAT = 1
EXAMPLES = 3
MOST_ROWS = 1000  # training rows of one text that are compared with those of its partner
Pair = tuple[str, str]
TEXT_COLUMNS = ("text", "sentence", "sentence1", "sentence2", "query", "positive", "negative")


@dataclass(frozen=True)
class TaskTexts:
    """A task's different test texts, and the pairs of them that belong together."""

    name: str
    texts: list[str]
    pairs: list[Pair]


def letters(text: str) -> str:
    """Return a text's letters and digits, which decide whether it is another one."""
    return "".join(character for character in text.casefold() if character.isalnum())


def hashes(texts: Iterable[str]) -> np.ndarray:
    """Return uint64 ``(texts,)`` hashes that agree where letters and digits do; 0 for texts without any."""
    values = []
    for text in texts:
        value = 0
        if key := letters(text):
            value = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big")
        values.append(value)
    return np.array(values, dtype=np.uint64)


class TrainingIndex:
    """The texts of one training data set, by hash, with the rows that they stand in."""

    def __init__(self, rows: Iterable[Sequence[str]]) -> None:
        """Index rows, each a sequence of its texts."""
        of_rows, owners = [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
        for number, texts in enumerate(rows):
            of_rows.append(hashes(texts))
            owners.append(np.full(len(texts), number, dtype=np.int64))
        joined = np.concatenate(of_rows)
        order = np.argsort(joined, kind="stable")
        self.hashes = joined[order]
        self.owners = np.concatenate(owners)[order]

    def spans(self, texts: Sequence[str]) -> np.ndarray:
        """Return ``(texts, 2)``: where the entries of each text begin and end; an empty span for texts that are not there."""
        keys = hashes(texts)
        starts = np.searchsorted(self.hashes, keys, side="left")
        ends = np.searchsorted(self.hashes, keys, side="right")
        spans = np.stack([starts, ends], axis=1)
        spans[keys == 0] = 0
        return spans

    def together(self, first: np.ndarray, second: np.ndarray) -> bool:
        """Whether two texts, given by their spans, stand in one training row; equal ones must stand there twice."""
        rows = self.owners[first[0] : min(first[1], first[0] + MOST_ROWS)]
        others = self.owners[second[0] : min(second[1], second[0] + MOST_ROWS)]
        if (first == second).all():
            return bool((np.unique(rows, return_counts=True)[1] > 1).any())
        return bool(np.intersect1d(rows, others).size)


def leaks(training_file: str, index: TrainingIndex, task: TaskTexts) -> list[dict[str, Any]]:
    """Look a task's test texts and pairs up; return the entries of ``study.json`` for those that stand in the index."""
    entries = []

    def add(unit: str, count: int, total: int, examples: list[str]) -> None:
        entries.append(
            {
                "training_file": training_file,
                "task": task.name,
                "count": count,
                "total": total,
                "unit": unit,
                "examples": examples,
            }
        )

    spans = index.spans(task.texts)
    leaked = np.flatnonzero(spans[:, 1] > spans[:, 0]).tolist()
    if leaked:
        add("texts", len(leaked), len(task.texts), [short(task.texts[number]) for number in leaked[:EXAMPLES]])
    if task.pairs:
        first = index.spans([text for text, _ in task.pairs])
        second = index.spans([text for _, text in task.pairs])
        both = np.flatnonzero((first[:, 1] > first[:, 0]) & (second[:, 1] > second[:, 0])).tolist()
        leaked = [number for number in both if index.together(first[number], second[number])]
        if leaked:
            examples = [" / ".join(map(short, task.pairs[number])) for number in leaked[:EXAMPLES]]
            add("pairs", len(leaked), len(task.pairs), examples)
    return entries


def short(text: str) -> str:
    """Return the beginning of a text on one line."""
    line = " ".join(text.split())
    return line if len(line) <= 100 else f"{line[:99]}…"


def evaluation_texts(folder: Path, kind: str) -> TaskTexts:
    """Return the test texts and pairs of a local task; ``kind`` is mteb's name of its type."""
    if kind == "Retrieval":
        return retrieval_texts(folder)
    texts: dict[str, None] = {}
    pairs: list[Pair] = []
    for files in split_files(folder).values():
        for row in iter_rows(files["test"]):
            columns = texts_of(row)
            for of_column in columns.values():
                texts.update(dict.fromkeys(of_column))
            if "sentence1" in columns and "sentence2" in columns:
                pairs.append((columns["sentence1"][0], columns["sentence2"][0]))
            pairs += itertools.product(columns.get("query", []), columns.get("positive", []))
    return TaskTexts(folder.name, list(texts), pairs)


def retrieval_texts(folder: Path) -> TaskTexts:
    """Return the queries and documents of a retrieval task, and each query with every document that answers it."""
    files = {str(path.relative_to(folder).with_name(stem(path))): path for path in data_files(folder)}
    queries = rows_by_id(files.get("queries") or files["queries.test"])
    documents = rows_by_id(files["corpus"])
    pairs: list[Pair] = []
    for row in iter_rows(files.get("qrels.test") or files["qrels/test"], ("query-id", "corpus-id")):
        query = queries.get(str(row["query-id"]))
        document = documents.get(str(row["corpus-id"]))
        if query is not None and document is not None and float(row.get("score") or 0) > 0:
            pairs.append((query, document))
    texts = dict.fromkeys([*queries.values(), *documents.values()])
    return TaskTexts(folder.name, list(texts), pairs)


def texts_of(row: Row) -> dict[str, list[str]]:
    """Return a row's texts by column."""
    texts = {}
    for name in TEXT_COLUMNS:
        value = row.get(name)
        if value:
            members = value if isinstance(value, list) else [value]
            texts[name] = [text for text in members if isinstance(text, str)]
    return texts


def rows_by_id(path: Path) -> dict[str, str]:
    """Return the texts of a corpus or of queries by their ids; a title stands apart from the text in training data."""
    return {str(row["id"]): str(row.get("text") or "") for row in iter_rows(path, ("id",))}


def find_leakage(study: Study) -> tuple[list[dict[str, Any]], list[str]]:
    """Compare all training data of a study with the test data of all its local tasks; kept in ``leakage.json``.

    Returns:
        Entries of ``study.json``, and the tasks whose data are not here and were not looked at.
    """
    path = study.output_dir / "leakage.json"
    key = digest([FORMAT, study.inputs.train_keys, study.inputs.tasks])
    specs = find_tasks(study.config.tasks, study.inputs.eval_dir)
    unseen = [spec.name for spec in specs if spec.folder is None]
    content = read_json_or_empty(path)
    if content.get("key") != key:
        tasks = []
        for spec in specs:
            if spec.folder is not None:
                tasks.append(replace(evaluation_texts(spec.folder, spec.type), name=spec.name))
        entries = []
        for label, rows in training_rows(study):
            index = TrainingIndex(rows)
            for task in tasks:
                entries += leaks(label, index, task)
        content = {"key": key, "found": entries}
        write_json(content, path)
    return content["found"], unseen


def training_rows(study: Study) -> Iterator[tuple[str, Iterator[list[str]]]]:
    """Yield each training data set of the study once: its name, and the texts of its rows."""
    names = {field.name for field in fields(DataArguments)} - {"eval_dataset", "max_eval_samples"}
    seen: set[str] = set()
    for recipe in study.config.recipe_names:
        flags = study.config.flags(recipe)
        arguments = {name: value for name, value in flags.items() if name in names}
        arguments["dataset_config" if "dataset_config" in arguments else "dataset_name"] = study.inputs.train[recipe]
        for part in read_triplets(DataArguments(**arguments), cache_dir=flags.get("cache_dir")).parts:
            content = part.content or part.label
            if content not in seen:
                seen.add(content)
                yield part.label, texts_of_rows(part)


def texts_of_rows(part: Part) -> Iterator[list[str]]:
    """Yield the texts of each row of a data set."""
    for batch in columns(part):
        for query, positive, negatives in zip(batch["query"], batch["positive"], batch["negatives"], strict=True):
            yield [query, positive, *negatives]
