"""Of what the claims speak: designs that were trained several times, checkpoints, and models that nobody trains again."""

from __future__ import annotations

from comparison.claims.outcome import Comparison, Contrast
from comparison.report.words.marks import any_checkpoint
from comparison.report.words.names import called, listed, name
from comparison.report.words.wording import failed, when

FEW = 4  # systems with failures in one sentence


def _all_contrasts(comparison: Comparison) -> list[Contrast]:
    contrasts = []
    for category in comparison.categories:
        contrasts += category.contrasts
    return contrasts


def whose(comparison: Comparison) -> str:
    """Return of what the claims speak, and what was declared before scores existed."""
    declared = [f"{name(sentence).rstrip('.')}." for sentence in comparison.planned]
    return " ".join([_subject(comparison), *declared])


def _subject(comparison: Comparison) -> str:
    """Return of what the claims speak: designs, or checkpoints, and only of runs that converged."""
    contrasts = _all_contrasts(comparison)
    limit = _converged_only(comparison)
    if not any_checkpoint(contrasts):
        sentence = "Training was repeated, so what holds on other tasks below speaks of designs."
        if any(contrast.another_run.p is None for contrast in contrasts):
            sentence += " Where there is one family of tasks only, nothing can be said of designs."
        return f"{sentence}{_taken_as_they_are(comparison)}{limit}"
    runs = runs_with_scores(comparison)
    repeated = [system for system in comparison.systems if runs.get(system, 0) > 1]
    single = [system for system in comparison.systems if runs.get(system) == 1 and system not in comparison.as_they_are]
    if not repeated:
        trained = when(comparison.as_they_are, " system that was trained")
        return (
            f"One run of each{trained} is known. Everything below speaks of checkpoints, the files that came out, and not of "
            f"designs: how much another training run would differ is unknown.{_taken_as_they_are(comparison)}{limit}"
        )
    once = when(
        single,
        f" Of {listed(single)} one run is known: what is shown of it speaks of a checkpoint, the file that came out, and not "
        "of a design.",
    )
    return (
        f"Training was repeated for {listed(repeated)}: what is shown between them speaks of designs.{once}"
        f"{_taken_as_they_are(comparison)}{limit}"
    )


def runs_with_scores(comparison: Comparison) -> dict[str, int]:
    """Return how many runs of each compared system have scores: those that diverged have none."""
    most: dict[str, int] = {}
    for contrast in _all_contrasts(comparison):
        for system, count in zip((contrast.a, contrast.b), contrast.another_run.runs, strict=True):
            most[system] = max(count, most.get(system, 0))
    return most


def _taken_as_they_are(comparison: Comparison) -> str:
    """Say which systems nobody trains again, so that they are no designs."""
    if not comparison.as_they_are:
        return ""
    are = "is no design, and is taken as it is"
    if len(comparison.as_they_are) > 1:
        are = "are no designs, and are taken as they are"
    return f" {listed(comparison.as_they_are)} {are}."


def _converged_only(comparison: Comparison) -> str:
    """Say what failed in part, so that everything speaks of the rest."""
    lost: dict[str, None] = {}
    for category in comparison.categories:
        for system, failure in category.failures.items():
            if failure.cells and not failure.everywhere:
                lost[failed(called(system), failure)] = None
    if not lost:
        return ""
    more = when(len(lost) > FEW, f"; and {len(lost) - FEW} more, in the warnings")
    return f" It speaks of what converged: {'; '.join(list(lost)[:FEW])}{more}."
