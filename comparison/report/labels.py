"""Systems by what they are: ``EOS, causal (model1)`` for a design whose attention and pooling a study says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from comparison.claims.outcome import Category, Comparison, Contrast
from comparison.reading.systems import StudyResults

Value = TypeVar("Value")
Called = Callable[[str], str]


def labels_of(studies: Sequence[StudyResults]) -> dict[str, str]:
    """Return the label of each system of which a study says one attention and one pooling."""
    designs: dict[str, set[tuple[str, str]]] = {}
    for study in studies:
        for cell in study.data.cells:
            system = study.names.get(cell.compared_as, cell.compared_as)
            designs.setdefault(system, set()).add((cell.pooling, cell.attention))
    labels = {}
    for system, of_system in designs.items():
        pooling, attention = next(iter(of_system))
        if len(of_system) == 1 and pooling and attention:
            labels[system] = f"{pooling}, {attention} ({system})"
    return labels


def by_what_they_are(comparison: Comparison, studies: Sequence[StudyResults]) -> tuple[Comparison, list[StudyResults]]:
    """Return a comparison and its studies with every system under its label; those without one keep their names."""
    labels = labels_of(studies)

    def called(system: str) -> str:
        return labels.get(system, system)

    renamed = []
    for study in studies:
        names = {cell.compared_as: cell.compared_as for cell in study.data.cells} | dict(study.names)
        renamed.append(replace(study, names={inside: called(outside) for inside, outside in names.items()}))
    if not labels:
        return comparison, list(studies)
    baseline = comparison.baseline
    grid = comparison.grid
    if grid is not None:
        systems = {attention: _values(of_attention, called) for attention, of_attention in grid.systems.items()}
        lost = {kind: [list(map(called, of_one)) for of_one in of_kind] for kind, of_kind in grid.lost.items()}
        grid = replace(grid, systems=systems, lost=lost, without=list(map(called, grid.without)))
    relabelled = replace(
        comparison,
        systems=_keys(comparison.systems, called),
        baseline=None if baseline is None else called(baseline),
        categories=[_category(category, called) for category in comparison.categories],
        overall=[replace(entry, a=called(entry.a), b=called(entry.b)) for entry in comparison.overall],
        as_they_are=list(map(called, comparison.as_they_are)),
        grid=grid,
    )
    return relabelled, renamed


def _keys(by_system: Mapping[str, Value], called: Called) -> dict[str, Value]:
    return {called(system): value for system, value in by_system.items()}


def _values(systems: Mapping[str, str], called: Called) -> dict[str, str]:
    return {key: called(system) for key, system in systems.items()}


def _category(category: Category, called: Called) -> Category:
    groups, ranks, allowed = category.groups, category.ranks, category.rank_intervals
    if ranks is not None:
        ranks = replace(ranks, systems=_keys(ranks.systems, called))
    return replace(
        category,
        scores=_keys(category.scores, called),
        means=_keys(category.means, called),
        contrasts=[_contrast(contrast, called) for contrast in category.contrasts],
        skipped=[(called(a), called(b)) for a, b in category.skipped],
        failures=_keys(category.failures, called),
        groups=groups and _keys(groups, called),
        ranks=ranks,
        rank_intervals=allowed and _keys(allowed, called),
    )


def _contrast(contrast: Contrast, called: Called) -> Contrast:
    lacking = {}
    for task, who in contrast.missing.items():
        both = f"{contrast.a} and {contrast.b}"
        lacking[task] = f"{called(contrast.a)} and {called(contrast.b)}" if who == both else called(who)
    return replace(contrast, a=called(contrast.a), b=called(contrast.b), missing=lacking)
