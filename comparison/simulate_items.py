"""Simulated scores item by item, with known true differences: what intervals within a task cover, and claim A's errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from comparison.claims.outcome import ALPHA
from comparison.claims.three_claims import these_tasks
from comparison.reading.item_scores import Items
from comparison.stats.within import Effort, Within, within_task

Generator = np.random.Generator
EFFORT = Effort(flips=499, resamples=400, swaps=1)


def make_items(kind: str, values: np.ndarray, gold: np.ndarray | None = None, ratio: float | None = None,
               groups: np.ndarray | None = None) -> Items:  # fmt: skip
    """Return items of one subset."""
    count = len(values)
    return Items(
        kind=kind,
        ids=tuple(("default", str(number)) for number in range(count)),
        subsets=np.zeros(count, dtype=int),
        values=values.reshape(count, -1),
        gold=np.array([]) if gold is None else gold,
        groups=np.arange(count) if groups is None else groups,
        grouped=groups is not None,
        ratio=ratio,
        metric=kind,
    )


def queries(generator: Generator, count: int) -> tuple[Items, Items]:
    """Two systems whose nDCG a query is equal for most, as real ones are; no difference in the mean."""
    level = generator.beta(0.7, 0.5, count)
    made = []
    for _ in range(2):
        moved = np.where(generator.random(count) < 0.4, generator.beta(0.7, 0.5, count), level)
        made.append(make_items("queries", moved))
    return made[0], made[1]


def pairs(generator: Generator, count: int, connected: int = 1) -> tuple[Items, Items]:
    """Two systems' similarities, equally good; `connected` pairs in a row share a text."""
    groups = np.arange(count) // connected
    shared = generator.normal(size=(3, groups.max() + 1))[:, groups]
    own = generator.normal(size=(3, count))
    gold, *noise = shared * np.sqrt(0.5) + own * np.sqrt(0.5) if connected > 1 else own
    levels = np.digitize(gold, [-1.0, -0.3, 0.3, 1.0]).astype(float)
    of_groups = groups if connected > 1 else None
    one, other = (make_items("correlation", gold + 0.8 * extra, levels, groups=of_groups) for extra in noise)
    return one, other


def texts(generator: Generator, count: int) -> tuple[Items, Items]:
    """Two classifiers trained ten times on the same samples, equally good, about 10 % of the texts told apart."""
    made = []
    hard = generator.random(count) < 0.25
    repeated = 0.005 * generator.normal(size=10)
    for _ in range(2):
        chance = np.clip(np.where(hard, 0.3, 0.9) + 0.15 * generator.normal(size=count), 0.02, 0.98)
        right = (generator.random(count) < chance)[:, None] ^ (generator.random((count, 10)) < 0.03)
        flip = generator.random((count, 10)) < np.abs(repeated + 0.005 * generator.normal(size=10))
        made.append(make_items("accuracy", (right ^ flip).astype(float)))
    return made[0], made[1]


def draws(generator: Generator, documents: int, drawn: int) -> tuple[Items, Items]:
    """Ten bootstrap draws of documents whose mean is the score: the case in which the corrected error is exact."""
    ours, other = generator.normal(0.5, 0.5, documents), generator.normal(0.5, 0.5, documents)
    picks = generator.integers(0, documents, size=(10, drawn))
    one, two = (make_items("draws", of[picks].mean(axis=1), ratio=drawn / documents) for of in (ours, other))
    return one, two


KINDS: dict[str, Callable[[Generator], tuple[Items, Items]]] = {
    "retrieval, 50 queries": lambda generator: queries(generator, 50),
    "retrieval, 300 queries": lambda generator: queries(generator, 300),
    "STS, 300 pairs": lambda generator: pairs(generator, 300),
    "STS, 300 pairs, groups of 3": lambda generator: pairs(generator, 300, 3),
    "classification, 1,000 texts x 10": lambda generator: texts(generator, 1000),
    "clustering, 2,000 of 2,000 documents": lambda generator: draws(generator, 2000, 2000),
    "clustering, 4,000 of 1,000 documents": lambda generator: draws(generator, 1000, 4000),
}
MIXED = ("retrieval, 50 queries", "retrieval, 300 queries", "classification, 1,000 texts x 10")


def coverage_within(repetitions: int, seed: int) -> dict[str, float]:
    """Return the share of intervals with 0, the true difference, in them: by type, for claim A, and claim A's wrong marks."""
    generator = np.random.default_rng(seed)
    hits: dict[str, list[bool]] = {}
    for _ in range(repetitions):
        for name, make in KINDS.items():
            ours, other = make(generator)
            found = within_task([ours], [other], effort=EFFORT)
            if found is not None:
                hits.setdefault(name, []).append(found.interval.low <= 0 <= found.interval.high)
        several = [_tasks(generator) for _ in range(4)]
        claims = [claim for claim in these_tasks(several, [(1, 1)] * len(several)) if claim is not None]
        hits.setdefault("claim A, the mean of three tasks", []).append(claims[0].interval.low <= 0 <= claims[0].interval.high)
        wrong = any(claim.p_adjusted <= ALPHA for claim in claims)
        hits.setdefault("studies of four comparisons without a wrong `o`", []).append(not wrong)
        marked = any(p <= ALPHA for claim in claims for p in claim.p_tasks.values())
        hits.setdefault("studies of twelve comparisons by task without a wrong one", []).append(not marked)
    return {name: float(np.mean(of_name)) for name, of_name in hits.items()}


def _tasks(generator: Generator) -> dict[str, Within]:
    made = {}
    for name in MIXED:
        ours, other = KINDS[name](generator)
        found = within_task([ours], [other], effort=EFFORT)
        if found is not None:
            made[name] = found
    return made


def print_within(found: Mapping[str, float], repetitions: int) -> None:
    """Print the shares in per cent as a Markdown table."""
    print(f"\nWithin tasks, the truth in the interval, % of {repetitions}\n\n| | % |\n|---|---|")
    for name, share in found.items():
        print(f"| {name} | {100 * share:.1f} |")
