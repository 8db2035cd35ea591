"""The items on which two systems differ most: queries, pairs and texts, each with a score between 0 and 1.

Items of different kinds of tasks have different scores, but all of them are 0 for the worst that a system can do with an item
and 1 for the best.

| items | score of an item |
|---|---|
| queries | the metric of the task's main score |
| pairs with graded gold | 1 - the distance of the pair's place by similarity from its place by gold, as a share of all pairs |
| pairs with gold 0 or 1 | the share of the pairs with the other gold that it is on the right side of |
| texts with labels | the share of right predictions |

Draws of clustering are drawn from all texts, so they have no text of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from comparison.reading.item_scores import Items

A_SIDE = 3  # items of a kind of tasks that are kept for each of the two systems


@dataclass(frozen=True)
class ItemApart:
    """An item on which two systems differ.

    Attributes:
        task: its task.
        split: of the task's data.
        subset: of the task's data.
        item: its id, the query's own or the row's number.
        of: how many items the task has there.
        kind: of `Items`.
        score_a: the score of a, between 0 and 1, mean over runs.
        score_b: the score of b.
        gold: of a pair; None for other items.
    """

    task: str
    split: str
    subset: str
    item: str
    of: int
    kind: str
    score_a: float
    score_b: float
    gold: float | None = None

    @property
    def difference(self) -> float:
        """Score of a - score of b."""
        return self.score_a - self.score_b


def item_scores(runs: Sequence[Items]) -> np.ndarray | None:
    """Return the score of each item, ``(items,)``, mean over runs; None for draws of clustering."""
    kind = runs[0].kind
    if kind == "draws":
        return None
    if kind in ("queries", "accuracy"):
        return np.asarray(np.mean([run.values.mean(axis=1) for run in runs], axis=0))
    return np.asarray(np.mean([_of_pairs(run) for run in runs], axis=0))


def _of_pairs(run: Items) -> np.ndarray:
    scores = np.empty(len(run.ids))
    for subset in np.unique(run.subsets):
        chosen = run.subsets == subset
        values, gold = run.values[chosen, 0], run.gold[chosen]
        if run.kind == "correlation":
            scores[chosen] = 1 - np.abs(stats.rankdata(values) - stats.rankdata(gold)) / values.size
        else:
            scores[chosen] = _right_side(values, gold > 0)
    return scores


def _right_side(values: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Return for each pair the share of the pairs with the other gold that it is on the right side of; ties count half."""
    shares = np.empty(values.size)
    for of_one, sign in ((positive, 1.0), (~positive, -1.0)):
        others = np.sort(sign * values[~of_one])
        mine = sign * values[of_one]
        below = np.searchsorted(others, mine, side="left") + np.searchsorted(others, mine, side="right")
        shares[of_one] = below / (2 * max(1, others.size))
    return shares


def most_apart(task: str, split: str, ours: Sequence[Items], other: Sequence[Items]) -> list[ItemApart]:
    """Return the items on which a is furthest ahead, and those on which b is; of equal ones the first.

    Args:
        task: its name.
        split: of its data.
        ours: items of each run of a.
        other: the same items of each run of b.

    Returns:
        At most `A_SIDE` items a side, the furthest first; no item on which both have the same score.
    """
    first, second = item_scores(ours), item_scores(other)
    if first is None or second is None:
        return []
    differences = first - second
    items = ours[0]
    apart = []
    for sign in (1, -1):
        for number in np.argsort(-sign * differences, kind="stable")[:A_SIDE]:
            if sign * differences[number] <= 0:
                break
            subset, name = items.ids[number]
            of = int((items.subsets == items.subsets[number]).sum())
            gold = float(items.gold[number]) if items.gold.size else None
            scores = float(first[number]), float(second[number])
            apart.append(ItemApart(task, split, subset, name, of, items.kind, *scores, gold))
    return apart


def furthest(items: Iterable[ItemApart]) -> list[ItemApart]:
    """Return the items of a kind of tasks that are shown: for each system those on which it is furthest ahead, a's first.

    They are of different tasks where there are enough: the furthest of each task come before the second of any.
    """
    by_side: dict[tuple[bool, str], list[ItemApart]] = {}
    for item in items:
        by_side.setdefault((item.difference > 0, item.task), []).append(item)
    shown = []
    for ahead in (True, False):
        placed: list[tuple[int, ItemApart]] = []  # place within its task, item
        for (side, _), of_task in by_side.items():
            if side == ahead:
                placed += enumerate(sorted(of_task, key=_size))
        placed.sort(key=lambda entry: (entry[0], _size(entry[1])))
        shown += [item for _, item in placed[:A_SIDE]]
    return shown


def _size(item: ItemApart) -> float:
    return -abs(item.difference)
