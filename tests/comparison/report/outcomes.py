"""Comparisons of made-up systems, each better by its effect on every task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from comparison.claims.outcome import Comparison
from comparison.compare import Options, compare
from comparison.reading.families import Families
from comparison.reading.table import Table

TASKS = [f"T{number}" for number in range(14)]


def made_up(
    effects: dict[str, float],
    tasks: int = 10,
    runs: int = 1,
    baseline: str | None = "base",
    noise: float = 0.004,
    seed_sd: float = 0.0,
    kinds: int = 1,
    failed: Mapping[str, int] | None = None,
    without: Mapping[str, Sequence[str]] | None = None,
    failed_at: Mapping[tuple[str, str], int] | None = None,
) -> Comparison:
    """Compare made-up systems, each better by its effect on every task; `failed` of its runs diverged, tasks are left out."""
    generator = np.random.default_rng(1)
    systems = {"base": 0.0, **effects}
    table = Table(tuple(systems), dict.fromkeys(systems, runs), [])
    for kind in range(kinds):
        names = [f"{task}{kind or ''}" for task in TASKS[:tasks]]
        table.categories[f"Kind{kind or ''}"] = names
        for name, effect in systems.items():
            seeds = generator.normal(0, seed_sd, runs)
            for task in names:
                table.files[name, task] = [None] * runs
                table.failed[name, task] = lost = {**(failed or {}), **_at(failed_at, kind)}.get(name, 0)
                scores = 0.5 + effect + noise * generator.normal() + seeds
                scores[:lost] = np.nan
                if lost < runs and task not in (without or {}).get(name, ()):
                    table.scores[name, task] = scores
    return compare(table, Families(unrelated=True), Options(baseline))


def _at(failed_at: Mapping[tuple[str, str], int] | None, kind: int) -> dict[str, int]:
    return {name: lost for (name, where), lost in (failed_at or {}).items() if where == f"Kind{kind or ''}"}
