"""Which system to choose for one kind of task: a rule on marks, failures and what was never compared, and its sentence.

Only what stands with failed runs counted as losses is a reason to choose: a design of which most runs diverged is not
better for the one that did not. Who was never compared with somebody is not said to be like them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import combinations

from comparison.claims.outcome import Category, Comparison, Contrast
from comparison.report.words.names import called, listed
from comparison.report.words.sentences import families_of, margin_of
from comparison.report.words.wording import failed

CHOSEN, KEPT, TIED, CONVERGED, OPEN, UNDECIDABLE = "chosen", "kept", "tied", "converged", "open", "undecidable"
NAMED = 3  # systems or pairs in a headline; a larger number is counted


@dataclass(frozen=True)
class Choice:
    """What may be chosen.

    Attributes:
        outcome: ``chosen``, ``kept`` (the baseline, nobody better), ``tied``, ``converged`` (shown, but not with failures
            counted), ``open`` or ``undecidable``.
        choose: the systems that may be chosen; empty where the results do not say.
        headline: one or a few sentences.
        groups: (what, systems) that are not told apart.
    """

    outcome: str
    choose: list[str]
    headline: str
    groups: list[tuple[str, list[str]]]


def choose(category: Category, found: Comparison) -> Choice:
    """Return what may be chosen for one kind of task."""
    made = _against_baseline(category, found) if found.baseline is not None else _among_all(category, found)
    kept = [(what, names) for what, names in made.groups if names]
    return Choice(made.outcome, made.choose, " ".join([made.headline, *_beside(category, found)]), kept)


def winner(one: Contrast) -> str:
    """Return the better of two, by the mean over families."""
    return one.a if one.by_family.mean > 0 else one.b


def loser(one: Contrast) -> str:
    """Return the worse of two."""
    return one.b if one.by_family.mean > 0 else one.a


def gone(category: Category) -> list[str]:
    """Return the systems that failed everywhere."""
    return [system for system, failure in category.failures.items() if failure.everywhere]


def _beside(category: Category, found: Comparison) -> list[str]:
    """Say who failed everywhere, and who was never compared."""
    said = [f"{failed(called(system), category.failures[system])}." for system in gone(category)]
    lost = [one for one in found.systems if one not in _compared(category) and one not in gone(category)]
    if lost:
        said.append(f"Never compared, without a common task: {_few(lost)}.")
    pairs = [pair for pair in category.skipped if not {*pair} & {*lost, *gone(category)}]
    if found.baseline is None and pairs:
        more = f" and {len(pairs) - NAMED} more pairs" if len(pairs) > NAMED else ""
        said.append(f"Never compared, without a common task: {'; '.join(map(listed, pairs[:NAMED]))}{more}.")
    return said


def _compared(category: Category) -> list[str]:
    return list(dict.fromkeys(system for one in category.contrasts for system in (one.a, one.b)))


def _few(names: list[str]) -> str:
    return listed(names) if len(names) <= 2 * NAMED else f"{listed(names[:NAMED], ',')} and {len(names) - NAMED} more"


def _ranked(category: Category, wanted: Callable[[Contrast], bool]) -> list[str]:
    return [one.a for one in sorted(category.contrasts, key=lambda one: -one.by_family.mean) if wanted(one)]


def _against_baseline(category: Category, found: Comparison) -> Choice:
    base, margin = found.baseline or "", margin_of(found)
    better = _ranked(category, lambda one: one.starred and one.carried and one.by_family.mean > 0)
    worse = _ranked(category, lambda one: one.starred and one.carried and one.by_family.mean < 0)
    fragile = [one for one in category.contrasts if one.starred and not one.carried]
    equal = _ranked(category, lambda one: not one.starred and one.equivalent and one.sensitivity is None)
    alike = [one for one in category.contrasts if not one.starred and one.equivalent and one.sensitivity is not None]
    blind = _ranked(category, lambda one: not one.starred and not one.equivalent and not one.other_tasks.decidable)
    told = {*better, *worse, *equal, *blind, *(one.a for one in (*fragile, *alike))}
    unclear = [one.a for one in category.contrasts if one.a not in told]
    groups = [
        (f"better than {called(base)}", better),
        (f"better than {called(base)} only in what did not fail", [one.a for one in fragile if winner(one) == one.a]),
        (f"equivalent to {called(base)} within {margin}", equal),
        (f"equivalent to {called(base)} only in what did not fail", [one.a for one in alike]),
        (f"not separated from {called(base)}", unclear),
        (f"worse than {called(base)} only in what did not fail", [one.a for one in fragile if winner(one) == base]),
        (f"worse than {called(base)}", worse),
        ("too few families to decide", blind),
        ("failed everywhere", gone(category)),
        ("without common tasks", [name for pair in category.skipped for name in pair if name not in (base, *gone(category))]),
    ]
    if better:
        among = " They were not compared with each other." if len(better) > 1 else ""
        said = f"Choose {listed(better, 'or')}: better than {called(base)} on other tasks of this kind.{among}"
        return Choice(CHOSEN, better, " ".join([said, *_left(category, [*better, base]), *_fragile(category, fragile)]), groups)
    if fragile:
        return Choice(CONVERGED, [], " ".join(_fragile(category, fragile)), groups)
    if len(blind) == len(category.contrasts):
        return Choice(UNDECIDABLE, [], f"Which to choose cannot be decided with {families_of(category)}.", groups)
    if len(worse) == len(category.contrasts) and not category.skipped:
        said = f"Keep {called(base)}: all others are worse on other tasks of this kind."
        return Choice(KEPT, [base], " ".join([said, *_left(category, [*worse, base])]), groups)
    avoid = f" {listed(worse)} {'is' if len(worse) == 1 else 'are'} shown to be worse." if worse else ""
    if not unclear and not blind and alike:
        names = [base, *(one.a for one in alike)]
        return Choice(CONVERGED, [], f"{_converged(category, names, margin)}{avoid}", groups)
    if not unclear and not blind and equal:
        kind = _of(one for one in category.contrasts if one.a in equal)
        said = f"{listed([base, *equal])} are equivalent within {margin}{kind}: choose the cheapest."
        return Choice(TIED, [base, *equal], f"{said}{avoid}", groups)
    return Choice(OPEN, [], f"Nobody is shown to be better than {called(base)} on other tasks of this kind.{avoid}", groups)


def _of(contrasts: Iterable[Contrast]) -> str:
    return " (checkpoints)" if any(one.checkpoint for one in contrasts) else ""


def failures_of(category: Category, systems: list[str]) -> list[str]:
    """Return what failed of some systems that have scores."""
    known = {system: category.failures[system] for system in systems if system in category.failures}
    return [failed(called(system), failure) for system, failure in known.items() if not failure.everywhere]


def _left(category: Category, systems: list[str]) -> list[str]:
    """Say that a choice speaks of what did not fail, where something did."""
    said = failures_of(category, systems)
    left = "converged runs" if _lost(category, systems) else "what did not fail"
    return [f"This speaks of {left}: {'; '.join(said)}."] if said else []


def _fragile(category: Category, fragile: list[Contrast]) -> list[str]:
    """Say who leads only because failed runs are not in the mean."""
    behind: dict[str, list[str]] = {}
    for one in fragile:
        behind.setdefault(winner(one), []).append(loser(one))
    said = []
    for best, others in list(behind.items())[:NAMED]:
        why, where = "; ".join(failures_of(category, [best, *others])), _where(category, [best, *others])
        said.append(f"{called(best)} leads {_few(others)} {where}; {why}, so {called(best)} is not chosen.")
    if len(behind) > NAMED:
        said.append(f"So it is with {len(behind) - NAMED} more systems.")
    return said


def _converged(category: Category, names: list[str], margin: str) -> str:
    why = "; ".join(failures_of(category, names))
    where = _where(category, names)
    return f"{listed(names)} are equivalent within {margin} {where}; {why}, so none is chosen for its cost."


def _where(category: Category, systems: list[str]) -> str:
    return "in the runs that converged" if _lost(category, systems) else "on the tasks that did not fail"


def _lost(category: Category, systems: list[str]) -> bool:
    return any(category.failures[system].lost for system in systems if system in category.failures)


def _among_all(category: Category, found: Comparison) -> Choice:
    pairs, systems = category.contrasts, _compared(category)
    if not any(one.other_tasks.decidable for one in pairs):
        return Choice(UNDECIDABLE, [], f"Which to choose cannot be decided with {families_of(category)}.", [])
    shown = [one for one in pairs if one.starred and one.carried]
    fragile = [one for one in pairs if one.starred and not one.carried]
    beaten, wins = {loser(one) for one in shown}, {winner(one) for one in shown}
    unbeaten = sorted((one for one in systems if one not in beaten), key=lambda one: -(category.means.get(one) or 0.0))
    better = [one for one in unbeaten if one in wins]
    top = [one for one in better if category.means.get(one) is not None] or better
    idle = [one for one in unbeaten if one not in wins]
    groups = [
        ("beaten by nobody, better than somebody", top),
        ("the same, but with tasks missing", [one for one in better if one not in top]),
        ("cannot be ruled out: beaten by nobody, better than nobody", idle if better else []),
        ("shown to be worse than somebody", [one for one in systems if one in beaten]),
        ("failed everywhere", gone(category)),
        ("without common tasks", [one for one in found.systems if one not in systems and one not in gone(category)]),
    ]
    if top:
        others = f" {_few(idle)} cannot be ruled out: shown to be neither better nor worse than anybody." if idle else ""
        said = [f"{_best(category, found, top, shown)}{others}", *_left(category, top), *_fragile(category, fragile)]
        return Choice(CHOSEN, top, " ".join(said), groups)
    if fragile:
        return Choice(CONVERGED, [], " ".join(_fragile(category, fragile)), groups)
    if beaten:
        return Choice(
            OPEN, [], "Everybody is shown to be worse than somebody, on different tasks: nobody can be chosen.", groups
        )
    if all(one.equivalent for one in pairs) and not any(not {*pair} & {*gone(category)} for pair in category.skipped):
        if any(one.sensitivity for one in pairs):
            return Choice(CONVERGED, [], _converged(category, systems, margin_of(found)), groups)
        said_of = f"{listed(systems)} are equivalent within {margin_of(found)}{_of(pairs)}: choose the cheapest."
        return Choice(TIED, systems, said_of, groups)
    return Choice(OPEN, [], f"No two of {len(systems)} systems are separated on other tasks of this kind.", groups)


def _best(category: Category, found: Comparison, top: list[str], shown: list[Contrast]) -> str:
    if len(top) == 1:
        behind = [loser(one) for one in shown if winner(one) == top[0]]
        if len(behind) == len(found.systems) - 1:
            return f"Choose {called(top[0])}: everybody else is shown to be worse on other tasks of this kind."
        than = listed(behind) if len(behind) <= NAMED else f"{len(behind)} of {len(found.systems) - 1} others"
        return f"Choose {called(top[0])}: shown to be better than {than} on other tasks of this kind, and beaten by nobody."
    met = {frozenset((one.a, one.b)) for one in category.contrasts}
    apart = ", and not separated from each other" if all(frozenset(pair) in met for pair in combinations(top, 2)) else ""
    better = "each shown to be better than somebody on other tasks of this kind"
    return f"Choose among {listed(top)}: beaten by nobody, {better}{apart}."
