"""Retrieval and reranking data of a local folder, as mteb's retrieval class takes them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datasets import Dataset

from evaluation.corpora import make_corpus
from evaluation.local_data import COLUMNS, data_files, iter_rows, split_files
from model_loaders.errors import UserError


def retrieval(folder: Path, split: str) -> dict[str, Any]:
    """Read `corpus`, `queries` and the judgements of a split; queries without a judgement are left out.

    Raises:
        UserError: a file or a row is missing or malformed, an id is not unique, or a judged id is unknown.
    """
    path = _one_of(folder, f"qrels.{split}", f"qrels/{split}")
    relevant: dict[str, dict[str, int]] = {}
    for row in iter_rows(path, COLUMNS["retrieval"]):
        query, document, grade = str(row["query-id"]), str(row["corpus-id"]), _grade(row["score"], path)
        if relevant.setdefault(query, {}).setdefault(document, grade) != grade:
            raise UserError(f"{path}: document {document!r} is judged twice for query {query!r}, and not the same")
    if not any(grade > 0 for grades in relevant.values() for grade in grades.values()):
        raise UserError(f"{path}: no query has a relevant document")
    source = _one_of(folder, *([f"queries.{split}", "queries"] if split != "test" else ["queries", "queries.test"]))
    queries: dict[str, str] = {}
    for row in iter_rows(source, ("id", "text")):
        query = str(row["id"])
        if query in queries:
            raise UserError(f"{source}: the query id {query!r} is not unique")
        if query in relevant:
            queries[query] = row["text"]
    unknown = [query for query in relevant if query not in queries]
    if unknown:
        raise UserError(f"{path}: judged queries are not in {source.name}: {unknown[:3]} ({len(unknown)} in all)")
    where = _one_of(folder, "corpus")
    judged = {document for grades in relevant.values() for document in grades}
    corpus = make_corpus(iter_rows(where, ("id", "text")), where, judged)
    return {"corpus": corpus, "queries": _by_id(queries), "relevant_docs": relevant, "top_ranked": None}


def reranking(folder: Path, split: str) -> dict[str, Any]:
    """Make one corpus of all candidates. Ids are hashes of the text: ties, which are broken by id, favour no side.

    Raises:
        UserError: the file or a row is missing or malformed, or a row has no positive.
    """
    files = split_files(folder, [split]).get("default", {})
    path = files.get(split, folder / f"{split}.jsonl.gz")
    texts: dict[str, str] = {}
    queries: dict[str, str] = {}
    relevant: dict[str, dict[str, int]] = {}
    for number, row in enumerate(iter_rows(path, COLUMNS["reranking"])):
        query = str(row.get("id", number))
        if query in queries:
            raise UserError(f"{path}: the query id {query!r} is not unique")
        grades: dict[str, int] = {}
        for key, grade in (("negative", 0), ("positive", 1)):
            for text in row[key]:
                identity = hashlib.sha256(text.encode()).hexdigest()[:16]
                texts[identity], grades[identity] = text, grade
        if 1 not in grades.values():
            raise UserError(f"{path}: row {number + 1} has no positive")
        queries[query], relevant[query] = row["query"], grades
    if not queries:
        raise UserError(f"{path} is empty")
    corpus = make_corpus(({"id": identity, "text": text} for identity, text in texts.items()), path)
    candidates = {query: sorted(grades) for query, grades in relevant.items()}
    return {"corpus": corpus, "queries": _by_id(queries), "relevant_docs": relevant, "top_ranked": candidates}


def _by_id(queries: Mapping[str, str]) -> Dataset:
    ids = sorted(queries)
    return Dataset.from_dict({"id": ids, "text": [queries[query] for query in ids]})


def _one_of(folder: Path, *stems: str) -> Path:
    """Return the first of these files that is there; none but data files, whose bytes are part of a result's key."""
    found = [path.relative_to(folder).as_posix() for path in data_files(folder)]
    for name in (f"{stem}{suffix}" for stem in stems for suffix in (".jsonl", ".jsonl.gz", ".tsv")):
        if name in found:
            return folder / name
    raise UserError(f"{folder} has no {stems[0]}.jsonl or {stems[0]}.jsonl.gz; it has {found}")


def _grade(score: Any, path: Path) -> int:
    """Return a judgement as the whole number that nDCG needs."""
    try:
        if float(score) == int(float(score)) and abs(float(score)) < 2**31:
            return int(float(score))
    except (TypeError, ValueError, OverflowError):  # the last is infinity
        pass
    raise UserError(f"{path}: a score must be a whole number, found {score!r}")
