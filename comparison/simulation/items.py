"""Simulate scores item by item without any true difference, to count intervals that cover and claim A's errors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import chain, repeat

import numpy as np

from comparison.claims.outcome import ALPHA
from comparison.claims.three_claims import these_tasks
from comparison.reading.item_scores import Items
from comparison.stats.effects import Interval
from comparison.stats.within import Effort, Within, within_task

Generator = np.random.Generator
EFFORT = Effort(flips=499, resamples=400, swaps=1)


def make_items(kind: str, values: np.ndarray) -> Items:
    """Return items of one subset, none connected with another."""
    count = len(values)
    return Items(
        kind=kind,
        ids=tuple(zip(repeat("default"), map(str, range(count)))),
        subsets=np.zeros(count, dtype=int),
        values=values.reshape(count, -1),
        gold=np.array([]),
        groups=np.arange(count),
        grouped=False,
        ratio=None,
        metric=kind,
    )


def queries(generator: Generator, count: int) -> tuple[Items, Items]:
    """Two systems whose nDCG a query is equal for most, as real ones are; no difference in the mean."""
    level = generator.beta(0.7, 0.5, count)

    def system() -> Items:
        moves = generator.random(count) < 0.4
        return make_items("queries", np.where(moves, generator.beta(0.7, 0.5, count), level))

    return system(), system()


def pairs(generator: Generator, count: int, connected: int = 1) -> tuple[Items, Items]:
    """Two systems' similarities, equally good; `connected` pairs in a row share a text."""
    groups = np.arange(count) // connected
    shared = generator.normal(size=(3, groups.max() + 1))[:, groups]
    drawn = generator.normal(size=(3, count))
    if connected > 1:
        drawn = shared * np.sqrt(0.5) + drawn * np.sqrt(0.5)
    gold, noise_of_ours, noise_of_other = drawn
    levels = np.digitize(gold, [-1.0, -0.3, 0.3, 1.0]).astype(float)
    ours = replace(make_items("correlation", gold + 0.8 * noise_of_ours), gold=levels)
    other = replace(make_items("correlation", gold + 0.8 * noise_of_other), gold=levels)
    if connected > 1:
        ours, other = replace(ours, groups=groups, grouped=True), replace(other, groups=groups, grouped=True)
    return ours, other


def texts(generator: Generator, count: int) -> tuple[Items, Items]:
    """Two classifiers trained ten times on the same samples, equally good, unlike on about 10 % of the texts."""
    hard = generator.random(count) < 0.25
    repeated = 0.005 * generator.normal(size=10)

    def system() -> Items:
        chance = np.clip(np.where(hard, 0.3, 0.9) + 0.15 * generator.normal(size=count), 0.02, 0.98)
        right = (generator.random(count) < chance)[:, None] ^ (generator.random((count, 10)) < 0.03)
        flip = generator.random((count, 10)) < np.abs(repeated + 0.005 * generator.normal(size=10))
        return make_items("accuracy", (right ^ flip).astype(float))

    return system(), system()


def draws(generator: Generator, documents: int, drawn: int) -> tuple[Items, Items]:
    """Ten bootstrap draws of documents whose mean is the score: the case in which the corrected error is exact."""
    values_of_ours, values_of_other = generator.normal(0.5, 0.5, documents), generator.normal(0.5, 0.5, documents)
    picks = generator.integers(0, documents, size=(10, drawn))
    ours = make_items("draws", values_of_ours[picks].mean(axis=1))
    other = make_items("draws", values_of_other[picks].mean(axis=1))
    return replace(ours, ratio=drawn / documents), replace(other, ratio=drawn / documents)


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
        for name, within in _compare(generator, KINDS).items():
            hits.setdefault(name, []).append(_covers_zero(within.interval))
        evidence = [_compare(generator, MIXED) for _ in range(4)]
        claims = [claim for claim in these_tasks(evidence, [(1, 1)] * len(evidence)) if claim is not None]
        hits.setdefault("claim A, the mean of three tasks", []).append(_covers_zero(claims[0].interval))
        smallest = min(claim.p_adjusted for claim in claims)
        hits.setdefault("studies of four comparisons without a wrong `o`", []).append(smallest > ALPHA)
        smallest_of_tasks = min(chain.from_iterable(claim.p_tasks.values() for claim in claims))
        hits.setdefault("studies of twelve comparisons by task without a wrong one", []).append(smallest_of_tasks > ALPHA)
    return {name: float(np.mean(of_name)) for name, of_name in hits.items()}


def _covers_zero(interval: Interval) -> bool:
    return interval.low <= 0 <= interval.high


def _compare(generator: Generator, kinds: Iterable[str]) -> dict[str, Within]:
    """Return two made-up systems' result on a task of each kind."""
    results = {}
    for name in kinds:
        ours, other = KINDS[name](generator)
        within = within_task([ours], [other], effort=EFFORT)
        if within is not None:
            results[name] = within
    return results


def print_within(shares: Mapping[str, float], repetitions: int) -> None:
    """Print the shares in per cent as a Markdown table."""
    print(f"\nWithin tasks, the truth in the interval, % of {repetitions}\n\n| | % |\n|---|---|")
    for name, share in shares.items():
        print(f"| {name} | {100 * share:.1f} |")
