"""Count over many made-up studies, each compared as the command does: wrong claims, effects found, intervals that hold.

A star is wrong if what it speaks of does not differ, or differs the other way round: designs, or where one of the two was
trained once, the checkpoints that came out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from comparison.claims.outcome import ALPHA, Comparison, Contrast
from comparison.claims.overall import Overall
from comparison.compare import Options, compare
from comparison.simulation.studies import Study, map_of, simulate_study
from comparison.simulation.worlds import MARGIN, World
from comparison.stats.effects import Interval

Hits = dict[str, list[float]]
LAST = "model5"  # whose power is counted


@dataclass(frozen=True)
class Truth:
    """True differences of one study."""

    world: World
    study: Study

    def of(self, names: tuple[str, str], category: str, checkpoint: bool) -> float:
        """Return the true a - b in a category, of designs or of checkpoints."""
        first, second = names
        effects = dict(zip(self.world.designs, self.world.effects[category], strict=True))
        difference = effects[first] - effects[second]
        if checkpoint:
            difference += self.study.checkpoints[first] - self.study.checkpoints[second]
        return difference


def count_claims(world: World, repetitions: int, seed: int, baseline: str | None = "model1") -> dict[str, float]:
    """Return shares of studies or of intervals, by name.

    ``wrong <category>``, ``wrong *``, ``wrong **``, ``wrong overall``, ``equivalent <category>`` (wrongly), and ``found
    <category>`` (a star for model5 over the baseline) are of studies; ``covered <category>``, ``covered overall`` are of plain
    95 % intervals, ``together <category>``, ``together overall`` of studies in which all simultaneous ones hold. ``size
    <category>`` is the mean difference over the true one, where there is a star for the better design.

    Args:
        world: the truth.
        repetitions: studies.
        seed: of everything random.
        baseline: as `compare` takes it.
    """
    generator, families = np.random.default_rng(seed), map_of(world.assumed)
    hits: Hits = {}
    for _ in range(repetitions):
        study = simulate_study(world, generator)
        outcome = compare(study.table, families, Options(baseline, MARGIN))
        truth = Truth(world, study)
        stars = _count_categories(outcome, truth, hits)
        _add(hits, "wrong *", "*" in stars or "**" in stars)
        _add(hits, "wrong **", "**" in stars)
        _count_overall(outcome, truth, hits)
    return {name: float(np.mean(of_name)) for name, of_name in hits.items()}


def _add(hits: Hits, name: str, hit: float) -> None:
    hits.setdefault(name, []).append(hit)


def _count_categories(outcome: Comparison, truth: Truth, hits: Hits) -> set[str]:
    """Count each category; returns the marks that are wrong."""
    wrong: set[str] = set()
    for category in outcome.categories:
        marks, equal, together, known = set[str](), False, True, False
        for contrast in category.contrasts:
            true = truth.of((contrast.a, contrast.b), category.name, contrast.checkpoint)
            if contrast.starred and contrast.by_family.mean * true <= 0:
                marks.add(contrast.mark)
            of_designs = truth.of((contrast.a, contrast.b), category.name, False)
            equal |= contrast.equivalent and abs(of_designs) >= MARGIN
            plain = _plain(contrast)
            if plain is not None:
                _add(hits, f"covered {category.name}", _holds(plain, true))
            if contrast.simultaneous is not None:
                known = True
                together &= _holds(contrast.simultaneous, true)
            if contrast.a == LAST:
                found = contrast.starred and contrast.by_family.mean > 0
                _add(hits, f"found {category.name}", found)
                if found and of_designs > 0:
                    _add(hits, f"size {category.name}", contrast.by_family.mean / of_designs)
        _add(hits, f"wrong {category.name}", bool(marks))
        _add(hits, f"equivalent {category.name}", equal)
        if known:
            _add(hits, f"together {category.name}", together)
        wrong |= marks
    return wrong


def _plain(contrast: Contrast) -> Interval | None:
    """Return the plain interval: over families and runs where those are known."""
    if contrast.another_run.p is not None:
        return contrast.another_run.interval
    return contrast.by_family.interval


def _holds(interval: Interval, true: float) -> bool:
    return interval.low <= true <= interval.high


def _count_overall(outcome: Comparison, truth: Truth, hits: Hits) -> None:
    """Count the claims and intervals over all categories."""
    wrong, together, known = False, True, False
    for entry in outcome.overall:
        true = _true_overall(entry, truth)
        wrong |= _wrong_overall(entry, true, hits)
        if entry.simultaneous is not None:
            known = True
            together &= _holds(entry.simultaneous, true)
    _add(hits, "wrong overall", wrong)
    if known:
        _add(hits, "together overall", together)


def _true_overall(entry: Overall, truth: Truth) -> float:
    """Return the true mean of the categories' a - b."""
    checkpoint = entry.p_run is None
    differences = [truth.of((entry.a, entry.b), category, checkpoint) for category in entry.categories]
    return float(np.mean(differences))


def _wrong_overall(entry: Overall, true: float, hits: Hits) -> bool:
    """Count the plain interval over all categories; returns whether a claim is made that is wrong."""
    if entry.interval is not None:
        _add(hits, "covered overall", _holds(entry.interval, true))
    p = entry.p if entry.p_run is None else entry.p_run
    if entry.a == LAST:
        _add(hits, "found overall", p <= ALPHA and entry.mean > 0)
    return p <= ALPHA and entry.mean * true <= 0


def shares_of(shares: Mapping[str, float], kind: str) -> dict[str, float]:
    """Return the shares of a kind by category: ``shares_of(shares, "wrong")``."""
    begin = f"{kind} "
    return {name.removeprefix(begin): share for name, share in shares.items() if name.startswith(begin)}
