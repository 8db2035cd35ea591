"""The negatives of all queries, block by block; each block is kept on disk, so that a killed mining continues."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.files import read_json, write_json
from triplets.mining.pool import Pool
from triplets.mining.rules import Choice, MiningRules, Query, choose, is_consistent
from triplets.mining.teachers import Teacher

BLOCK = 512  # queries that are searched together and kept in one file
DEEPER = 4  # times the matches, for queries that need more


@dataclass(frozen=True)
class MinedQuery:
    """The result of one query.

    Attributes:
        negatives: places in the corpus, best first.
        scores: theirs.
        positives: scores of the known positives, in the pool's order.
        rejected: matches that a rule kept out, by reason.
        consistent: whether the ranking consistency filter keeps the query.
    """

    negatives: list[int]
    scores: list[float]
    positives: list[float]
    rejected: dict[str, int]
    consistent: bool


def mine_queries(
    pool: Pool,
    teacher: Teacher,
    rules: MiningRules,
    *,
    depth: int | None = None,
    folder: Path | None = None,
    on_block: Callable[[int], None] = lambda queries: None,
) -> Iterator[MinedQuery]:
    """Yield the result of each query of the pool.

    Args:
        pool: queries and corpus.
        teacher: scores them.
        rules: choose the negatives.
        depth: matches of each query that are looked at; None for as many as the rules need.
        folder: where finished blocks are kept, and read if they are there; None for nowhere.
        on_block: called with the number of queries of each finished block.
    """
    for first in range(0, len(pool.queries), BLOCK):
        numbers = list(range(first, min(first + BLOCK, len(pool.queries))))
        path = None if folder is None else folder / f"queries-{first:09d}.json"
        if path is not None and path.is_file():
            block = [MinedQuery(**entry) for entry in read_json(path)["queries"]]
        else:
            block = _mine_block(pool, teacher, rules, numbers, depth)
            if path is not None:
                write_json({"queries": [asdict(query) for query in block]}, path)
        on_block(len(block))
        yield from block


def _mine_block(pool: Pool, teacher: Teacher, rules: MiningRules, numbers: list[int], depth: int | None) -> list[MinedQuery]:
    """Search a block of queries; those that need more matches are searched again, deeper."""
    spare = max(pool.barred(number) for number in numbers)
    count = min(len(pool.corpus), (depth or rules.first_depth + spare))
    results: dict[int, MinedQuery] = {}
    waiting = numbers
    while waiting:
        matches = teacher.matches(waiting, count)
        undecided = []
        for number, places, scores in zip(waiting, matches.places, matches.scores, strict=True):
            results[number], decided = _mine_one(pool, teacher, rules, number, places, scores)
            if not decided:
                undecided.append(number)
        if depth is not None or count == len(pool.corpus):
            break
        waiting, count = undecided, min(len(pool.corpus), DEEPER * count)
    return [results[number] for number in numbers]


def _mine_one(
    pool: Pool, teacher: Teacher, rules: MiningRules, number: int, places: np.ndarray, scores: np.ndarray
) -> tuple[MinedQuery, bool]:
    """Return the result of a query, and whether more matches would change nothing."""
    positive_scores = _positive_scores(pool.positives[number], teacher, number, places, scores)
    query = Query(number, positive_scores, pool.excluded[number], teacher.apart, pool.left_out)
    choice: Choice = choose(query, places, scores, rules)
    consistent = is_consistent(float(positive_scores.max()), scores, rules)
    result = MinedQuery(choice.places, choice.scores, positive_scores.tolist(), dict(choice.rejected), consistent)
    return result, choice.decided


def _positive_scores(positives: list[int], teacher: Teacher, number: int, places: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return the scores of a query's positives, ``(positives,)`` float32.

    A score that the search computed is taken from it: two ways of computing a product differ in the last digit, and would
    decide at the border of a rule.
    """
    result = np.empty(len(positives), dtype=np.float32)
    missing = []
    for index, place in enumerate(positives):
        position = np.flatnonzero(places == place)
        if len(position):
            result[index] = scores[position[0]]
        else:
            missing.append(index)
    if missing:
        result[missing] = teacher.scores(number, [positives[index] for index in missing])
    return result


@dataclass
class MiningReport:
    """What a mining found.

    Attributes:
        queries: distinct queries.
        corpus: distinct texts that were searched.
        dropped: queries that the ranking consistency filter dropped.
        wanted: negatives a query.
        by_number: queries by their number of negatives.
        rejected: matches that a rule kept out, by reason.
        positive_scores: quantiles 0, .1, .25, .5, .75, .9, 1 of the scores of positives.
        negative_scores: the same of negatives.
        positives_apart: queries with a positive that has nothing in common with them, by the teacher.
        negatives_apart: negatives that have nothing in common with their query, which a random draw may take.
    """

    queries: int
    corpus: int
    wanted: int
    dropped: int
    by_number: dict[int, int]
    rejected: dict[str, int]
    positive_scores: list[float]
    negative_scores: list[float]
    positives_apart: int = 0
    negatives_apart: int = 0


QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)


def report_of(pool: Pool, rules: MiningRules, results: list[MinedQuery], apart: float) -> MiningReport:
    """Count what a mining found; ``apart`` is the teacher's."""
    kept = [result for result in results if result.consistent]
    rejected: Counter[str] = Counter()
    for result in results:
        rejected.update(result.rejected)
    numbers = Counter(len(result.negatives) for result in kept)
    return MiningReport(
        queries=len(pool.queries),
        corpus=len(pool.corpus),
        wanted=rules.negatives,
        dropped=len(results) - len(kept),
        by_number=dict(sorted(numbers.items())),
        rejected=dict(rejected.most_common()),
        positive_scores=_quantiles([result.positives for result in kept]),
        negative_scores=_quantiles([result.scores for result in kept]),
        positives_apart=sum(min(result.positives) <= apart for result in kept),
        negatives_apart=sum(score <= apart for result in kept for score in result.scores),
    )


def _quantiles(scores: list[list[float]]) -> list[float]:
    values: Any = [score for part in scores for score in part]
    if not values:
        return []
    return [float(value) for value in np.quantile(values, QUANTILES)]
