"""Pairs of sentences with a score become triplets (NV-Embed, arXiv 2405.17428, section 4.1).

A pair that scores high gives both directions. Its negatives are the best matches of BM25 among all sentences, from the second
on, whose score with the query is not known to be high.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import UserError
from common.number_check import parse_number
from triplets.conversion.entailment import hash_of
from triplets.conversion.result import ConversionReport, Row, key_of, read_into, text_of
from triplets.conversion.store import Store
from triplets.mining.teachers import WordTeacher

FIRST = ("text1", "sentence1", "sentence_1")
SECOND = ("text2", "sentence2", "sentence_2")
SKIPPED = 1  # best matches that are never negatives: they may be unlabelled positives
SCHEMA = """
CREATE TABLE IF NOT EXISTS pool (number INTEGER PRIMARY KEY, hash BLOB UNIQUE, text TEXT);
CREATE TABLE IF NOT EXISTS pairs (number INTEGER PRIMARY KEY, first INTEGER, second INTEGER, score REAL);
CREATE TABLE IF NOT EXISTS known (query INTEGER, other INTEGER, score REAL, PRIMARY KEY (query, other)) WITHOUT ROWID;
"""
HIGHER = "INSERT INTO known VALUES (?, ?, ?) ON CONFLICT (query, other) DO UPDATE SET score = MAX(score, excluded.score)"


class ScoredPairs:
    """Scored pairs of sentences on disk; distinct sentences have numbers by first appearance, from 0."""

    def __init__(self, store: Store) -> None:
        self.store = store
        store.tables.executescript(SCHEMA)

    def add(self, first: str, second: str, score: float) -> None:
        """Add a pair; of several scores of two sentences the highest is known."""
        numbers = [self.number(first), self.number(second)]
        self.store.new("INSERT INTO pairs (first, second, score) VALUES (?, ?, ?)", *numbers, score)
        for query, other in (numbers, numbers[::-1]):
            self.store.new(HIGHER, query, other, score)

    def number(self, text: str) -> int:
        """Return the number of a sentence, which is added if it is new."""
        key = hash_of(text)
        self.store.new("INSERT OR IGNORE INTO pool SELECT IFNULL(MAX(number) + 1, 0), ?, ? FROM pool", key, text)
        return int(self.store.first("SELECT number FROM pool WHERE hash = ?", key)[0])

    @property
    def pool(self) -> list[str]:
        """All sentences."""
        return [row[0] for row in self.store.tables.execute("SELECT text FROM pool ORDER BY number")]

    def known(self, query: int) -> dict[int, float]:
        """Return the known scores of a sentence with others."""
        return dict(self.store.tables.execute("SELECT other, score FROM known WHERE query = ?", (query,)))

    def below(self, score: float) -> int:
        """Return the number of pairs with a lower score."""
        return int(self.store.first("SELECT COUNT(*) FROM pairs WHERE score < ?", score)[0])

    def directions(self, least: float, done: int = 0) -> Iterator[tuple[int, int]]:
        """Yield query and positive of each pair that scores at least so much, in both directions, after the first ``done``."""
        query = "SELECT first, second FROM pairs WHERE score >= ? ORDER BY number LIMIT -1 OFFSET ?"
        for number, (first, second) in enumerate(self.store.tables.execute(query, (least, done // 2))):
            if number > 0 or done % 2 == 0:
                yield first, second
            yield second, first


def read_pairs(path: Path, store: Store, report: ConversionReport, leave_out: set[int]) -> ScoredPairs:
    """Read scored pairs; a pair with a sentence of an evaluation set is left out."""
    pairs = ScoredPairs(store)

    def take(place: str, row: Row) -> None:
        first, second, score = text_of(row, FIRST, place), text_of(row, SECOND, place), parse_number(row.get("score"))
        if math.isnan(score):
            raise UserError(f"{place}: 'score' must be a number, found {row.get('score')!r:.60}")
        if leave_out and leave_out & {key_of(first), key_of(second)}:
            report.left_out["pairs with a sentence of an evaluation set"] += 1
        else:
            pairs.add(first, second, score)

    read_into(store, path, report, take)
    return pairs


@dataclass(frozen=True)
class Limits:
    """Scores and numbers of a row's texts.

    Attributes:
        positive_score: the least score of a positive pair.
        negative_score: a negative's score with the query is at most so much, where it is known.
        negatives: of each row at most; 0 for none, and no BM25.
    """

    positive_score: float = 4.0
    negative_score: float = 2.5
    negatives: int = 7


class SimilarRows:
    """A row for each direction of each pair that scores high; pairs of equal sentences teach nothing and are left out.

    BM25 holds all sentences and its index of their words in memory.
    """

    def __init__(self, pairs: ScoredPairs, limits: Limits, report: ConversionReport) -> None:
        self.pairs, self.limits, self.report = pairs, limits, report
        self.done = 0  # directions

    def state(self) -> object:
        """Return the number of directions that are done."""
        return self.done

    def go_on(self, state: Any) -> None:
        """Go on from a state."""
        self.done = state

    def rows(self) -> Iterator[Row]:
        """Yield the rows that follow."""
        least, wanted = self.limits.positive_score, self.limits.negatives
        self.report.left_out["pairs that score too low for a positive"] = self.pairs.below(least)
        pool = self.pairs.pool
        high_scoring = self.pairs.directions(least, self.done)
        teacher = variants = None
        for query, positive in high_scoring:
            self.done += 1
            if key_of(pool[query]) == key_of(pool[positive]):
                self.report.left_out["directions of pairs of equal sentences"] += 1
                continue
            row: Row = {"query": pool[query], "positive": pool[positive], "negative": []}
            if wanted:
                teacher = teacher or WordTeacher(pool, pool)
                variants = variants or Variants(pool)
                places = near(teacher, query, variants.known(self.pairs, query), self.limits, variants.of(query))
                row["negative"] = [pool[place] for place in places]
                if len(places) < wanted:
                    self.report.notes["rows with fewer negatives than wanted"] += 1
            yield row


class Variants:
    """Sentences that differ in case or white space alone: what is known of one of them is known of all."""

    def __init__(self, pool: Sequence[str]) -> None:
        self.keys = [key_of(text) for text in pool]
        self.places: dict[int, list[int]] = {}
        for place, key in enumerate(self.keys):
            self.places.setdefault(key, []).append(place)

    def of(self, place: int) -> list[int]:
        """Return the places of a sentence and of its variants."""
        return self.places[self.keys[place]]

    def known(self, pairs: ScoredPairs, query: int) -> dict[int, float]:
        """Return the known scores of a sentence with others, the highest of all variants of both."""
        highest: dict[int, float] = {}
        for variant in self.of(query):
            for other, score in pairs.known(variant).items():
                for place in self.of(other):
                    highest[place] = max(score, highest.get(place, score))
        return highest


def near(teacher: WordTeacher, query: int, known: Mapping[int, float], limits: Limits, own: Collection[int] = ()) -> list[int]:
    """Return the negatives of a query: best matches without its own text, from the second on.

    Args:
        teacher: BM25 over the sentences, which are queries and corpus.
        query: place of the query.
        known: its scores with other sentences.
        limits: of scores and numbers.
        own: places of the query's own text in other cases or spaces.
    """
    scores = teacher.scores(query, range(teacher.texts))
    order = [int(place) for place in np.argsort(-scores, kind="stable") if place != query and place not in own]
    chosen: list[int] = []
    for place in order[SKIPPED:]:
        score = known.get(place)
        if scores[place] <= 0 or len(chosen) == limits.negatives:
            break
        if score is None or (score < limits.positive_score and score <= limits.negative_score):
            chosen.append(place)
    return chosen
