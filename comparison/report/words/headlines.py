"""Sentences of headlines: who is worse, tied, or leads only in what did not fail."""

from __future__ import annotations

from collections.abc import Sequence

from comparison.claims.outcome import Category, Contrast
from comparison.report.words.marks import any_checkpoint, loser, winner
from comparison.report.words.names import called, listed
from comparison.report.words.relations import unknown_sentence, unknown_tasks
from comparison.report.words.sentences import families_of
from comparison.report.words.wording import converged, failed, margin_text, when

NAMED = 3  # systems or pairs in a headline; a larger number is counted


def few(names: Sequence[str]) -> str:
    """Return names as a list; a long one is cut and counted."""
    if len(names) <= 2 * NAMED:
        return listed(names)
    return f"{', '.join(map(called, names[:NAMED]))} and {len(names) - NAMED} more"


def undecidable(category: Category) -> str:
    """Say that no choice can be decided, and why."""
    if unknown_tasks(category.contrasts):
        return f"Which to choose cannot be decided: {unknown_sentence(category.contrasts)}"
    return f"Which to choose cannot be decided with {families_of(category)}."


def shown_worse(worse: Sequence[str]) -> str:
    """Say who is shown to be worse; empty where nobody is."""
    if not worse:
        return ""
    if len(worse) == 1:
        return f" {listed(worse)} is shown to be worse."
    return f" {listed(worse)} are shown to be worse."


def tied(names: Sequence[str], contrasts: Sequence[Contrast], margin: float) -> str:
    """Say that systems are equivalent, each with each."""
    checkpoints = when(any_checkpoint(contrasts), " (checkpoints)")
    return f"{listed(names)} are equivalent within {margin_text(margin)}{checkpoints}: choose the cheapest."


def tied_with(base: str, others: Sequence[str], contrasts: Sequence[Contrast], margin: float) -> str:
    """Say that several systems are each equivalent to the baseline, which says nothing of one with another."""
    checkpoints = when(any_checkpoint(contrasts), " (checkpoints)")
    return (
        f"Each of {listed(others)} is equivalent to {called(base)} within {margin_text(margin)}{checkpoints}: one that is "
        "cheaper may take its place. They were not compared with each other."
    )


def by_less(contrast: Contrast, margin: float) -> str:
    """Say that a system is better than another, and that this is no reason to choose it."""
    better, worse = called(winner(contrast)), called(loser(contrast))
    return f" {better} is better than {worse}, by less than {margin_text(margin)}{converged(contrast)}: no reason to choose it."


def failures_of(category: Category, systems: Sequence[str]) -> list[str]:
    """Return what failed of some systems that have scores."""
    texts = []
    for system in systems:
        failure = category.failures.get(system)
        if failure is not None and not failure.everywhere:
            texts.append(failed(called(system), failure))
    return texts


def failures_sentence(category: Category, systems: Sequence[str]) -> list[str]:
    """Say that a choice speaks of what did not fail, where something did."""
    failures = "; ".join(failures_of(category, systems))
    if not failures:
        return []
    if _runs_lost(category, systems):
        return [f"This speaks of converged runs: {failures}."]
    if any(category.failures[system].cells for system in systems if system in category.failures):
        return [f"This speaks of what did not fail: {failures}."]
    return [f"This speaks of the tasks that both have: {failures}."]


def fragile_sentences(category: Category, contrasts: Sequence[Contrast]) -> list[str]:
    """Say who leads only because failed runs are not in the mean."""
    behind: dict[str, list[str]] = {}
    for contrast in contrasts:
        behind.setdefault(winner(contrast), []).append(loser(contrast))
    sentences = []
    for leader, others in list(behind.items())[:NAMED]:
        failures = "; ".join(failures_of(category, [leader, *others]))
        where = _where(category, [leader, *others])
        sentences.append(f"{called(leader)} leads {few(others)} {where}; {failures}, so {called(leader)} is not chosen.")
    if len(behind) > NAMED:
        sentences.append(f"So it is with {len(behind) - NAMED} more systems.")
    return sentences


def equivalent_if_converged(category: Category, names: Sequence[str], margin: float, base: str | None = None) -> str:
    """Say that systems are equivalent only in what did not fail: each with each, or each with a baseline."""
    equivalent = f"{listed(names)} are equivalent"
    if base is not None:
        others = [name for name in names if name != base]
        equivalent = f"{when(len(others) > 1, 'Each of ')}{listed(others)} is equivalent to {called(base)}"
    failures = "; ".join(failures_of(category, names))
    return f"{equivalent} within {margin_text(margin)} {_where(category, names)}; {failures}, so none is chosen for its cost."


def _where(category: Category, systems: Sequence[str]) -> str:
    if _runs_lost(category, systems):
        return "in the runs that converged"
    if any(category.failures[system].cells for system in systems if system in category.failures):
        return "on the tasks that did not fail"
    return "on the tasks that both have"


def _runs_lost(category: Category, systems: Sequence[str]) -> bool:
    """Return whether a whole run of some system has no score."""
    return any(category.failures[system].lost for system in systems if system in category.failures)
