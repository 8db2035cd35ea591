"""Leakage: test texts of a study's tasks in its training data, alone, as pairs that belong together, and in large part.

Texts count as equal if their letters and digits are, so that other capitals, white space, punctuation or tokenisation (mteb
distributes STS12-16 tokenised) hide nothing. A pair is a test's pair of sentences, or a query and a document that answers
it; it has leaked if both stand in one training row. `shared_sequences` says what large parts are.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.files import read_json_or_empty, write_json
from common.hashes import digest
from common.text_hash import letter_hashes
from evaluation.tasks.find import TaskSpec, find_tasks
from evaluation.tasks.local_files import iter_rows
from evaluation.tasks.local_folder import LocalFolder
from evaluation.tasks.local_retrieval import corpus_file, judged_split, judgements_file, queries_file
from evaluation.tasks.schemas import JUDGEMENT, QUERY, Layout
from study.input_keys import stages_key
from study.report.shared_sequences import LEAST_SHARE, SequenceIndex, same_source
from study.study import Study, data_flags, rows_of_stages, rows_of_trainings, staged_trainings, trainings
from triplets.check.scan import columns
from triplets.check.text_index import TextIndex
from triplets.dataset import LoadedDataSet

FORMAT = 3
EXAMPLES = 3
Pair = tuple[str, str]


@dataclass(frozen=True)
class TaskTexts:
    """A task's different test texts, and the pairs of them that belong together."""

    name: str
    texts: list[str]
    pairs: list[Pair]


def leaks(training_file: str, index: TextIndex, task: TaskTexts) -> list[dict[str, Any]]:
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

    leaked_texts = []
    for text, (start, end) in zip(task.texts, index.spans(task.texts), strict=True):
        if start < end:
            leaked_texts.append(text)
    if leaked_texts:
        examples = list(map(short, leaked_texts[:EXAMPLES]))
        add("texts", len(leaked_texts), len(task.texts), examples)
    leaked_pairs = []
    pair_spans = index.spans(itertools.chain.from_iterable(task.pairs))
    for pair, first, second in zip(task.pairs, pair_spans[::2], pair_spans[1::2], strict=True):
        both_occur = first[0] < first[1] and second[0] < second[1]
        if both_occur and index.share_a_row([first, second]):
            leaked_pairs.append(pair)
    if leaked_pairs:
        examples = [" / ".join(map(short, pair)) for pair in leaked_pairs[:EXAMPLES]]
        add("pairs", len(leaked_pairs), len(task.pairs), examples)
    return entries


def shared_parts(training_file: str, index: TextIndex, task: TaskTexts, shares: np.ndarray) -> list[dict[str, Any]]:
    """Return the entries for test texts that a training text holds in large part, and for a task of the same source.

    Args:
        training_file: name of the data set.
        index: of its texts; those that stand there whole are counted by `leaks` already.
        task: its test texts.
        shares: of each text, the largest share of its sequences in one training text.
    """
    entries = []
    parts = []
    for text, share, (start, end) in zip(task.texts, shares, index.spans(task.texts), strict=True):
        if share >= LEAST_SHARE and start == end:
            parts.append(text)
    fact: dict[str, Any] = {"training_file": training_file, "task": task.name}
    if parts:
        examples = list(map(short, parts[:EXAMPLES]))
        entries.append({**fact, "count": len(parts), "total": len(task.texts), "unit": "parts", "examples": examples})
    if same_source(training_file, task.name):
        entries.append({**fact, "count": 1, "total": None, "unit": "source", "examples": []})
    return entries


def short(text: str) -> str:
    """Return the beginning of a text on one line."""
    line = " ".join(text.split())
    return line if len(line) <= 100 else f"{line[:99]}…"


