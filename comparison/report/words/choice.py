"""The choice for one kind of task: a rule on marks, failures and what was never compared, and its sentence.

Only what stands with failed runs counted as losses is a reason to choose: if most runs of a design diverged, the run that did
not makes it no better. Systems that were never compared with each other are not called alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

from comparison.claims.outcome import Category, Comparison, Contrast
from comparison.report.words.headlines import (
    NAMED,
    by_less,
    equivalent_if_converged,
    failures_sentence,
    few,
    fragile_sentences,
    shown_worse,
    tied,
    tied_with,
    undecidable,
)
from comparison.report.words.marks import (
    any_decidable,
    failed_everywhere,
    fragile,
    loser,
    solid,
    winner,
)
from comparison.report.words.names import called, listed
from comparison.report.words.wording import failed, margin_text, when

CHOSEN, KEPT, TIED, CONVERGED, OPEN, UNDECIDABLE = "chosen", "kept", "tied", "converged", "open", "undecidable"
Groups = list[tuple[str, list[str]]]


@dataclass(frozen=True)
class Choice:
    """The systems that may be chosen, and why.

    Attributes:
        outcome: ``chosen``, ``kept`` (the baseline, nobody better), ``tied``, ``converged`` (shown, but not with failures
            counted), ``open`` or ``undecidable``.
        choose: the systems that may be chosen; empty where the results do not say.
        headline: one or a few sentences.
        groups: (what, systems) that are not told apart.
        each_with: the baseline to which several tied systems are each equivalent, not compared with each other; else empty.
    """

    outcome: str
    choose: list[str]
    headline: str
    groups: Groups
    each_with: str = ""


def choose(category: Category, comparison: Comparison) -> Choice:
    """Return what may be chosen for one kind of task."""
    if comparison.baseline is None:
        choice = _choose_among_all(category, comparison)
    else:
        choice = _choose_against(comparison.baseline, category, comparison.margin)
    groups = [(what, names) for what, names in choice.groups if names]
    headline = " ".join([choice.headline, *_never_compared(category, comparison)])
    return replace(choice, headline=headline, groups=groups)


def _never_compared(category: Category, comparison: Comparison) -> list[str]:
    """Say who failed everywhere, and who was never compared."""
    gone = failed_everywhere(category)
    sentences = [f"{failed(called(system), category.failures[system])}." for system in gone]
    apart = _without(comparison.systems, [*_compared(category), *gone])
    if apart:
        sentences.append(f"Never compared, without a common task: {few(apart)}.")
    pairs = [pair for pair in category.skipped if not {*pair} & {*apart, *gone}]
    if comparison.baseline is None and pairs:
        more = when(len(pairs) > NAMED, f" and {len(pairs) - NAMED} more pairs")
        sentences.append(f"Never compared, without a common task: {'; '.join(map(listed, pairs[:NAMED]))}{more}.")
    return sentences


def _compared(category: Category) -> list[str]:
    """Return the systems that have a comparison, in the order of the comparisons."""
    systems: dict[str, None] = {}
    for contrast in category.contrasts:
        systems |= {contrast.a: None, contrast.b: None}
    return list(systems)


def _without(systems: Iterable[str], others: Iterable[str]) -> list[str]:
    excluded = set(others)
    return [system for system in systems if system not in excluded]


@dataclass
class Standings:
    """All systems but the baseline, sorted by what is shown of them; each stands in one list.

    Attributes:
        better: shown to be better than the baseline, also with failures counted as losses.
        worse: shown to be worse, likewise.
        fragile: comparisons with a star that does not stand with failures counted.
        equal: equivalent to the baseline, nothing failed.
        slight: shown to be better or worse, by less than the margin: no reason to choose.
        alike: equivalent in what was scored, something failed.
        blind: too few families to decide, or relations of tasks that are unknown.
        unclear: not separated.
    """

    better: list[str] = field(default_factory=list)
    worse: list[str] = field(default_factory=list)
    fragile: list[Contrast] = field(default_factory=list)
    equal: list[str] = field(default_factory=list)
    slight: list[Contrast] = field(default_factory=list)
    alike: list[str] = field(default_factory=list)
    blind: list[str] = field(default_factory=list)
    unclear: list[str] = field(default_factory=list)


def _standings(category: Category) -> Standings:
    standings = Standings()
    for contrast in sorted(category.contrasts, key=lambda contrast: -contrast.by_family.mean):
        if contrast.negligible and contrast.carried:
            standings.slight.append(contrast)
        elif solid(contrast) and contrast.by_family.mean > 0:
            standings.better.append(contrast.a)
        elif solid(contrast) and contrast.by_family.mean < 0:
            standings.worse.append(contrast.a)
        elif contrast.equivalent and not contrast.starred and contrast.sensitivity is None:
            standings.equal.append(contrast.a)
        elif not contrast.other_tasks.decidable and not contrast.starred and not contrast.equivalent:
            standings.blind.append(contrast.a)
    for contrast in category.contrasts:  # these stay in the order of the comparisons
        if fragile(contrast):
            standings.fragile.append(contrast)
        elif contrast.equivalent and contrast.sensitivity is not None:
            standings.alike.append(contrast.a)
        elif contrast.starred:
            continue
        elif contrast.other_tasks.decidable and not contrast.equivalent:
            standings.unclear.append(contrast.a)
    return standings


def _groups_against(base: str, standings: Standings, category: Category, margin: float) -> Groups:
    leading, trailing = [], []
    for contrast in standings.fragile:
        if winner(contrast) == contrast.a:
            leading.append(contrast.a)
        if winner(contrast) == base:
            trailing.append(contrast.a)
    skipped: list[str] = []
    for pair in category.skipped:
        skipped += pair
    gone = failed_everywhere(category)
    baseline = called(base)
    slight: dict[bool, list[str]] = {True: [], False: []}
    for contrast in standings.slight:
        slight[contrast.by_family.mean > 0].append(contrast.a)
    return [
        (f"better than {baseline}", standings.better),
        (f"better than {baseline}, by less than {margin_text(margin)}", slight[True]),
        (f"better than {baseline} only in what was scored", leading),
        (f"equivalent to {baseline} within {margin_text(margin)}", standings.equal),
        (f"equivalent to {baseline} only in what was scored", _without(standings.alike, [*slight[True], *slight[False]])),
        (f"not separated from {baseline}", standings.unclear),
        (f"worse than {baseline}, by less than {margin_text(margin)}", slight[False]),
        (f"worse than {baseline} only in what was scored", trailing),
        (f"worse than {baseline}", standings.worse),
        ("cannot be decided", standings.blind),
        ("failed everywhere", gone),
        ("without common tasks", _without(skipped, [base, *gone])),
    ]


def _choose_against(base: str, category: Category, margin: float) -> Choice:
    """Return what may be chosen where all were compared with the baseline."""
    standings = _standings(category)
    groups = _groups_against(base, standings, category, margin)
    comparisons, worse = len(category.contrasts), standings.worse
    baseline = called(base)
    if standings.better:
        chosen = standings.better
        sentences = [f"Choose {listed(chosen, 'or')}: better than {baseline} on other tasks of this kind."]
        if len(chosen) > 1:
            sentences.append("They were not compared with each other.")
        sentences += failures_sentence(category, [*chosen, base])
        sentences += fragile_sentences(category, standings.fragile)
        return Choice(CHOSEN, chosen, " ".join(sentences), groups)
    if standings.fragile:
        return Choice(CONVERGED, [], " ".join(fragile_sentences(category, standings.fragile)), groups)
    if len(standings.blind) == comparisons:
        return Choice(UNDECIDABLE, [], undecidable(category), groups)
    if len(worse) == comparisons and not category.skipped:
        keep = f"Keep {baseline}: all others are worse on other tasks of this kind."
        return Choice(KEPT, [base], " ".join([keep, *failures_sentence(category, [*worse, base])]), groups)
    avoid = shown_worse(worse)
    settled = not standings.unclear and not standings.blind
    slight = "".join(by_less(contrast, margin) for contrast in standings.slight)
    if settled and standings.alike:
        alike = equivalent_if_converged(category, [base, *standings.alike], margin, base)
        return Choice(CONVERGED, [], f"{alike}{slight}{avoid}", groups)
    if settled and (standings.equal or standings.slight):
        equal = [contrast for contrast in category.contrasts if contrast.a in standings.equal or contrast in standings.slight]
        equal.sort(key=lambda contrast: -contrast.by_family.mean)
        others = [contrast.a for contrast in equal]
        if len(others) > 1:
            headline = f"{tied_with(base, others, equal, margin)}{slight}{avoid}"
            return Choice(TIED, [base, *others], headline, groups, each_with=base)
        return Choice(TIED, [base, *others], f"{tied([base, *others], equal, margin)}{slight}{avoid}", groups)
    by_more = when(standings.slight, f" by more than {margin_text(margin)}")
    nobody = f"Nobody is shown to be better than {baseline}{by_more} on other tasks of this kind."
    return Choice(OPEN, [], f"{nobody}{slight}{avoid}", groups)


def _choose_among_all(category: Category, comparison: Comparison) -> Choice:
    """Return what may be chosen where all pairs were compared."""
    contrasts, systems, gone = category.contrasts, _compared(category), failed_everywhere(category)
    if not any_decidable(contrasts):
        return Choice(UNDECIDABLE, [], undecidable(category), [])
    shown = [contrast for contrast in contrasts if solid(contrast) and not contrast.negligible]
    beaten, wins = set(map(loser, shown)), set(map(winner, shown))
    unbeaten = sorted(_without(systems, beaten), key=lambda system: -(category.means.get(system) or 0.0))
    idle = _without(unbeaten, wins)
    better = _without(unbeaten, idle)
    top = [system for system in better if category.means.get(system) is not None] or better
    not_ruled_out = idle
    if not better:
        not_ruled_out = []
    groups = [
        ("beaten by nobody, better than somebody", top),
        ("the same, but with tasks missing", _without(better, top)),
        ("cannot be ruled out: beaten by nobody, better than nobody", not_ruled_out),
        ("shown to be worse than somebody", _without(systems, unbeaten)),
        ("failed everywhere", gone),
        ("without common tasks", _without(comparison.systems, [*systems, *gone])),
    ]
    weak = fragile_sentences(category, list(filter(fragile, contrasts)))
    if top:
        sentences = [_best(category, comparison, top, shown)]
        if idle:
            sentences.append(f"{few(idle)} cannot be ruled out: shown to be neither better nor worse than anybody.")
        return Choice(CHOSEN, top, " ".join([*sentences, *failures_sentence(category, top), *weak]), groups)
    if weak:
        return Choice(CONVERGED, [], " ".join(weak), groups)
    if beaten:
        headline = "Everybody is shown to be worse than somebody, on different tasks: nobody can be chosen."
        return Choice(OPEN, [], headline, groups)
    if _all_equivalent(category):
        if any(contrast.sensitivity for contrast in contrasts):
            return Choice(CONVERGED, [], equivalent_if_converged(category, systems, comparison.margin), groups)
        return Choice(TIED, systems, tied(systems, contrasts, comparison.margin), groups)
    slight = [contrast for contrast in contrasts if solid(contrast) and contrast.negligible]
    by_more = when(slight, f" by more than {margin_text(comparison.margin)}")
    headline = f"No two of {len(systems)} systems are separated{by_more} on other tasks of this kind."
    less = "".join(by_less(contrast, comparison.margin) for contrast in slight)
    return Choice(OPEN, [], f"{headline}{less}", groups)


def _all_equivalent(category: Category) -> bool:
    """Return whether all pairs of systems with scores were compared and are equivalent."""
    gone = set(failed_everywhere(category))
    if any(gone.isdisjoint(pair) for pair in category.skipped):
        return False
    return all(contrast.equivalent for contrast in category.contrasts)


def _best(category: Category, comparison: Comparison, top: Sequence[str], shown: Sequence[Contrast]) -> str:
    """Return the sentence that names the systems beaten by nobody."""
    if len(top) == 1:
        best, others = top[0], len(comparison.systems) - 1
        behind = [loser(contrast) for contrast in shown if winner(contrast) == best]
        if len(behind) == others:
            return f"Choose {called(best)}: everybody else is shown to be worse on other tasks of this kind."
        than = listed(behind)
        if len(behind) > NAMED:
            than = f"{len(behind)} of {others} others"
        return f"Choose {called(best)}: shown to be better than {than} on other tasks of this kind, and beaten by nobody."
    met = {frozenset((contrast.a, contrast.b)) for contrast in category.contrasts}
    apart = when(met.issuperset(map(frozenset, combinations(top, 2))), ", and not separated from each other")
    better = "each shown to be better than somebody on other tasks of this kind"
    return f"Choose among {listed(top)}: beaten by nobody, {better}{apart}."
