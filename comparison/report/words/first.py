"""The first three sentences of a report: the best news over all kinds of tasks, kind by kind, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence

from comparison.claims.outcome import ALPHA, FEWEST_FAMILIES, Comparison
from comparison.claims.overall import Overall
from comparison.report.words.answer import Answer, better_overall
from comparison.report.words.choice import CHOSEN, CONVERGED, KEPT, OPEN, TIED, UNDECIDABLE
from comparison.report.words.kinds import every_kind, kinds_in_mean, kinds_left_out
from comparison.report.words.marks import any_checkpoint, any_decidable
from comparison.report.words.names import called, listed
from comparison.report.words.wording import points, when

FEW = 3  # systems that a sentence names


def first_sentences(comparison: Comparison, answers: Sequence[Answer]) -> list[str]:
    """Return at most three sentences; none where nothing was compared."""
    if not answers:
        return []
    sentences = [_over_all(comparison), _by_kind(answers), _how_sure(comparison)]
    return [sentence for sentence in sentences if sentence]


def shown_overall(entry: Overall) -> bool:
    """Return whether one of two is shown to be better over all kinds of tasks."""
    p = entry.p if entry.p_run is None else entry.p_run
    return p <= ALPHA and not entry.opposed and entry.carried


def _over_all(comparison: Comparison) -> str:
    """Say who is better over all kinds of tasks, best news first; empty with one kind."""
    if not comparison.overall:
        return ""
    shown = [entry for entry in comparison.overall if shown_overall(entry)]
    kinds = kinds_in_mean(comparison)
    if comparison.baseline is None:
        return _unbeaten(comparison, shown, kinds)
    base = called(comparison.baseline)
    better = sorted((entry for entry in shown if entry.mean > 0), key=lambda entry: -entry.mean)
    worse = [entry for entry in shown if entry.mean < 0]
    if not better and not worse:
        if max(entry.families for entry in comparison.overall) < FEWEST_FAMILIES:
            return f"Over {kinds} nothing can be decided: too few unrelated tasks."
        return f"Over {kinds} nobody is shown to be better or worse than {base}."
    if not better:
        return f"Over {kinds} nobody is shown to be better than {base}, and {_number(worse)} shown to be worse."
    most = len(every_kind(comparison)) - len(kinds_left_out(comparison))
    parts = [f"{called(entry.a)} by {_size(entry, most)}" for entry in better[:FEW]]
    more = when(len(better) > FEW, f", and {len(better) - FEW} more")
    rest = when(worse, f"; {_number(worse)} shown to be worse")
    return f"Better than {base} over {kinds}: {'; '.join(parts)}{more}{rest}."


def _size(entry: Overall, kinds: int) -> str:
    interval = entry.simultaneous or entry.interval
    ends = ""
    if interval is not None:
        ends = f" [{points(interval.low)}, {points(interval.high)}]"
    part = when(len(entry.categories) < kinds, f" on {len(entry.categories)} of {kinds} kinds")
    return f"{abs(100 * entry.mean):.2f} points{ends}{part}"


def _number(entries: Sequence[Overall]) -> str:
    if len(entries) == 1:
        return "one system is"
    return f"{len(entries)} systems are"


def _unbeaten(comparison: Comparison, shown: Sequence[Overall], kinds: str) -> str:
    """Say who is beaten by nobody over all kinds of tasks."""
    beaten, wins = set[str](), set[str]()
    for entry in shown:
        better, worse = better_overall(entry)
        wins.add(better)
        beaten.add(worse)
    top = [system for system in comparison.systems if system in wins - beaten]
    if not shown:
        return f"Over {kinds} no two systems are shown to differ."
    if not top:
        return f"Over {kinds} everybody is shown to be worse than somebody."
    names = listed(top[:FEW]) + when(len(top) > FEW, f" and {len(top) - FEW} more")
    return (
        f"Over {kinds} nobody is shown to be better than {names}; {len(shown)} of {len(comparison.overall)} pairs "
        f"are shown to differ."
    )


def _by_kind(answers: Sequence[Answer]) -> str:
    """Say for which kinds of tasks a choice is shown, what is open, and what cannot be decided."""
    parts = []
    for outcome, verb in ((CHOSEN, "choose"), (KEPT, "keep"), (TIED, "equivalent:")):
        for answer in answers:
            if answer.outcome == outcome:
                names, what = answer.choose, verb
                if answer.each_with:
                    names, what = answer.tied_others, f"equivalent to {called(answer.each_with)}, each for itself:"
                few = listed(names[:FEW], "and" if outcome == TIED else "or")
                more = when(len(names) > FEW, f" (and {len(names) - FEW} more)")
                parts.append(f"{called(answer.category)}: {what} {few}{more}")
    for outcome, text in (
        (CONVERGED, "{} shown only in what was scored"),
        (OPEN, "{} not separated"),
        (UNDECIDABLE, "{} cannot be decided with so few unrelated tasks"),
    ):
        kinds = [answer.category for answer in answers if answer.outcome == outcome and not answer.unknown]
        if kinds:
            parts.append(text.format(listed(kinds)))
    unknown = [answer.category for answer in answers if answer.outcome == UNDECIDABLE and answer.unknown]
    if unknown:
        parts.append(f"{listed(unknown)} cannot be decided while relations of tasks are unknown")
    return f"Kind by kind: {'; '.join(parts)}."


def _how_sure(comparison: Comparison) -> str:
    """Say of what this speaks: designs, checkpoints, or some of each."""
    contrasts = []
    for category in comparison.categories:
        contrasts += category.contrasts
    if not any_decidable(contrasts):
        return "Nothing is claimed of other tasks; what holds on these tasks alone is said below."
    if not any_checkpoint(contrasts):
        return "Training was repeated, so this speaks of designs, on other tasks of these kinds and in other training runs."
    if all(contrast.checkpoint or contrast.another_run.p is None for contrast in contrasts):
        return "It speaks of checkpoints, on other tasks of these kinds: with one run of each, another training run may differ."
    return "Of systems with one run it speaks of checkpoints, of the others of designs; the details say of whom."