def evaluation_texts(folder: LocalFolder, name: str, splits: Sequence[str] = ("test",)) -> TaskTexts:
    """Return the texts and pairs of a local task of this name, of tables those of some splits."""
    schema = folder.schema
    if schema.layout is Layout.CORPUS:
        return searched_texts(folder, name)
    texts: dict[str, None] = {}
    pairs: list[Pair] = []
    for split in splits:
        for files in folder.subsets(split).values():
            for row in iter_rows(files[split]):
                texts.update(dict.fromkeys(schema.texts(row)))
                pairs += schema.pairs(row)
    return TaskTexts(name, list(texts), pairs)


def scored_texts(spec: TaskSpec) -> TaskTexts:
    """Return the texts and pairs that a local task is scored on."""
    assert spec.local is not None
    return evaluation_texts(spec.local, spec.name, spec.task().eval_splits)


def searched_texts(folder: LocalFolder, name: str) -> TaskTexts:
    """Return the queries and documents of a retrieval task, and each query with every document that answers it."""
    split = judged_split(folder)
    queries = rows_by_id(queries_file(folder, split))
    documents = rows_by_id(corpus_file(folder))
    pairs: list[Pair] = []
    for row in iter_rows(judgements_file(folder, split), JUDGEMENT):
        query = queries.get(str(row["query-id"]))
        document = documents.get(str(row["corpus-id"]))
        if query is not None and document is not None and float(row["score"]) > 0:
            pairs.append((query, document))
    texts = dict.fromkeys([*queries.values(), *documents.values()])
    return TaskTexts(name, list(texts), pairs)


def rows_by_id(path: Path) -> dict[str, str]:
    """Return the texts of a corpus or of queries by their ids; a title stands apart from the text in training data."""
    return {str(row["id"]): row["text"] for row in iter_rows(path, QUERY)}


def find_leakage(study: Study) -> tuple[list[dict[str, Any]], list[str]]:
    """Compare all training data of a study with the test data of all its local tasks; kept in ``leakage.json``.

    Returns:
        Entries of ``study.json``, without examples where the report shows no texts; and the tasks whose data are not here and
        were not looked at.
    """
    path = study.output_dir / "leakage.json"
    staged = [stages_key(flags["stages"]) for _, flags in staged_trainings(study)]
    read = [data_flags(flags) for _, flags in trainings(study)]  # as flags decide which rows
    key = digest([FORMAT, study.inputs.train_keys, study.inputs.tasks, read, *staged])
    specs = find_tasks(study.config.tasks, study.inputs.eval_dir)
    unseen = [spec.name for spec in specs if spec.folder is None]
    content = read_json_or_empty(path)
    if content.get("key") != key:
        tasks = []
        for spec in specs:
            if spec.local is not None:
                tasks.append(scored_texts(spec))
        entries = []
        sequences = SequenceIndex(list(itertools.chain.from_iterable(task.texts for task in tasks)))
        ends = np.cumsum([len(task.texts) for task in tasks])
        for part in data_sets(study):
            index = TextIndex.of_rows(texts_of_rows(part), letter_hashes)
            shares = np.split(sequences.largest_shares(texts_of_rows(part)), ends[:-1])
            for task, own in zip(tasks, shares, strict=True):
                entries += leaks(part.label, index, task)
                entries += shared_parts(part.label, index, task, own)
        content = {"key": key, "found": entries}
        write_json(content, path)
    if study.config.comparison.get("texts", True):
        return content["found"], unseen
    return [{**entry, "examples": []} for entry in content["found"]], unseen


def data_sets(study: Study) -> Iterator[LoadedDataSet]:
    """Yield each training data set of the study once, those that only one system or a later stage reads included."""
    seen: set[str] = set()
    for rows in itertools.chain(rows_of_trainings(study), rows_of_stages(study)):
        for part in rows.parts:
            content = part.content or part.label
            if content not in seen:
                seen.add(content)
                yield part


def texts_of_rows(part: LoadedDataSet) -> Iterator[list[str]]:
    """Yield the texts of each row of a data set."""
    for batch in columns(part):
        for query, positive, negatives in zip(batch["query"], batch["positive"], batch["negatives"], strict=True):
            yield [query, positive, *negatives]
