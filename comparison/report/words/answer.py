"""The answer: which system to choose for which kind of task and how sure that is, in words made from the outcome alone.

The three claims stay apart: a choice is named only by what holds on other tasks of the kind, and whether that speaks of
designs or of two trained files is said beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from comparison.claims.outcome import ALPHA, FEWEST_FAMILIES, Category, Comparison
from comparison.claims.overall import Overall
from comparison.report.words.choice import (
    CHOSEN,
    CONVERGED,
    KEPT,
    OPEN,
    TIED,
    UNDECIDABLE,
    Choice,
    choose,
    failures_of,
    gone,
    winner,
)
from comparison.report.words.names import called, listed
from comparison.report.words.sentences import for_another_run, on_other_tasks, on_these_tasks, some
from comparison.report.words.wording import chance, count, failed, points

FEW = 4  # of what failed, in one sentence
LABELS = {
    CHOSEN: "shown",
    KEPT: "shown",
    TIED: "equivalent",
    CONVERGED: "only in converged runs",
    OPEN: "not separated",
    UNDECIDABLE: "cannot be decided",
}


@dataclass(frozen=True)
class Answer:
    """What can be said of one kind of task.

    Attributes:
        category: the kind.
        outcome: of `choice.Choice`.
        choose: the systems that may be chosen; empty where the results do not say.
        headline: one or a few sentences.
        claims: (claim, sentences), in the order of the claims.
        groups: (what, systems) that are not told apart.
        sure: of what a choice speaks and how sure it is; empty without one.
        failed: who failed everywhere, in words.
    """

    category: str
    outcome: str
    choose: list[str]
    headline: str
    claims: list[tuple[str, list[str]]]
    groups: list[tuple[str, list[str]]]
    sure: str
    failed: list[str]

    @property
    def label(self) -> str:
        """The outcome in a word or two."""
        return LABELS[self.outcome]


def answer(category: Category, found: Comparison) -> Answer:
    """Answer for one kind of task."""
    made = choose(category, found)
    claims = [
        ("On these tasks", on_these_tasks(category)),
        ("On other tasks of this kind", on_other_tasks(category, found)),
        ("For another training run", for_another_run(category)),
    ]
    lost = [failed(called(system), category.failures[system]) for system in gone(category)]
    sure = _sure(category, made)
    return Answer(category.name, made.outcome, made.choose, made.headline, claims, made.groups, sure, lost)


def _sure(category: Category, made: Choice) -> str:
    """Return the weakest of what a choice rests on: checkpoints or designs, p, how many runs, and what failed."""
    if made.outcome == TIED:
        equal = [one for one in category.contrasts if one.equivalent and one.a in made.choose and one.b in made.choose]
        return "checkpoints" if any(one.checkpoint for one in equal) else "designs"
    behind = [one for one in category.contrasts if one.starred and one.carried and winner(one) in made.choose]
    if not behind:
        return ""
    p = max(one.other_tasks.p if one.another_run.p is None else one.another_run.p for one in behind)
    limit = f"p {chance(p)}" if len(behind) == 1 or p < 0.0001 else f"p ≤ {chance(p)}"
    whole = ", also over the whole table" if all(one.mark == "**" for one in behind) else ""
    pooled = [min(one.another_run.runs) for one in behind if one.another_run.source == "pooled"]
    weak = f", weak: {'one run' if min(pooled) == 1 else 'two runs'}" if pooled else ""
    lost = failures_of(category, list(dict.fromkeys(name for one in behind for name in (one.a, one.b))))
    left = f"; of what converged: {', '.join(lost)}" if lost else ""
    return f"{'checkpoints' if any(one.checkpoint for one in behind) else 'designs'}, {limit}{whole}{weak}{left}"


def whose(found: Comparison) -> str:
    """Return of what the claims speak: designs, or checkpoints, and only of runs that converged."""
    contrasts = [one for category in found.categories for one in category.contrasts]
    lost = list(
        dict.fromkeys(
            failed(called(system), failure)
            for category in found.categories
            for system, failure in category.failures.items()
            if not failure.everywhere
        )
    )
    more = f"; and {len(lost) - FEW} more, in the warnings" if len(lost) > FEW else ""
    left = f" It speaks of what converged: {'; '.join(lost[:FEW])}{more}." if lost else ""
    if not any(one.checkpoint for one in contrasts):
        said = "Training was repeated, so what holds on other tasks below speaks of designs."
        if any(one.another_run.p is None for one in contrasts):
            said += " Where there is one family of tasks only, nothing can be said of designs."
        return f"{said}{left}"
    if max(found.systems.values()) == 1:
        return (
            "One run of each is known. Everything below speaks of checkpoints, the files that came out, and not of "
            f"designs: how much another training run would differ is unknown.{left}"
        )
    return (
        "Where training was not repeated, what is shown speaks of checkpoints, the files that came out, and not of designs; "
        f"it says so there.{left}"
    )


def in_short(answers: Sequence[Answer]) -> list[tuple[str, str]]:
    """Return (outcome, sentence) for each outcome that occurs, with the kinds of tasks that it is the outcome of."""
    said: list[tuple[str, str]] = []
    for one in answers:
        if one.outcome == CHOSEN:
            said.append((CHOSEN, f"{called(one.category)}: choose {listed(one.choose, 'or')} ({one.sure})."))
        if one.outcome == KEPT:
            said.append((KEPT, f"{called(one.category)}: keep {listed(one.choose)}; all others are worse ({one.sure})."))
        if one.outcome == TIED:
            said.append(
                (TIED, f"{called(one.category)}: {listed(one.choose)} are equivalent ({one.sure}); choose the cheapest.")
            )
        if one.outcome == CONVERGED:
            said.append((CONVERGED, f"{called(one.category)}: {one.headline}"))
    for outcome, words in (
        (OPEN, "no choice is shown to be better"),
        (UNDECIDABLE, "cannot be decided, too few unrelated tasks"),
    ):
        kinds = [one.category for one in answers if one.outcome == outcome]
        if kinds:
            said.append((outcome, f"{listed(kinds)}: {words}."))
    said += [
        (CONVERGED, f"{called(one.category)}: {lost}.") for one in answers if one.outcome != CONVERGED for lost in one.failed
    ]
    return said


def overall(found: Comparison) -> list[str]:
    """Return what holds over all kinds of tasks together; the largest differences where there are many comparisons."""
    told, said = [], []
    for one in sorted(found.overall, key=lambda one: -abs(one.mean)):
        better, worse = (one.a, one.b) if one.mean > 0 else (one.b, one.a)
        if one.opposed:
            said.append(
                f"{called(one.a)} and {called(one.b)}: kinds of task contradict each other, so nobody is better overall."
            )
        elif one.p <= ALPHA and one.p_run is not None and one.p_run > ALPHA:
            told.append(
                f"{called(better)} is better than {called(worse)} in these runs (p {chance(one.p)}), but another run may say "
                "otherwise."
            )
        elif one.p <= ALPHA:
            of = "checkpoints" if one.p_run is None else "designs"
            p = chance(one.p if one.p_run is None else one.p_run)
            size = f"{abs(100 * one.mean):.2f} points{_interval(one)}"
            if not one.carried:
                told.append(
                    f"{called(better)} leads {called(worse)} by {size}, p {p}, in what did not fail; {_share(one):.0%} of its "
                    f"runs failed. With these counted as losses {called(one.a)} − {called(one.b)} is "
                    f"{points(one.mean_failures)}, p {chance(one.p_failures)}, so it is not called better."
                )
                continue
            left = ", in what did not fail" if one.p_failures is not None else ""
            told.append(f"{called(better)} is better than {called(worse)} by {size}, p {p}{left} ({of}).")
    quiet = [one for one in found.overall if not one.opposed and one.p > ALPHA]
    few = [one for one in quiet if one.families < FEWEST_FAMILIES]
    every = len(found.overall)
    if len(quiet) > len(few):
        said.append(f"Not separated over all kinds: {count(len(quiet) - len(few), 'comparison', 'comparisons')} of {every}.")
    if few:
        said.append(f"Cannot be decided, too few families in all: {count(len(few), 'comparison', 'comparisons')} of {every}.")
    return [*_unbeaten(found), *some(told), *said]


def _share(one: Overall) -> float:
    """Return the share of the better one's runs that failed."""
    return one.shares[one.mean < 0]


