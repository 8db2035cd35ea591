"""A grid of designs as a grid: the main effects of attention and of pooling, and their interaction, with the three claims.

With y the score of a design, A and R two attentions (R the reference), and p one of P poolings (r the reference):

- attention: mean over p of y(A, p) - y(R, p);
- pooling p: mean over attentions of y(., p) - y(., r), for each p but r;
- interaction of p: [y(A, p) - y(R, p)] - [y(A, r) - y(R, r)], for each p but r: with how much more does attention matter.

These 2 P - 1 contrasts of a kind of tasks are one family of tests. Each is scale x (mean of some designs - mean of others), so
the three claims are those of a comparison of two systems: families of tasks as units, and the noise of all runs in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from comparison.claims.categories import CategoryMaker
from comparison.claims.outcome import Category, Grid
from comparison.claims.pairs import Sides, make_group_pair
from comparison.claims.whole_table import Names, adjust_over_table, over_kinds, tests_over_table
from comparison.reading.families import Families
from comparison.reading.table import Table

ATTENTION, POOLING, INTERACTION = "attention", "pooling", "interaction"
REFERENCES = ("causal", "eos")  # a level that begins with one of these is the reference of its factor
Crossing = dict[str, dict[str, str]]  # attention -> pooling -> system


def make_grid(table: Table, families: Families, margin: float, seed: int, same_revision: bool = False) -> Grid | None:
    """Compare the factors of a grid; None where systems do not cross two attentions with two poolings or more.

    A pooling without both attentions is left out, and named. Where two systems share attention and pooling (recipes, base
    models) nobody can say which is meant, so there is no grid. Failed runs are not counted as losses here: what failed is
    named beside each contrast (`Grid.lost`), of which then nothing is claimed.

    Args:
        table: the scores.
        families: the map of tasks.
        margin: differences within it count as none.
        seed: of everything random.
        same_revision: leave out tasks whose results state different revisions of the data.
    """
    crossing = cross(table)
    if crossing is None:
        return None
    contrasts = grid_contrasts(crossing)
    maker = CategoryMaker(table, families, margin, seed, [])
    drafts: list[Category] = []
    simple: dict[str, dict[str, float]] = {}
    lost: dict[str, list[list[str]]] = {}
    left_out: list[str] = []
    for name, tasks in table.categories.items():
        pairs = []
        for names, (_, sides) in contrasts.items():
            pairs.append(make_group_pair(table, tasks, families, names, sides, same_revision))
        lost[name] = [_lost(table, tasks, sides.systems) for _, sides in contrasts.values()]
        if not all(pair.differences for pair in pairs):
            left_out.append(name)
            continue
        drafts.append(maker.make(name, pairs, [None] * len(pairs)))
        simple[name] = _gains(table, tasks, families, crossing, same_revision)
    if not drafts:
        return None
    categories = adjust_over_table(drafts, tests_over_table(drafts), all_pairs=False)
    sides_of = {names: sides for names, (_, sides) in contrasts.items()}
    overall = over_kinds(table, categories, sides_of, families, seed)
    attentions = list(crossing)
    return Grid(
        attentions=(attentions[0], attentions[1]),
        poolings=tuple(crossing[attentions[0]]),
        systems=crossing,
        effects=[effect for effect, _ in contrasts.values()],
        simple=simple,
        categories=[replace(category, groups=None, ranks=None, variances=None) for category in categories],
        overall=overall,
        lost=lost,
        left_out=left_out,
        without=_without(table, crossing),
    )


def _lost(table: Table, tasks: Sequence[str], systems: Sequence[str]) -> list[str]:
    """Return those of some systems with a run that failed, or without a task that another of them has."""
    lost = []
    for system in systems:
        failed = any(table.failed.get((system, task), 0) for task in tasks)
        had = [task for task in tasks if any((other, task) in table.scores for other in systems)]
        if failed or any((system, task) not in table.scores for task in had):
            lost.append(system)
    return lost


def _without(table: Table, crossing: Crossing) -> list[str]:
    """Return the designs of a known attention and pooling that are not in the grid."""
    inside: set[str] = set()
    for of_attention in crossing.values():
        inside.update(of_attention.values())
    return [system for system in table.factors if system in table.systems and system not in inside]


def cross(table: Table) -> Crossing | None:
    """Return the systems by attention and pooling, references last; None where they do not cross."""
    crossing: Crossing = {}
    for system, (attention, pooling) in table.factors.items():
        if system not in table.systems or not any((system, task) in table.scores for task in table.tasks):
            continue
        of_attention = crossing.setdefault(attention, {})
        if pooling in of_attention:
            return None
        of_attention[pooling] = system
    if len(crossing) != 2:
        return None
    first, second = crossing.values()
    poolings = [pooling for pooling in first if pooling in second]
    if len(poolings) < 2:
        return None
    ordered: Crossing = {}
    for attention in _reference_last(list(crossing)):
        ordered[attention] = {pooling: crossing[attention][pooling] for pooling in _reference_last(poolings)}
    return ordered


def _reference_last(levels: Sequence[str]) -> list[str]:
    """Return levels with the reference last: causal attention, EOS pooling, else the first one."""
    reference = levels[0]
    for level in levels:
        if level.lower().startswith(REFERENCES):
            reference = level
    return [*(level for level in levels if level != reference), reference]


def grid_contrasts(crossing: Crossing) -> dict[Names, tuple[str, Sides]]:
    """Return the contrasts by the names of their two sides: the effect, and the systems."""
    (attention, first), (reference, second) = crossing.items()
    poolings = list(first)
    base = poolings[-1]
    contrasts: dict[Names, tuple[str, Sides]] = {}
    contrasts[attention, reference] = (ATTENTION, Sides(tuple(first.values()), tuple(second.values())))
    for pooling in poolings[:-1]:
        sides = Sides((first[pooling], second[pooling]), (first[base], second[base]))
        contrasts[pooling, base] = (POOLING, sides)
    for pooling in poolings[:-1]:
        names = (f"{attention} − {reference} with {pooling}", f"{attention} − {reference} with {base}")
        sides = Sides((first[pooling], second[base]), (second[pooling], first[base]), scale=2.0)
        contrasts[names] = (INTERACTION, sides)
    return contrasts


def _gains(table: Table, tasks: Sequence[str], families: Families, crossing: Crossing, same_revision: bool) -> dict[str, float]:
    """Return the gain of the first attention over the second with each pooling, mean over families: described, not tested."""
    (_, first), (_, second) = crossing.items()
    gains = {}
    for pooling, system in first.items():
        sides = Sides((system,), (second[pooling],))
        pair = make_group_pair(table, tasks, families, (system, second[pooling]), sides, same_revision)
        if pair.differences:
            gains[pooling] = float(pair.of_families.mean())
    return gains
