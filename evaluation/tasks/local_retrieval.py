"""Retrieval and reranking data of a local folder, as mteb's retrieval class takes them."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datasets import Dataset

from common.errors import UserError
from evaluation.tasks.corpus import make_corpus
from evaluation.tasks.local_files import COLUMNS, SUFFIXES, data_files, iter_rows, split_files

MAX_GRADE = 1000  # of relevance: trec_eval counts the documents of every grade up to the highest
logger = logging.getLogger(__name__)


def retrieval(folder: Path, split: str) -> dict[str, Any]:
    """Read `corpus`, `queries` and the judgements of a split; queries without a judgement are left out.

    Raises:
        UserError: a file or a row is missing or malformed, an id is not unique, or a judged id is unknown.
    """
    path = _the_one(folder, f"qrels.{split}", f"qrels/{split}")
    relevant: dict[str, dict[str, int]] = {}
    for row in iter_rows(path, COLUMNS["retrieval"]):
        query, document, grade = str(row["query-id"]), str(row["corpus-id"]), _grade(row["score"], path)
        if relevant.setdefault(query, {}).setdefault(document, grade) != grade:
            raise UserError(f"{path}: document {document!r} is judged twice for query {query!r}, and not the same")
    if not any(grade > 0 for grades in relevant.values() for grade in grades.values()):
        raise UserError(f"{path}: no query has a relevant document")
    own = f"queries.{split}"  # beside it `queries` may be those of another split than test
    source = _the_one(folder, own) if split != "test" and _found(folder, own) else _the_one(folder, "queries", own)
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
    where = _the_one(folder, "corpus")
    judged = {document for grades in relevant.values() for document in grades}
    corpus = make_corpus(iter_rows(where, ("id", "text")), where, judged)
    return {"corpus": corpus, "queries": _by_id(queries), "relevant_docs": relevant, "top_ranked": None}


def reranking(folder: Path, split: str) -> dict[str, Any]:
    """Make one corpus of all candidates. Ids are hashes of the text: ties, which are broken by id, favour no side.

    As mteb does, rows without a positive or without a negative are left out, and a text that a row has twice counts twice.

    Raises:
        UserError: the file or a row is missing or malformed, or no row has both.
    """
    files = split_files(folder, [split]).get("default", {})
    path = files.get(split, folder / f"{split}.jsonl.gz")
    texts: dict[str, str] = {}
    queries: dict[str, str] = {}
    relevant: dict[str, dict[str, int]] = {}
    left_out = 0
    for number, row in enumerate(iter_rows(path, COLUMNS["reranking"])):
        query = str(number if row.get("id") is None else row["id"])
        if query in queries:
            raise UserError(f"{path}: the query id {query!r} is not unique")
        if not (row["positive"] and row["negative"]):
            left_out += 1
            continue
        grades: dict[str, int] = {}
        times: Counter[str] = Counter()
        for key, grade in (("positive", 1), ("negative", 0)):
            for text in row[key]:
                times[text] += 1
                identity = hashlib.sha256(text.encode()).hexdigest()[:16] + (f"-{times[text]}" if times[text] > 1 else "")
                texts[identity], grades[identity] = text, grade
        queries[query], relevant[query] = row["query"], grades
    if not queries:
        raise UserError(f"{path} is empty" if not left_out else f"{path}: no row has a positive and a negative")
    if left_out:
        logger.warning("%s: %d rows without a positive or without a negative are left out, as mteb does", path, left_out)
    corpus = make_corpus(({"id": identity, "text": text} for identity, text in texts.items()), path)
    candidates = {query: sorted(grades) for query, grades in relevant.items()}
    return {"corpus": corpus, "queries": _by_id(queries), "relevant_docs": relevant, "top_ranked": candidates}


def _by_id(queries: Mapping[str, str]) -> Dataset:
    ids = sorted(queries)
    return Dataset.from_dict({"id": ids, "text": [queries[query] for query in ids]})


def _the_one(folder: Path, *stems: str) -> Path:
    """Return the one of these files that is there; none but data files, whose bytes are part of a result's key."""
    found = _found(folder, *stems)
    if len(found) > 1:
        raise UserError(f"{folder} has {' and '.join(found)}: which one is meant? Remove the others")
    if not found:
        there = [path.relative_to(folder).as_posix() for path in data_files(folder)]
        wanted = [f"{stem}{suffix}" for stem in stems for suffix in ((".tsv",) if "/" in stem else (".jsonl", ".jsonl.gz"))]
        raise UserError(f"{folder} has no {' or '.join(wanted)}; it has {there}")
    return folder / found[0]


def _found(folder: Path, *stems: str) -> list[str]:
    there = {path.relative_to(folder).as_posix() for path in data_files(folder)}
    return [name for stem in stems for suffix in SUFFIXES if (name := f"{stem}{suffix}") in there]


def _grade(score: Any, path: Path) -> int:
    """Return a judgement as the whole number that nDCG needs."""
    try:
        if float(score) == int(float(score)) and abs(float(score)) <= MAX_GRADE:
            return int(float(score))
    except (TypeError, ValueError, OverflowError):  # the last is infinity
        pass
    raise UserError(f"{path}: a score must be a whole number, {MAX_GRADE} at most, found {score!r}")