def _interval(one: Overall) -> str:
    """Return the interval as seen by the better of two."""
    if one.interval is None:
        return ""
    low, high = one.interval.low, one.interval.high
    return f" [{points(low)}, {points(high)}]" if one.mean > 0 else f" [{points(-high)}, {points(-low)}]"


def _unbeaten(found: Comparison) -> list[str]:
    """Return who is beaten by nobody over all kinds of tasks, where all pairs are compared."""
    if found.baseline is not None or not found.overall:
        return []
    shown = [one for one in found.overall if max(one.p, one.p_run or 0.0) <= ALPHA and not one.opposed and one.carried]
    beaten = {one.b if one.mean > 0 else one.a for one in shown}
    wins = {one.a if one.mean > 0 else one.b for one in shown}
    compared = [system for system in found.systems if any(system in (one.a, one.b) for one in found.overall)]
    top = [system for system in compared if system in wins and system not in beaten]
    idle = [system for system in compared if system not in wins and system not in beaten]
    others = f" Cannot be ruled out: {listed(idle)}." if idle else ""
    said = f"Better than somebody and beaten by nobody: {listed(top)}.{others}" if top else "Everybody is worse than somebody."
    return [f"{said} {len(shown)} of {len(found.overall)} comparisons are separated."] if shown else []
