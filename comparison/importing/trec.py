"""Read TREC's run files and judgements, and the prediction files of mteb."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.json_text import json_fault, parse_json
from common.lines import MOST_BYTES, iter_lines, read_bytes
from common.number_check import finite
from common.yaml_files import read_yaml
from comparison.errors import ComparisonError, nearest

Run = dict[str, dict[str, float]]  # query -> document -> score
Judgements = dict[str, dict[str, int]]  # query -> document -> grade
OWN_IDS = Path(__file__).with_name("identical_ids.yaml")
OF_PAIRS = ("cosine_scores", "similarity_scores")  # in this order: mteb's lists of one score for each pair


@dataclass(frozen=True)
class Predictions:
    """The content of a file: a run of queries, or one score for each pair of texts.

    Attributes:
        run: of a retrieval task; empty for pairs.
        pairs: scores in the order of the task's pairs; empty for a run.
    """

    run: Run
    pairs: list[float]


def read_judgements(path: Path) -> Judgements:
    """Read judgements: TREC's ``query 0 document grade``, or ``query document grade`` below a line of names, as BEIR has them.

    Raises:
        ComparisonError: a line has another shape, or a document is judged twice for one query.
    """
    judgements: Judgements = {}
    for number, line in iter_lines(path, MOST_BYTES):
        words = line.split()
        if not words or (number == 1 and words[-1].lower() in ("score", "relevance", "label")):
            continue
        if len(words) not in (3, 4):
            raise ComparisonError(f"{path}, line {number}: expected query, 0, document and grade; it has {len(words)} words")
        query, document = words[0], words[-2]
        of_query = judgements.setdefault(query, {})
        if document in of_query:
            raise ComparisonError(f"{path}, line {number}: {document!r} is judged twice for the query {query!r}")
        of_query[document] = _grade(words[-1], f"{path}, line {number}")
    if not any(any(grade > 0 for grade in of_query.values()) for of_query in judgements.values()):
        raise ComparisonError(f"{path}: no query has a relevant document, a grade above 0")
    return judgements


def _grade(word: str, where: str) -> int:
    try:
        return int(word)
    except ValueError:
        raise ComparisonError(f"{where}: the grade {word!r} is no whole number") from None


def read_predictions(path: Path, subset: str, split: str) -> Predictions:
    """Read a system's file: TREC's ``query Q0 document rank score name``, or mteb's ``<Task>_predictions.json``.

    Args:
        path: the file.
        subset: of mteb's file.
        split: of mteb's file.

    Raises:
        ComparisonError: the file is neither, or has not the subset and split.
    """
    if path.name.removesuffix(".gz").endswith(".json"):
        return _of_mteb(path, subset, split)
    run: Run = {}
    for number, line in iter_lines(path, MOST_BYTES):
        words = line.split()
        if not words:
            continue
        where = f"{path}, line {number}"
        if len(words) != 6:
            raise ComparisonError(f"{where}: expected query, Q0, document, rank, score and name; it has {len(words)} words")
        _enter(run.setdefault(words[0], {}), words[2], words[4], where)
    if not run:
        raise ComparisonError(f"{path} is empty")
    return Predictions(run, [])


def _enter(of_query: dict[str, float], document: str, score: object, where: str) -> None:
    if document in of_query:
        raise ComparisonError(f"{where}: the document {document!r} stands twice for its query")
    value = finite(score if not isinstance(score, str) else _number(score, where))
    if value != value:
        raise ComparisonError(f"{where}: the score {score!r} of {document!r} is not a number")
    of_query[document] = value


def _number(word: str, where: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise ComparisonError(f"{where}: the score {word!r} is not a number") from None


def _of_mteb(path: Path, subset: str, split: str) -> Predictions:
    """Read mteb's file: subset -> split -> a run, or lists with one score for each pair."""
    try:
        content = parse_json(read_bytes(path))
    except (OSError, ValueError) as error:
        raise ComparisonError(f"{path} is damaged ({json_fault(error)})") from error
    if not isinstance(content, dict):
        raise ComparisonError(f"{path}: expected mteb's predictions, an object by subset and split")
    content.pop("mteb_model_meta", None)
    of_split = _entry(_entry(content, subset, f"{path}: --subset"), split, f"{path}, {subset}: --split")
    for name in OF_PAIRS:
        if isinstance(of_split, dict) and isinstance(of_split.get(name), list):
            return Predictions({}, _scores_of_pairs(of_split[name], f"{path}, {name}"))
    run: Run = {}
    if isinstance(of_split, dict):
        for query, documents in of_split.items():
            if not isinstance(documents, dict):
                break
            for document, score in documents.items():
                _enter(run.setdefault(str(query), {}), str(document), score, f"{path}, query {query}")
    if not run:
        raise ComparisonError(
            f"{path}: neither the hits of queries nor one score for each pair; only predictions of retrieval, reranking, STS "
            "and pair classification can be scored item by item"
        )
    return Predictions(run, [])


def without_own_ids(run: Run, task: str) -> tuple[Run, int]:
    """Return a run without documents that have their query's id, and how many these were, for tasks where mteb does so.

    >>> without_own_ids({"q1": {"q1": 1.0, "d1": 0.5}}, "ArguAna")
    ({'q1': {'d1': 0.5}}, 1)
    """
    if task not in read_yaml(OWN_IDS, "the tasks that ignore identical ids"):
        return run, 0
    left: Run = {}
    removed = 0
    for query, documents in run.items():
        left[query] = {document: score for document, score in documents.items() if document != query}
        removed += len(documents) - len(left[query])
    return left, removed


def _entry(content: Mapping[str, Any], name: str, where: str) -> Any:
    if not isinstance(content, dict) or name not in content:
        names = list(content) if isinstance(content, dict) else []
        raise ComparisonError(f"{where} {name!r} is not there; it has {', '.join(map(str, names))}{nearest(name, names)}")
    return content[name]


def _scores_of_pairs(values: list[object], where: str) -> list[float]:
    scores = []
    for number, value in enumerate(values):
        if isinstance(value, list) and len(value) == 1:  # some versions keep a list around each score
            value = value[0]
        score = finite(value)
        if score != score:
            raise ComparisonError(f"{where}: the score of pair {number} is {value!r}, not a number")
        scores.append(score)
    return scores


def read_gold(path: Path) -> list[float]:
    """Read the gold scores of pairs, a number a line, in the order of the task's pairs.

    Raises:
        ComparisonError: a line is no number.
    """
    gold = []
    for number, line in iter_lines(path, MOST_BYTES):
        if line.strip():
            gold.append(_number(line.strip(), f"{path}, line {number}"))
    return gold
