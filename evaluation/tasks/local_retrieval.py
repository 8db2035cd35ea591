"""Retrieval and reranking data of a local folder, as mteb's retrieval class takes them."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TypedDict

from datasets import Dataset

from common.errors import UserError
from common.printable import shown
from evaluation.tasks.corpus import make_corpus
from evaluation.tasks.local_files import iter_rows, placed_rows
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

    As in mteb, a judged document that the corpus lacks counts as one that is never found, and a judged query that is not
    there is not asked. Published data has such judgements (ArguAna); a warning says how many.

    Raises:
        UserError: a file or a row is missing or malformed, an id is not unique, or no judged query or document is there.
    """
    judgements = judgements_file(folder, split)
    relevant = _judgements(judgements)
    path = queries_file(folder, split)
    queries = _judged_queries(path, {*relevant, *map(whole, relevant)})
    relevant = {query if query in queries else whole(query): grades for query, grades in relevant.items()}
    absent = relevant.keys() - queries.keys()
    if not queries:
        raise UserError(f"{judgements}: none of its {len(absent)} queries is in {path.name}: {_some(absent)}")
    if absent:
        logger.warning(
            "%s: %d of %d judged queries are not in %s and are left out, as mteb does: %s",
            judgements,
            len(absent),
            len(relevant),
            path.name,
            _some(absent),
        )
    relevant = {query: grades for query, grades in relevant.items() if query in queries}
    if not any(grade > 0 for grades in relevant.values() for grade in grades.values()):
        raise UserError(f"{judgements}: no query of {path.name} has a relevant document")
    path = corpus_file(folder)
    judged: set[str] = set()
    for grades in relevant.values():
        judged.update(grades)
    corpus, unknown = make_corpus(iter_rows(path, DOCUMENT), path, {*judged, *map(whole, judged)})
    renamed = {document: whole(document) for document in judged if document in unknown and whole(document) not in unknown}
    for query, grades in relevant.items():
        relevant[query] = {renamed.get(document, document): grade for document, grade in grades.items()}
    judged = {renamed.get(document, document) for document in judged}
    missing = judged & unknown
    if missing and missing == judged:
        raise UserError(f"{path} has none of the {len(judged)} documents that {judgements.name} judges: {_some(missing)}")
    if missing:
        pairs = sum(document in missing for grades in relevant.values() for document in grades)
        logger.warning(
            "%s: %d judgements name %d documents that %s lacks; as in mteb they count as never found: %s",
            judgements,
            pairs,
            len(missing),
            path.name,
            _some(missing),
        )
    return {"corpus": corpus, "queries": _by_id(queries), "relevant_docs": relevant, "top_ranked": None}


def whole(identity: str) -> str:
    """Return an id without the ``.0`` that a table's column of numbers with gaps puts behind whole numbers.

    >>> whole("7.0"), whole("v1.0"), whole("7")
    ('7', 'v1.0', '7')
    """
    digits = identity.removesuffix(".0")
    return digits if digits.removeprefix("-").isdecimal() else identity


def _some(ids: Collection[str]) -> str:
    """Return a few ids, for a message."""
    shown_ids = ", ".join(map(shown, sorted(ids)[:3]))
    return f"{shown_ids}, …" if len(ids) > 3 else shown_ids


def _judgements(path: Path) -> Judgements:
    relevant: Judgements = {}
    answered = False
    for place, row in placed_rows(path, JUDGEMENT):
        query, document, grade = row["query-id"], row["corpus-id"], _grade(row["score"], place)
        if relevant.setdefault(query, {}).setdefault(document, grade) != grade:
            raise UserError(f"{place}: document {document!r} is judged twice for query {query!r}, and not the same")
        answered = answered or grade > 0
    if not answered:
        raise UserError(f"{path}: no query has a relevant document")
    return relevant


def _judged_queries(path: Path, relevant: Collection[str]) -> dict[str, str]:
    queries: dict[str, str] = {}
    for place, row in placed_rows(path, QUERY):
        query = row["id"]
        if query in queries:
            raise UserError(f"{place}: the query id {query!r} is not unique")
        if query in relevant:
            queries[query] = row["text"]
    return queries


def reranking_of_parts(folder: LocalFolder, split: str) -> RetrievalSplit:
    """Do as `reranking` for a task that scores queries `12_0` and `12_1` as one: rows without an id stand alone.

    Raises:
        UserError: as there, or an id has no part behind a last `_`.
    """
    found = reranking(folder, split, "_0")
    for query in found["queries"]["id"]:
        if "_" not in query:
            raise UserError(
                f"{_candidates_file(folder, split)}: the id {shown(query)} must end in _ and a number: mteb scores the rows "
                "12_0 and 12_1 as parts of one query, 12. Without ids each row is a query"
            )
    return found


def without_ids(folder: LocalFolder, split: str) -> bool:
    """Return whether the first row of candidates has no id."""
    return next(iter_rows(_candidates_file(folder, split)), {}).get("id") is None


def _candidates_file(folder: LocalFolder, split: str) -> Path:
    files = folder.subsets(split).get(DEFAULT_SUBSET, {})
    return files.get(split, folder.path / f"{split}.jsonl.gz")


def reranking(folder: LocalFolder, split: str, ending: str = "") -> RetrievalSplit:
    """Make one corpus of all candidates. Ids are hashes of the text: ties, which are broken by id, favour no side.

    As mteb does, rows without a positive or without a negative are left out, and a text that a row has twice counts twice.
    A row without an id has its number and `ending`.

    Raises:
        UserError: the file or a row is missing or malformed, or no row has both.
    """
    path = _candidates_file(folder, split)
    texts: dict[str, str] = {}
    queries: dict[str, str] = {}
    relevant: Judgements = {}
    incomplete = 0
    for number, (place, row) in enumerate(placed_rows(path, SCHEMAS["reranking"].columns)):
        query = f"{number}{ending}" if row.get("id") is None else str(row["id"])
        if query in queries:
            raise UserError(f"{place}: the query id {query!r} is not unique")
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
    corpus, _ = make_corpus(rows, path)
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


def _grade(score: str | float, place: str) -> int:
    """Return a judgement as the whole number that nDCG needs."""
    try:
        value = float(score)
        if value == int(value) and abs(value) <= MAX_GRADE:
            return int(value)
    except (TypeError, ValueError, OverflowError):  # the last is infinity
        pass
    raise UserError(f"{place}: a score must be a whole number, {MAX_GRADE} at most, found {shown(score)}")
