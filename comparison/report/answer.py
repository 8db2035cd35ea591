"""The answer: which system to choose for which kind of task and how sure that is, in words made from the outcome alone.

The three claims stay apart: a choice is named only by what holds on other tasks of the kind, and whether that speaks of
designs or of two trained files is said beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from comparison.outcome import ALPHA, FEWEST_FAMILIES, Category, Comparison, Contrast
from comparison.report.names import called, listed
from comparison.report.sentences import (
    families_of,
    for_another_run,
    margin_of,
    on_other_tasks,
    on_these_tasks,
    separated,
    some,
)
from comparison.wording import chance, count

CHOSEN, KEPT, TIED, OPEN, UNDECIDABLE = "chosen", "kept", "tied", "open", "undecidable"
LABELS = {
    CHOSEN: "shown",
    KEPT: "shown",
    TIED: "equivalent",
    OPEN: "not separated",
    UNDECIDABLE: "cannot be decided",
}


@dataclass(frozen=True)
class Answer:
    """What can be said of one kind of task.

    Attributes:
        category: the kind.
        outcome: ``chosen``, ``kept`` (the baseline, nobody better), ``tied``, ``open`` or ``undecidable``.
        choose: the systems that may be chosen; empty where the results do not say.
        headline: one sentence.
        claims: (claim, sentences), in the order of the claims.
        groups: (what, systems) that are not told apart.
        sure: of what a choice speaks and how sure it is; empty without one.
    """

    category: str
    outcome: str
    choose: list[str]
    headline: str
    claims: list[tuple[str, list[str]]]
    groups: list[tuple[str, list[str]]]
    sure: str

    @property
    def label(self) -> str:
        """The outcome in a word or two."""
        return LABELS[self.outcome]


def answer(category: Category, found: Comparison) -> Answer:
    """Answer for one kind of task."""
    make = _against_baseline if found.baseline is not None else _among_all
    outcome, choose, headline, groups = make(category, found)
    claims = [
        ("On these tasks", on_these_tasks(category)),
        ("On other tasks of this kind", on_other_tasks(category, found)),
        ("For another training run", for_another_run(category)),
    ]
    return Answer(category.name, outcome, choose, headline, claims, groups, _sure(category, choose))


def _sure(category: Category, choose: Sequence[str]) -> str:
    """Return the weakest of what a choice rests on."""
    behind = [one for one in category.contrasts if separated(one) and (one.a in choose or one.b in choose)]
    if not behind:
        return ""
    p = max(one.other_tasks.p if one.another_run.p is None else one.another_run.p for one in behind)
    limit = f"p {chance(p)}" if len(behind) == 1 or p < 0.0001 else f"p ≤ {chance(p)}"
    whole = ", also over the whole table" if all(one.mark == "**" for one in behind) else ""
    return f"{'checkpoints' if any(one.checkpoint for one in behind) else 'designs'}, {limit}{whole}"


Found = tuple[str, list[str], str, list[tuple[str, list[str]]]]


def _against_baseline(category: Category, found: Comparison) -> Found:
    base = found.baseline or ""
    better = _ranked(category, lambda one: separated(one) and one.by_family.mean > 0)
    worse = _ranked(category, lambda one: separated(one) and one.by_family.mean < 0)
    equal = _ranked(category, lambda one: not separated(one) and one.other_tasks.equivalent)
    blind = _ranked(
        category, lambda one: not separated(one) and not one.other_tasks.equivalent and not one.other_tasks.decidable
    )
    told = {*better, *worse, *equal, *blind}
    unclear = [one.a for one in category.contrasts if one.a not in told]
    groups = [
        (f"better than {called(base)}", better),
        (f"equivalent to {called(base)} within {margin_of(found)}", equal),
        (f"not separated from {called(base)}", unclear),
        (f"worse than {called(base)}", worse),
        ("too few families to decide", blind),
        ("without common tasks", [one for pair in category.skipped for one in pair if one != base]),
    ]
    groups = [(what, names) for what, names in groups if names]
    if better:
        among = " They were not compared with each other." if len(better) > 1 else ""
        return (
            CHOSEN,
            better,
            f"Choose {listed(better, 'or')}: better than {called(base)} on other tasks of this kind.{among}",
            groups,
        )
    if len(blind) == len(category.contrasts):
        return UNDECIDABLE, [], f"Which to choose cannot be decided with {families_of(category)}.", groups
    if not equal and not unclear and not blind:
        return KEPT, [base], f"Keep {called(base)}: all others are worse on other tasks of this kind.", groups
    if equal and not unclear and not blind:
        return (
            TIED,
            [base, *equal],
            f"{listed([base, *equal])} are equivalent within {margin_of(found)}: choose the cheapest.",
            groups,
        )
    avoid = f" {listed(worse)} {'is' if len(worse) == 1 else 'are'} shown to be worse." if worse else ""
    return OPEN, [], f"Nobody is shown to be better than {called(base)} on other tasks of this kind.{avoid}", groups


def _among_all(category: Category, found: Comparison) -> Found:
    pairs = category.contrasts
    systems = list(dict.fromkeys(system for one in pairs for system in (one.a, one.b)))
    if not any(one.other_tasks.decidable for one in pairs):
        return UNDECIDABLE, [], f"Which to choose cannot be decided with {families_of(category)}.", []
    beaten = {one.b if one.by_family.mean > 0 else one.a for one in pairs if separated(one)}
    unbeaten = sorted((one for one in systems if one not in beaten), key=lambda one: -(category.means.get(one) or 0.0))
    top = [one for one in unbeaten if category.means.get(one) is not None] or unbeaten
    some = [one for one in unbeaten if one not in top]  # who has few tasks is hard to beat: no reason to choose it
    lost = [one for one in found.systems if one not in systems]
    groups = [
        ("beaten by nobody", top),
        ("beaten by nobody, but with tasks missing", some),
        ("shown to be worse than somebody", [one for one in systems if one in beaten]),
        ("without common tasks", lost),
    ]
    groups = [(what, names) for what, names in groups if names]
    if not beaten:
        inside = [one for one in pairs if one.other_tasks.equivalent]
        if len(inside) == len(pairs):
            return TIED, systems, f"{listed(systems)} are equivalent within {margin_of(found)}: choose the cheapest.", groups
        return OPEN, [], f"No two of {len(systems)} systems are separated on other tasks of this kind.", groups
    if len(top) == 1:
        alone = all(separated(one) for one in pairs if top[0] in (one.a, one.b))
        rest = "everybody else is" if alone else "it is beaten by nobody, while others are"
        said = f"Choose {called(top[0])}: {rest} shown to be worse on other tasks of this kind."
        return CHOSEN, top, said, groups
    return CHOSEN, top, f"Choose among {listed(top)}: not separated from each other, and beaten by nobody.", groups


def _ranked(category: Category, wanted: Callable[[Contrast], bool]) -> list[str]:
    return [one.a for one in sorted(category.contrasts, key=lambda one: -one.by_family.mean) if wanted(one)]


def whose(found: Comparison) -> str:
    """Return of what the claims speak: designs, or checkpoints."""
    contrasts = [one for category in found.categories for one in category.contrasts]
    single = sum(one.checkpoint for one in contrasts)
    if not single:
        return "Training was repeated, so what holds on other tasks below speaks of designs."
    if max(found.systems.values()) == 1:
        return (
            "Each system was trained once. Everything below speaks of checkpoints, the files that came out, and not of "
            "designs: how much another training run would differ is unknown."
        )
    return (
        "Where training was not repeated, or too few tasks tell its noise, what is shown speaks of checkpoints, the files that "
        "came out, and not of designs; it says so there."
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
            said.append((TIED, f"{called(one.category)}: {listed(one.choose)} are equivalent; choose the cheapest."))
    for outcome, words in (
        (OPEN, "no choice is shown to be better"),
        (UNDECIDABLE, "cannot be decided, too few unrelated tasks"),
    ):
        kinds = [one.category for one in answers if one.outcome == outcome]
        if kinds:
            said.append((outcome, f"{listed(kinds)}: {words}."))
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
            told.append(f"{called(better)} is better than {called(worse)} by {abs(100 * one.mean):.2f} points, p {p} ({of}).")
    quiet = [one for one in found.overall if not one.opposed and one.p > ALPHA]
    few = [one for one in quiet if one.families < FEWEST_FAMILIES]
    every = len(found.overall)
    if len(quiet) > len(few):
        said.append(f"Not separated over all kinds: {count(len(quiet) - len(few), 'comparison', 'comparisons')} of {every}.")
    if few:
        said.append(f"Cannot be decided, too few families in all: {count(len(few), 'comparison', 'comparisons')} of {every}.")
    return [*_unbeaten(found), *some(told), *said]


def _unbeaten(found: Comparison) -> list[str]:
    """Return who is beaten by nobody over all kinds of tasks, where all pairs are compared."""
    if found.baseline is not None or not found.overall:
        return []
    shown = [one for one in found.overall if max(one.p, one.p_run or 0.0) <= ALPHA and not one.opposed]
    beaten = {one.b if one.mean > 0 else one.a for one in shown}
    top = [system for system in found.systems if system not in beaten]
    return (
        [f"Beaten by nobody: {listed(top)}. {len(shown)} of {len(found.overall)} comparisons are separated."] if beaten else []
    )
