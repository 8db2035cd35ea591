"""Which test texts of a study's tasks stand in its training data: alone, and as pairs that belong together.

Texts count as equal if their letters and digits are, so that other capitals, white space, punctuation or tokenisation (mteb
distributes STS12-16 tokenised) hide nothing. A pair is a test's pair of sentences, or a query and a document that answers
it; it has leaked if both stand in one training row.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from common.files import read_json_or_empty, write_json
from common.hashes import digest
from common.text_hash import letter_hashes
from evaluation.tasks.local_files import iter_rows
from evaluation.tasks.local_folder import LocalFolder
from evaluation.tasks.local_retrieval import corpus_file, judged_split, judgements_file, queries_file
from evaluation.tasks.schemas import JUDGEMENT, QUERY, Layout
from study.config import StudyConfig
from study.inputs import Inputs
from triplets.check.text_index import TextIndex

FORMAT = 1
EXAMPLES = 3
Pair = tuple[str, str]


def leaks(training_file: str, index: TextIndex, task: str, texts: Sequence[str], pairs: Sequence[Pair]) -> list[dict[str, Any]]:
    """Look a task's test texts and pairs up in training data; return a finding for texts and one for pairs, if any leaked."""
    findings = []
    leaked_texts = []
    for text, (start, end) in zip(texts, index.spans(texts), strict=True):
        if start < end:
            leaked_texts.append(text)
    if leaked_texts:
        examples = [short(text) for text in leaked_texts[:EXAMPLES]]
        findings.append(entry(training_file, task, len(leaked_texts), len(texts), "texts", examples))
    leaked_pairs = []
    first_spans = index.spans(first for first, _ in pairs)
    second_spans = index.spans(second for _, second in pairs)
    for pair, first, second in zip(pairs, first_spans, second_spans, strict=True):
        both_occur = first[0] < first[1] and second[0] < second[1]
        if both_occur and index.share_a_row([first, second]):
            leaked_pairs.append(pair)
    if leaked_pairs:
        examples = [" / ".join(map(short, pair)) for pair in leaked_pairs[:EXAMPLES]]
        findings.append(entry(training_file, task, len(leaked_pairs), len(pairs), "pairs", examples))
    return findings


def entry(training_file: str, task: str, count: int, total: int, unit: str, examples: list[str]) -> dict[str, Any]:
    """Return one finding as ``study.json`` holds it."""
    return {"training_file": training_file, "task": task, "count": int(count), "total": total, "unit": unit,
            "examples": examples}  # fmt: skip


def short(text: str) -> str:
    """Return the beginning of a text on one line."""
    line = " ".join(text.split())
    return line if len(line) <= 100 else f"{line[:99]}…"


def evaluation_texts(folder: LocalFolder) -> tuple[list[str], list[Pair]]:
    """Return a local task's different test texts, and the pairs that belong together."""
    schema = folder.schema
    if schema.layout is Layout.CORPUS:
        return _searched_texts(folder)
    texts: dict[str, None] = {}
    pairs: list[Pair] = []
    for files in folder.subsets("test").values():
        for row in iter_rows(files["test"]):
            texts.update(dict.fromkeys(schema.texts(row)))
            pairs += schema.pairs(row)
    return list(texts), pairs


def _searched_texts(folder: LocalFolder) -> tuple[list[str], list[Pair]]:
    """Return queries and documents, and the pairs of a query and a document that answers it."""
    split = judged_split(folder)
    queries = rows_by_id(queries_file(folder, split))
    documents = rows_by_id(corpus_file(folder))
    pairs: list[Pair] = []
    for row in iter_rows(judgements_file(folder, split), JUDGEMENT):
        query, document = queries.get(str(row["query-id"])), documents.get(str(row["corpus-id"]))
        if query is not None and document is not None and float(row["score"]) > 0:
            pairs.append((query, document))
    return list(dict.fromkeys([*queries.values(), *documents.values()])), pairs


def rows_by_id(path: Path) -> dict[str, str]:
    """Return the texts of a corpus or of queries by their ids; a title stands apart from the text in training data."""
    return {str(row["id"]): row["text"] for row in iter_rows(path, QUERY)}


def find_leakage(config: StudyConfig, inputs: Inputs) -> tuple[list[dict[str, Any]], list[str]]:
    """Compare all training data of a study with the test data of all its local tasks; kept in ``leakage.json``.

    Returns:
        Findings as ``study.json`` holds them, and the tasks whose data are not here and were not looked at.
    """
    from evaluation.tasks.find import find_tasks

    kept = Path(config.output_dir) / "leakage.json"
    key = digest([FORMAT, inputs.train_keys, inputs.tasks])
    specs = find_tasks(config.tasks, inputs.eval_dir)
    unseen = [spec.name for spec in specs if spec.folder is None]
    content = read_json_or_empty(kept)
    if content.get("key") != key:
        tasks = [(spec.name, *evaluation_texts(spec.local)) for spec in specs if spec.local is not None]
        found = []
        for label, rows in training_rows(config, inputs):
            index = TextIndex.of_rows(rows, letter_hashes)
            for name, texts, pairs in tasks:
                found += leaks(label, index, name, texts, pairs)
        content = {"key": key, "found": found}
        write_json(content, kept)
    return content["found"], unseen


def training_rows(config: StudyConfig, inputs: Inputs) -> Iterator[tuple[str, Iterator[list[str]]]]:
    """Yield each training data set of the study once: its name, and the texts of its rows."""
    from triplets.arguments import DataArguments
    from triplets.check.scan import columns
    from triplets.read import read_triplets

    def rows_of(part: Any) -> Iterator[list[str]]:
        for batch in columns(part):
            for query, positive, negatives in zip(batch["query"], batch["positive"], batch["negatives"], strict=True):
                yield [query, positive, *negatives]

    names = {one.name for one in dataclasses.fields(DataArguments)} - {"eval_dataset", "max_eval_samples"}
    seen: set[str] = set()
    for recipe in config.recipe_names:
        flags = {name: value for name, value in config.flags(recipe).items() if name in names}
        flags["dataset_config" if "dataset_config" in flags else "dataset_name"] = inputs.train[recipe]
        for part in read_triplets(DataArguments(**flags), cache_dir=config.flags(recipe).get("cache_dir")).parts:
            if (part.content or part.label) not in seen:
                seen.add(part.content or part.label)
                yield part.label, rows_of(part)
