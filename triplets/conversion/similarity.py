"""Pairs of sentences with a score become triplets (NV-Embed, arXiv 2405.17428, section 4.1).

A pair that scores high gives both directions. Its negatives are the best matches of BM25 among all sentences, from the second
on, whose score with the query is not known to be high.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from common.errors import UserError
from common.number_check import is_number
from triplets.conversion.result import ConversionReport, Row, key_of, placed_rows, text_of
from triplets.mining.teachers import WordTeacher

FIRST = ("text1", "sentence1", "sentence_1")
SECOND = ("text2", "sentence2", "sentence_2")
SKIPPED = 1  # best matches that are never negatives: they may be unlabelled positives


@dataclass
class ScoredPairs:
    """Pairs of sentences.

    Attributes:
        pool: distinct sentences, by first appearance.
        pairs: places of both sentences of each pair, and its score.
    """

    pool: list[str] = field(default_factory=list)
    pairs: list[tuple[int, int, float]] = field(default_factory=list)


def read_pairs(path: Path, report: ConversionReport, leave_out: set[int]) -> ScoredPairs:
    """Read scored pairs; a pair with a sentence of an evaluation set is left out."""
    pairs, place_of = ScoredPairs(), dict[str, int]()
    for place, row in placed_rows(path, report):
        first, second, score = text_of(row, FIRST, place), text_of(row, SECOND, place), row.get("score")
        if not isinstance(score, int | float) or not is_number(score):
            raise UserError(f"{place}: 'score' must be a number, high_scoring {score!r:.60}")
        if leave_out & {key_of(first), key_of(second)}:
            report.left_out["pairs with a sentence of an evaluation set"] += 1
            continue
        numbers = []
        for text in (first, second):
            numbers.append(place_of.setdefault(text, len(pairs.pool)))
            if numbers[-1] == len(pairs.pool):
                pairs.pool.append(text)
        pairs.pairs.append((numbers[0], numbers[1], float(score)))
    return pairs


def directions(pairs: ScoredPairs, least: float) -> Iterator[tuple[int, int]]:
    """Yield query and positive of each pair that scores at least so much, in both directions."""
    for first, second, score in pairs.pairs:
        if score >= least:
            yield first, second
            yield second, first


def similar(
    pairs: ScoredPairs, *, positive_score: float, negative_score: float, negatives: int, report: ConversionReport
) -> Iterator[Row]:
    """Yield a row for each direction of each pair that scores high; pairs of equal sentences teach nothing and are left out.

    Args:
        pairs: of `read_pairs`.
        positive_score: the least score of a positive pair.
        negative_score: a negative's score with the query is at most so much, where it is known.
        negatives: of each row at most; 0 for none, and no BM25.
        report: of the conversion.
    """
    scores: dict[int, dict[int, float]] = {}
    for first, second, score in pairs.pairs:
        for one, other in ((first, second), (second, first)):
            known = scores.setdefault(one, {})
            known[other] = max(score, known.get(other, score))
    report.left_out["pairs that score too low for a positive"] = sum(pair[2] < positive_score for pair in pairs.pairs)
    high_scoring = list(directions(pairs, positive_score))
    teacher = WordTeacher(pairs.pool, pairs.pool) if negatives and high_scoring else None
    for query, positive in high_scoring:
        if key_of(pairs.pool[query]) == key_of(pairs.pool[positive]):
            report.left_out["directions of pairs of equal sentences"] += 1
            continue
        row: Row = {"query": pairs.pool[query], "positive": pairs.pool[positive], "negative": []}
        if teacher is not None:
            places = near(teacher, query, scores.get(query, {}), (positive_score, negative_score), negatives)
            row["negative"] = [pairs.pool[place] for place in places]
            if len(places) < negatives:
                report.notes["rows with fewer negatives than wanted"] += 1
        yield row


def near(teacher: WordTeacher, query: int, known: Mapping[int, float], limits: tuple[float, float], count: int) -> list[int]:
    """Return the negatives of a query: best matches without its own text, from the second on.

    Args:
        teacher: BM25 over the sentences, which are queries and corpus.
        query: place of the query.
        known: its scores with other sentences.
        limits: the least score of a positive, the most of a negative.
        count: of negatives at most.
    """
    positive_score, negative_score = limits
    scores = teacher.scores(query, range(teacher.texts))
    order = [int(place) for place in np.argsort(-scores, kind="stable") if place != query]
    chosen: list[int] = []
    for place in order[SKIPPED:]:
        score = known.get(place)
        if scores[place] <= 0 or len(chosen) == count:
            break
        if score is None or (score < positive_score and score <= negative_score):
            chosen.append(place)
    return chosen
