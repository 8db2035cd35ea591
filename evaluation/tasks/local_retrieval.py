"""Retrieval and reranking data of a local folder, as mteb's retrieval class takes them."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict

from datasets import Dataset

from common.errors import UserError
from evaluation.tasks.corpus import make_corpus
from evaluation.tasks.local_files import iter_rows
from evaluation.tasks.local_folder import DEFAULT_SUBSET, LocalFolder
from evaluation.tasks.schemas import DOCUMENT, EVALUATED, JUDGEMENT, QUERY, SCHEMAS, TaskRow

MAX_GRADE = 1000  # of relevance: trec_eval counts the documents of every grade up to the highest
logger = logging.getLogger(__name__)

Judgements = dict[str, dict[str, int]]  # the grade of a document, by query and document


class RetrievalSplit(TypedDict):
    """One split of a task of mteb's retrieval class; `top_ranked` are the candidates of reranking by query."""

    corpus: Dataset
    queries: Dataset
    relevant_docs: Judgements
    top_ranked: dict[str, list[str]] | None


def judged_split(folder: LocalFolder) -> str:
    """Return the split whose judgements the folder has: `test`, where there are several."""
    for split in EVALUATED:
        if folder.names_of(f"qrels.{split}", f"qrels/{split}"):
            return split
    return EVALUATED[0]


def judgements_file(folder: LocalFolder, split: str) -> Path:
    """Return the file that says which documents answer the queries of a split."""
    return folder.file(f"qrels.{split}", f"qrels/{split}")


def queries_file(folder: LocalFolder, split: str) -> Path:
    """Return the file with the queries of a split."""
    own = f"queries.{split}"  # beside it `queries` may be those of another split than test
    if split != "test" and folder.names_of(own):
        return folder.file(own)
    return folder.file("queries", own)


def corpus_file(folder: LocalFolder) -> Path:
    """Return the file with the documents."""
    return folder.file("corpus")


def retrieval(folder: LocalFolder, split: str) -> RetrievalSplit:
    """Read `corpus`, `queries` and the judgements of a split; queries without a judgement are left out.

    Raises:
        UserError: a file or a row is missing or malformed, an id is not unique, or a judged id is unknown.
    """
    relevant = _judgements(judgements_file(folder, split))
    queries = _judged_queries(queries_file(folder, split), relevant)
    unknown = [query for query in relevant if query not in queries]
    if unknown:
        paths = judgements_file(folder, split), queries_file(folder, split).name
        raise UserError(f"{paths[0]}: judged queries are not in {paths[1]}: {unknown[:3]} ({len(unknown)} in all)")
    path = corpus_file(folder)
    judged: set[str] = set()
    for grades in relevant.values():
        judged.update(grades)
    corpus = make_corpus(iter_rows(path, DOCUMENT), path, judged)
    return {"corpus": corpus, "queries": _by_id(queries), "relevant_docs": relevant, "top_ranked": None}


def _judgements(path: Path) -> Judgements:
    relevant: Judgements = {}
    answered = False
    for row in iter_rows(path, JUDGEMENT):
        query, document, grade = str(row["query-id"]), str(row["corpus-id"]), _grade(row["score"], path)
        if relevant.setdefault(query, {}).setdefault(document, grade) != grade:
            raise UserError(f"{path}: document {document!r} is judged twice for query {query!r}, and not the same")
        answered = answered or grade > 0
    if not answered:
        raise UserError(f"{path}: no query has a relevant document")
    return relevant


def _judged_queries(path: Path, relevant: Judgements) -> dict[str, str]:
    queries: dict[str, str] = {}
    for row in iter_rows(path, QUERY):
        query = str(row["id"])
        if query in queries:
            raise UserError(f"{path}: the query id {query!r} is not unique")
        if query in relevant:
            queries[query] = row["text"]
    return queries


def reranking(folder: LocalFolder, split: str) -> RetrievalSplit:
    """Make one corpus of all candidates. Ids are hashes of the text: ties, which are broken by id, favour no side.

    As mteb does, rows without a positive or without a negative are left out, and a text that a row has twice counts twice.

    Raises:
        UserError: the file or a row is missing or malformed, or no row has both.
    """
    files = folder.subsets(split).get(DEFAULT_SUBSET, {})
    path = files.get(split, folder.path / f"{split}.jsonl.gz")
    texts: dict[str, str] = {}
    queries: dict[str, str] = {}
    relevant: Judgements = {}
    incomplete = 0
    for number, row in enumerate(iter_rows(path, SCHEMAS["reranking"].columns)):
        query = str(number if row.get("id") is None else row["id"])
        if query in queries:
            raise UserError(f"{path}: the query id {query!r} is not unique")
        if not (row["positive"] and row["negative"]):
            incomplete += 1
            continue
        candidates, grades = _candidates(row)
        texts.update(candidates)
        queries[query], relevant[query] = row["query"], grades
    if not queries:
        raise UserError(f"{path}: no row has a positive and a negative" if incomplete else f"{path} is empty")
    if incomplete:
        logger.warning("%s: %d rows without a positive or without a negative are left out, as mteb does", path, incomplete)
    rows = ({"id": identity, "text": text} for identity, text in texts.items())
    corpus = make_corpus(rows, path)
    ranked = {query: sorted(grades) for query, grades in relevant.items()}
    return {"corpus": corpus, "queries": _by_id(queries), "relevant_docs": relevant, "top_ranked": ranked}


def _candidates(row: TaskRow) -> tuple[dict[str, str], dict[str, int]]:
    """Return the texts of a row's candidates and their grades, both by id; copies of a text have ids of their own."""
    texts: dict[str, str] = {}
    grades: dict[str, int] = {}
    copies: Counter[str] = Counter()
    for column, grade in (("positive", 1), ("negative", 0)):
        for text in row[column]:
            copies[text] += 1
            identity = hashlib.sha256(text.encode()).hexdigest()[:16]
            if copies[text] > 1:
                identity = f"{identity}-{copies[text]}"
            texts[identity], grades[identity] = text, grade
    return texts, grades


def _by_id(queries: Mapping[str, str]) -> Dataset:
    ids = sorted(queries)
    return Dataset.from_dict({"id": ids, "text": [queries[query] for query in ids]})


def _grade(score: str | float, path: Path) -> int:
    """Return a judgement as the whole number that nDCG needs."""
    try:
        value = float(score)
        if value == int(value) and abs(value) <= MAX_GRADE:
            return int(value)
    except (TypeError, ValueError, OverflowError):  # the last is infinity
        pass
    raise UserError(f"{path}: a score must be a whole number, {MAX_GRADE} at most, found {score!r}")
