"""Runs of a system that agree on every task are one run: a seed without effect, or a copy, shows no noise of training."""

from __future__ import annotations

from dataclasses import replace

from comparison.reading.systems import System, SystemRun

Values = dict[str, dict[tuple[str, str], str]]  # task -> cell -> score


def without_copies(system: System, notes: list[str]) -> System:
    """Return a system without the runs that repeat an earlier one on every task; notes get a sentence that names them."""
    kept: list[SystemRun] = []
    seen: list[Values] = []
    copies: dict[str, list[str]] = {}
    for run in system.runs:
        values = _values(run)
        if values and values in seen:
            copies.setdefault(kept[seen.index(values)].label, []).append(run.label)
            continue
        kept.append(run)
        seen.append(values)
    for first, labels in copies.items():
        names = ", ".join(filter(None, [first, *labels])) or "without labels"
        notes.append(
            f"{system.name}: {1 + len(labels)} runs ({names}) have the same score on every task and are one run: the seed had "
            "no effect, or one run was copied"
        )
    return replace(system, runs=tuple(kept))


def _values(run: SystemRun) -> Values:
    """Return a run's scores; those that are no number as texts, so that they are equal."""
    values: Values = {}
    for task, score in run.scores.items():
        values[task] = {cell: repr(value) for cell, value in score.entries.items()}
    return values
