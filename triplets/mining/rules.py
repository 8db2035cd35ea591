"""Choose a query's negatives among its best matches, and say why the others are none."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from common.errors import UsageError

# Reasons of rejection, in the order in which they are checked.
POSITIVE, OWN_TEXT, LEFT_OUT, ABOVE_MARGIN, ABOVE_SCORE, BELOW_SCORE, APART = (
    "a known positive",
    "the query's own text",
    "a text to leave out",
    "too near the positive",
    "above --max_score",
    "below --min_score",
    "without a word of the query",
)


@dataclass(frozen=True)
class MiningRules:
    """Rules of choosing negatives among the matches of a query, best first.

    The margins are those of NV-Retriever (arXiv 2407.15831, section 4): a negative that scores nearly as well as the positive
    may be a positive that nobody marked. A query with several positives is held against its lowest one.

    Attributes:
        negatives: wanted for each query.
        absolute_margin: a negative scores at least so much less than the positive (TopK-MarginPos).
        relative_margin: the same as a share of the positive's score; 0.05 is TopK-PercPos with 95 %.
        max_score: a negative scores at most so much (TopK-Abs).
        min_score: and at least so much.
        first_rank: of the window of ranks, from 0.
        last_rank: end of the window, not in it; None for the end of the corpus.
        window: ranks are those in the ``corpus``, as in KaLM's mining, or among the ``survivors`` of the other rules, as in
            sentence-transformers.
        sampling: the ``first`` of the window, or a ``random`` draw from it.
        seed: of the draw, which depends on the query's place too.
        consistency_rank: a query is dropped where its best positive scores below the text of this rank, from 0: the teacher
            finds many texts that answer it better (KaLM's ranking consistency filter).
    """

    negatives: int = 7
    absolute_margin: float | None = None
    relative_margin: float | None = None
    max_score: float | None = None
    min_score: float | None = None
    first_rank: int = 0
    last_rank: int | None = None
    window: Literal["corpus", "survivors"] = "corpus"
    sampling: Literal["first", "random"] = "first"
    seed: int = 0
    consistency_rank: int | None = None

    def __post_init__(self) -> None:
        """Check the rules.

        Raises:
            UsageError: they leave no negative, or contradict each other.
        """
        if self.negatives < 1:
            raise UsageError(f"--negatives must be at least 1, got {self.negatives}")
        if self.first_rank < 0:
            raise UsageError(f"--first_rank counts from 0, got {self.first_rank}")
        if self.last_rank is not None and self.last_rank < self.first_rank + self.negatives:
            raise UsageError(
                f"--first_rank {self.first_rank} and --last_rank {self.last_rank} leave a window of "
                f"{max(0, self.last_rank - self.first_rank)} texts for {self.negatives} negatives: widen it"
            )
        if self.sampling == "random" and self.last_rank is None:
            raise UsageError("--sampling random draws from a window: give --last_rank")
        for name in ("absolute_margin", "relative_margin"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise UsageError(f"--{name} must be 0 or more, got {value}")
        for name in ("min_score", "max_score"):
            value = getattr(self, name)
            if value is not None and math.isnan(value):
                raise UsageError(f"--{name} must be a number, got {value}")
        if self.min_score is not None and self.max_score is not None and not self.min_score < self.max_score:
            raise UsageError(f"--min_score {self.min_score} must be below --max_score {self.max_score}")
        if self.consistency_rank is not None and self.consistency_rank < 0:
            raise UsageError(f"--consistency_rank counts from 0, got {self.consistency_rank}")

    @property
    def bounded(self) -> bool:
        """Whether the window ends at a rank of the corpus, however few survive in it."""
        return self.window == "corpus" and self.last_rank is not None

    @property
    def survivors_needed(self) -> int:
        """Number of survivors after which more matches change nothing, where the window is not `bounded`."""
        if self.window == "corpus":
            return self.negatives
        if self.sampling == "random" and self.last_rank is not None:
            return self.last_rank
        return self.first_rank + self.negatives

    @property
    def first_depth(self) -> int:
        """Number of matches to begin with; a query that needs more is searched again."""
        filters = (self.absolute_margin, self.relative_margin, self.max_score, self.min_score)
        spare = 1 if filters == (None,) * len(filters) else 10
        depth = self.first_rank + spare * self.survivors_needed
        if self.bounded and self.last_rank is not None:
            depth = self.last_rank
        return max(depth, 0 if self.consistency_rank is None else self.consistency_rank + 1)

    def check_depth(self, depth: int | None) -> None:
        """Refuse a number of matches to look at that ends before a rank which the rules need.

        Raises:
            UsageError: the window or the consistency rank would do nothing.
        """
        if depth is None:
            return
        if depth <= self.first_rank:
            raise UsageError(f"--depth {depth} ends before the window, which begins at rank {self.first_rank}: raise it")
        if self.consistency_rank is not None and depth <= self.consistency_rank:
            raise UsageError(
                f"--depth {depth} never reaches the text of --consistency_rank {self.consistency_rank}, so no query would be "
                "dropped: raise it"
            )

    def ceiling(self, positives: np.ndarray) -> float:
        """Return the score that a negative may have at most, beside ``max_score``, from those of the positives."""
        lowest = float(positives.min())
        ceiling = float("inf")
        if self.absolute_margin is not None:
            ceiling = lowest - self.absolute_margin
        if self.relative_margin is not None:
            ceiling = min(ceiling, lowest - abs(lowest) * self.relative_margin)
        return ceiling


@dataclass(frozen=True)
class Query:
    """A query of the mining.

    Attributes:
        number: among the queries; it enters a random draw.
        positives: ``(positives,)`` scores of its known positives.
        excluded: places of the corpus that must not be its negatives, with the reason.
        left_out: bool ``(texts,)``: those that must not be any query's negatives; None for none.
        apart: score of a text that the teacher does not find at all. Its rank is that of its place in the corpus, so it is no
            hard negative; a random draw may take it.
    """

    number: int
    positives: np.ndarray
    excluded: dict[int, str]
    apart: float = -math.inf
    left_out: np.ndarray | None = None


@dataclass
class Choice:
    """The negatives of a query.

    Attributes:
        places: of the negatives, best first.
        scores: theirs.
        rejected: number of matches that a rule kept out, by reason.
        decided: whether more matches would change nothing.
    """

    places: list[int]
    scores: list[float]
    decided: bool
    rejected: Counter[str] = field(default_factory=Counter)


def choose(query: Query, places: np.ndarray, scores: np.ndarray, rules: MiningRules) -> Choice:
    """Choose a query's negatives among its matches.

    Args:
        query: its positives, and what must not be chosen.
        places: ``(matches,)`` of its matches in the corpus, best first.
        scores: ``(matches,)`` theirs.
        rules: of the choice.
    """
    open_places = np.ones(len(places), dtype=bool)
    if rules.window == "corpus":
        open_places[: rules.first_rank] = False
        if rules.last_rank is not None:
            open_places[rules.last_rank :] = False
    rejected: Counter[str] = Counter()
    barred = np.isin(places, list(query.excluded))
    if query.left_out is not None:
        barred |= query.left_out[places]
    for position in np.flatnonzero(open_places & barred):
        rejected[query.excluded.get(int(places[position]), LEFT_OUT)] += 1
        open_places[position] = False
    for reason, fails in _score_rules(query, scores, rules):
        failing = open_places & fails
        rejected[reason] += int(failing.sum())
        open_places &= ~fails
    survivors = np.flatnonzero(open_places)
    decided = _is_decided(query, scores, len(survivors), rules)
    if rules.window == "survivors":
        survivors = survivors[rules.first_rank : rules.last_rank]
    chosen = _drawn(survivors, query, rules)
    return Choice(places[chosen].tolist(), scores[chosen].tolist(), decided, +rejected)


def _score_rules(query: Query, scores: np.ndarray, rules: MiningRules) -> list[tuple[str, np.ndarray]]:
    """Return the reason of each rule on scores, and where it rejects, ``(matches,)``."""
    fails = []
    ceiling = rules.ceiling(query.positives)
    if ceiling < float("inf"):
        fails.append((ABOVE_MARGIN, scores > ceiling))
    if rules.max_score is not None:
        fails.append((ABOVE_SCORE, scores > rules.max_score))
    if rules.min_score is not None:
        fails.append((BELOW_SCORE, scores < rules.min_score))
    if rules.sampling == "first" and query.apart > -math.inf:
        fails.append((APART, scores <= query.apart))
    return fails


def _is_decided(query: Query, scores: np.ndarray, survivors: int, rules: MiningRules) -> bool:
    """Return whether more matches would change nothing."""
    if rules.bounded and rules.last_rank is not None:
        return len(scores) >= rules.last_rank
    if rules.min_score is not None and len(scores) > 0 and scores[-1] < rules.min_score:
        return True  # all that follow score less
    if rules.sampling == "first" and len(scores) > 0 and scores[-1] <= query.apart:
        return True
    return survivors >= rules.survivors_needed


def _drawn(survivors: np.ndarray, query: Query, rules: MiningRules) -> np.ndarray:
    """Return the negatives: the first ones, or a draw that depends on the seed and the query's number alone."""
    if rules.sampling == "first" or len(survivors) <= rules.negatives:
        return survivors[: rules.negatives]
    generator = np.random.default_rng([rules.seed, query.number])
    drawn = np.sort(generator.choice(len(survivors), rules.negatives, replace=False))
    return survivors[drawn]


def is_consistent(best_positive: float, scores: np.ndarray, rules: MiningRules) -> bool:
    """Return whether a query's best positive scores at least as well as the text of the consistency rank."""
    rank = rules.consistency_rank
    if rank is None or rank >= len(scores):
        return True
    return bool(best_positive >= scores[rank])
