"""The answer: which system to choose for which kind of task and how sure that is, in words made from the outcome alone.

The three claims stay apart: a choice is named only by what holds on other tasks of the kind, and whether that speaks of
designs or of two trained files is said beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from comparison.claims.outcome import ALPHA, FEWEST_FAMILIES, Category, Comparison, Contrast
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
)
from comparison.report.words.headlines import failures_of
from comparison.report.words.kinds import every_kind, kinds_in_mean
from comparison.report.words.marks import failed_everywhere, solid, winner
from comparison.report.words.names import called, listed
from comparison.report.words.relations import unknown_tasks
from comparison.report.words.sentences import for_another_run, on_other_tasks, on_these_tasks, some
from comparison.report.words.shared_data import data_limits
from comparison.report.words.whose import whose as whose
from comparison.report.words.wording import bound, chance, comparisons, failed, points, when

LABELS = {
    CHOSEN: "shown",
    KEPT: "shown",
    TIED: "equivalent",
    CONVERGED: "only in what was scored",
    OPEN: "not separated",
    UNDECIDABLE: "cannot be decided",
}
UNSETTLED = {OPEN: "no choice is shown to be better", UNDECIDABLE: "cannot be decided, too few unrelated tasks"}


@dataclass(frozen=True)
class Answer:
    """The answer for one kind of task.

    Attributes:
        category: the kind.
        outcome: of `choice.Choice`.
        choose: the systems that may be chosen; empty where the results do not say.
        headline: one or a few sentences.
        claims: (claim, sentences), in the order of the claims.
        groups: (what, systems) that are not told apart.
        sure: of what a choice speaks and how sure it is; empty without one.
        failed: who failed everywhere, in words.
        unknown: tasks whose relations to others are unknown, so that comparisons with them cannot be decided.
        each_with: of `choice.Choice`.
    """

    category: str
    outcome: str
    choose: list[str]
    headline: str
    claims: list[tuple[str, list[str]]]
    groups: list[tuple[str, list[str]]]
    sure: str
    failed: list[str]
    unknown: list[str] = field(default_factory=list)
    each_with: str = ""

    @property
    def tied_others(self) -> list[str]:
        """The systems that are each equivalent to the baseline, without it."""
        return [system for system in self.choose if system != self.each_with]

    @property
    def label(self) -> str:
        """The outcome in a word or two."""
        return LABELS[self.outcome]


def answer(category: Category, comparison: Comparison) -> Answer:
    """Answer for one kind of task."""
    choice = choose(category, comparison)
    claims = [
        ("On these tasks", on_these_tasks(category)),
        ("On other tasks of this kind", on_other_tasks(category, comparison)),
        ("For another training run", for_another_run(category)),
    ]
    lost = [failed(called(system), category.failures[system]) for system in failed_everywhere(category)]
    sure = _sure(category, choice)
    unknown = unknown_tasks(category.contrasts)
    return Answer(
        category=category.name,
        outcome=choice.outcome,
        choose=choice.choose,
        headline=choice.headline,
        claims=claims,
        groups=choice.groups,
        sure=sure,
        failed=lost,
        unknown=unknown,
        each_with=choice.each_with,
    )


def _sure(category: Category, choice: Choice) -> str:
    """Return the weakest of what a choice rests on: checkpoints or designs, p, how many runs, and what failed."""
    if choice.outcome == TIED:
        chosen = set(choice.choose)
        equal = [contrast for contrast in category.contrasts if contrast.equivalent and {contrast.a, contrast.b} <= chosen]
        return _subject(equal) + data_limits(equal)
    behind = [contrast for contrast in category.contrasts if solid(contrast) and winner(contrast) in choice.choose]
    if not behind:
        return ""
    parts = f"{_subject(behind)}, {_largest_p(behind)}"
    parts += when({contrast.mark for contrast in behind} == {"**"}, ", also over the whole table")
    parts += _weak(behind)
    systems: dict[str, None] = {}
    for contrast in behind:
        systems |= {contrast.a: None, contrast.b: None}
    parts += data_limits(behind)
    lost = failures_of(category, list(systems))
    return parts + when(lost, f"; of what was scored: {', '.join(lost)}")


def _subject(contrasts: Sequence[Contrast]) -> str:
    """Return of what comparisons speak: designs, checkpoints, or some of each, by the system that is better."""
    single = list(dict.fromkeys(winner(contrast) for contrast in contrasts if contrast.checkpoint))
    repeated = list(dict.fromkeys(winner(contrast) for contrast in contrasts if not contrast.checkpoint))
    if not single:
        return "designs"
    if not repeated:
        return "checkpoints"
    return f"designs: {listed(repeated)}; checkpoints: {listed(single)}"


def _largest_p(contrasts: Sequence[Contrast]) -> str:
    """Return the largest p of several stars, of claim C where it could be tested."""
    values = []
    for contrast in contrasts:
        p = contrast.another_run.p
        if p is None:
            p = contrast.other_tasks.p
        values.append(p)
    largest = max(values)
    if len(values) == 1:
        return f"p {chance(largest)}"
    return f"p ≤ {bound(largest)}"


def _weak(contrasts: Sequence[Contrast]) -> str:
    """Say which choices rest on two runs of a design."""
    weak = [winner(contrast) for contrast in contrasts if contrast.another_run.weak]
    if not weak:
        return ""
    if len(weak) == len(contrasts):
        return ", weak: two runs"
    return f", weak for {listed(weak)}: two runs"


def in_short(answers: Sequence[Answer]) -> list[tuple[str, str]]:
    """Return (outcome, sentence) for each outcome that occurs; what is not settled is one sentence for all such kinds."""
    sentences: list[tuple[str, str]] = []
    for kind in answers:
        if kind.outcome not in UNSETTLED:
            sentences.append((kind.outcome, f"{called(kind.category)}: {_settled(kind)}"))
    for outcome, words in UNSETTLED.items():
        kinds = [kind.category for kind in answers if kind.outcome == outcome and not kind.unknown]
        if kinds:
            sentences.append((outcome, f"{listed(kinds)}: {words}."))
    for kind in answers:
        if kind.outcome == UNDECIDABLE and kind.unknown:
            sentences.append((UNDECIDABLE, f"{called(kind.category)}: {kind.headline}"))
    for kind in answers:
        if kind.outcome != CONVERGED:
            sentences += [(CONVERGED, f"{called(kind.category)}: {lost}.") for lost in kind.failed]
    return sentences


def _settled(kind: Answer) -> str:
    if kind.outcome == CHOSEN:
        return f"choose {listed(kind.choose, 'or')} ({kind.sure})."
    if kind.outcome == KEPT:
        return f"keep {listed(kind.choose)}; all others are worse ({kind.sure})."
    if kind.outcome == TIED and kind.each_with:
        return f"each of {listed(kind.tied_others)} is equivalent to {called(kind.each_with)} ({kind.sure})."
    if kind.outcome == TIED:
        return f"{listed(kind.choose)} are equivalent ({kind.sure}); choose the cheapest."
    return kind.headline


def overall(comparison: Comparison) -> list[str]:
    """Return what holds over all kinds of tasks together; the largest differences where there are many comparisons."""
    shown, opposed, quiet, few = [], [], 0, 0
    kinds = len(every_kind(comparison))
    for entry in sorted(comparison.overall, key=lambda entry: -abs(entry.mean)):
        if entry.opposed:
            opposed.append(
                f"{called(entry.a)} and {called(entry.b)}: kinds of task contradict each other, so nobody is better overall."
            )
        elif entry.p <= ALPHA:
            shown.append(_separated_overall(entry, kinds))
        elif entry.families < FEWEST_FAMILIES:
            few += 1
        else:
            quiet += 1
    every = len(comparison.overall)
    sentences = [*_unbeaten(comparison), *some(shown, "comparison.json"), *opposed]
    if quiet:
        sentences.append(f"Not separated over {kinds_in_mean(comparison)}: {comparisons(quiet)} of {every}.")
    if few:
        sentences.append(f"Cannot be decided, too few families in all: {comparisons(few)} of {every}.")
    return sentences


def better_overall(entry: Overall) -> tuple[str, str]:
    """Return both systems of a comparison over all kinds, the better one first."""
    if entry.mean > 0:
        return entry.a, entry.b
    return entry.b, entry.a


def _on_kinds(entry: Overall, kinds: int) -> str:
    return f" on {len(entry.categories)} of {kinds} kinds"


def _separated_overall(entry: Overall, kinds: int) -> str:
    """Say who is better over all kinds, and what limits that; `kinds` is how many were compared."""
    better, worse = map(called, better_overall(entry))
    if entry.p_run is not None and entry.p_run > ALPHA:
        return f"{better} is better than {worse} in these runs (p {chance(entry.p)}), but another run may say otherwise."
    subject, p = "designs", entry.p_run
    if p is None:
        subject, p = "checkpoints", entry.p
    size = f"{abs(100 * entry.mean):.2f} points{_interval(entry)}{when(len(entry.categories) < kinds, _on_kinds(entry, kinds))}"
    if not entry.carried:
        share = entry.shares[entry.mean < 0]
        return (
            f"{better} leads {worse} by {size}, p {chance(p)}, in what was scored; on average over these kinds {share:.0%} of "
            f"its runs failed or are absent. With these counted as losses {called(entry.a)} − {called(entry.b)} is "
            f"{points(entry.mean_failures)}, p {chance(entry.p_failures)}, so it is not called better."
        )
    limit = when(entry.p_failures is not None, ", in what was scored")
    return f"{better} is better than {worse} by {size}, p {chance(p)}{limit} ({subject})."


def _interval(entry: Overall) -> str:
    """Return the interval for all comparisons together as seen by the better of two."""
    interval = entry.simultaneous or entry.interval
    if interval is None:
        return ""
    low, high = interval.low, interval.high
    if entry.mean <= 0:
        low, high = -high, -low
    return f" [{points(low)}, {points(high)}]"


def _unbeaten(comparison: Comparison) -> list[str]:
    """Return who is beaten by nobody over all kinds of tasks, where all pairs are compared."""
    if comparison.baseline is not None:
        return []
    wins, beaten, compared, shown = set(), set(), set(), 0
    for entry in comparison.overall:
        better, worse = better_overall(entry)
        compared |= {better, worse}
        separated = max(entry.p, entry.p_run or 0.0) <= ALPHA
        if separated and not entry.opposed and entry.carried:
            shown += 1
            wins.add(better)
            beaten.add(worse)
    if not shown:
        return []
    top, idle = [], []
    for system in comparison.systems:
        if system in wins - beaten:
            top.append(system)
        elif system in compared - beaten:
            idle.append(system)
    sentences = ["Everybody is worse than somebody."]
    if top:
        sentences = [f"Better than somebody and beaten by nobody: {listed(top)}."]
        if idle:
            sentences.append(f"Cannot be ruled out: {listed(idle)}.")
    sentences.append(f"{shown} of {len(comparison.overall)} comparisons are separated.")
    return [" ".join(sentences)]
