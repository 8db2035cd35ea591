"""Sentences on the three claims of one kind of task, each claim apart; numbers in points, seen by the better of two."""

from __future__ import annotations

from collections.abc import Sequence

from comparison.claims.outcome import ALPHA, FEWEST_FAMILIES, Category, Comparison, Contrast
from comparison.report.words.marks import any_decidable, better_and_worse, holds_on_these_tasks
from comparison.report.words.names import called, listed
from comparison.report.words.relations import unknown_sentence, unknown_tasks
from comparison.report.words.second_opinions import disagreements
from comparison.report.words.shared_data import data_limits, item_limits
from comparison.report.words.wording import (
    another_run_interval,
    bound,
    chance,
    comparisons,
    converged,
    count,
    families,
    margin_text,
    other_tasks_interval,
    points,
    runs_text,
    span,
    when,
    why_undecided,
)
from comparison.stats.effects import Interval
from comparison.stats.planning import MOST as MOST_TRIED

MOST = 8  # comparisons in one sentence


def on_these_tasks(category: Category) -> list[str]:
    """Say what holds on these tasks."""
    tested = [contrast for contrast in category.contrasts if contrast.these_tasks]
    if not tested:
        return ["Not tested: there are no scores item by item."]
    shown = sorted(filter(holds_on_these_tasks, tested), key=_size_over_tasks, reverse=True)
    if not shown:
        return [f"No difference is shown ({comparisons(len(tested))})."]
    sentences = some(list(map(_these_sentence, shown)))
    quiet = len(tested) - len(shown)
    if quiet:
        sentences.append(f"No difference is shown in {count(quiet, 'other comparison', 'other comparisons')}.")
    return sentences


def _size_over_tasks(contrast: Contrast) -> float:
    return abs(contrast.by_task.mean)


def _size_over_families(contrast: Contrast) -> float:
    return abs(contrast.by_family.mean)


def _these_sentence(contrast: Contrast) -> str:
    these = contrast.these_tasks
    assert these is not None
    better, worse = better_and_worse(contrast, these.mean)
    size, low, high = _seen_by_better(these.mean, these.simultaneous or these.interval)
    tasks, units = len(these.tasks), contrast.by_task.units
    part = when(tasks < units, f" on {tasks} of {units} tasks") + item_limits(contrast)
    subject = "these runs"
    if contrast.checkpoint:
        subject = "checkpoints"
    p = chance(these.p_adjusted)
    return f"{called(better)} better than {called(worse)} by {size} [{low}, {high}]{part}, p {p} ({subject})."


def on_other_tasks(category: Category, comparison: Comparison) -> list[str]:
    """Say what holds on other tasks of this kind, what may be, and what cannot be decided."""
    shown, equal, unclear, blind, unknown = [], [], [], [], []
    for contrast in category.contrasts:
        if contrast.starred:
            shown.append(contrast)
        elif contrast.equivalent:
            equal.append(contrast)
        elif contrast.other_tasks.decidable:
            unclear.append(contrast)
        elif contrast.other_tasks.unknown:
            unknown.append(contrast)
        else:
            blind.append(contrast)
    shown.sort(key=_size_over_families, reverse=True)
    blind.sort(key=_size_over_tasks, reverse=True)
    sentences = some(list(map(_other_sentence, shown)))
    if equal:
        sentences.append(f"Equivalent within {margin_text(comparison.margin)}: {_list(list(map(_equal, equal)))}.")
    if unclear:
        sentences.append(f"Not separated: {_list(list(map(_allowed, unclear)))}.")
    if unknown:
        seen = _list(list(map(_ahead, sorted(unknown, key=_size_over_tasks, reverse=True))))
        sentences.append(f"Cannot be decided: {unknown_sentence(unknown)} Seen: {seen}.")
    if blind:
        most = max(contrast.other_tasks.families for contrast in blind)
        sentences.append(
            f"Cannot be decided with {families(most)}: the smallest p is {chance(2.0 ** (1 - most))}. "
            f"More unrelated tasks would help, but more queries or runs would not. Seen: {_list(list(map(_ahead, blind)))}."
        )
    return [*sentences, *disagreements(category), *outlook(category)]


def outlook(category: Category) -> list[str]:
    """Say what this size can show, what would be needed for more, and by how much a star exaggerates here."""
    seen = category.outlook
    if seen is None:
        return []
    points_of_difference = f"{100 * seen.difference:.2f} points"
    runs = "one run"
    if seen.runs > 1:
        runs = f"{seen.runs} runs"
    noise = when(seen.run_sd and seen.runs > 1, f" and by {100 * seen.run_sd:.2f} over runs")
    size = (
        f"{families(seen.families)} and {runs} each, where differences vary by {100 * seen.sd:.2f} points over families{noise}"
    )
    sentence = (
        f"With {size}, a true difference of {points_of_difference} gets a star in {_power(seen.power)} of simulated studies"
    )
    if seen.needed is None and seen.runs > 1 and seen.run_sd:
        sentence += f"; with this noise between runs {MOST_TRIED} unrelated tasks do not make that 80%."
    elif seen.needed is None:
        sentence += f"; {MOST_TRIED} unrelated tasks do not make that 80%."
    elif seen.needed > seen.families:
        sentence += f"; about {seen.needed} unrelated tasks would make that 80%."
    else:
        sentence += "."
    if seen.exaggeration is None or seen.exaggeration < 1.05:
        return [sentence]
    times = f"{seen.exaggeration:.1f} times the truth"
    return [sentence, f"A star at this size exaggerates: of such a difference it says {times} on average."]


def _power(power: float) -> str:
    """Return a power in per cent; one that was never seen is not shown as none."""
    return f"{power:.0%}" if power >= 0.005 else "under 1%"


def _other_sentence(contrast: Contrast) -> str:
    better, worse = better_and_worse(contrast)
    mean = contrast.by_family.mean
    size, low, high = _seen_by_better(mean, other_tasks_interval(contrast))
    whole = when(contrast.mark == "**", ", also over the whole table")
    expectation = ""
    if contrast.other_tasks.new_task:
        _, new_low, new_high = _seen_by_better(mean, contrast.other_tasks.new_task)
        expectation = f"; on one new task expect {new_low} to {new_high} (95 %)"
    p = chance(contrast.other_tasks.p)
    little = when(contrast.negligible, ", shown to be less than the margin: no reason to choose it")
    data = data_limits([contrast])
    limits = f"{whole}{without_one(contrast)}{little}{data}{expectation}{converged(contrast)}"
    return f"{called(better)} better than {called(worse)} by {size} [{low}, {high}], p {p}{limits}."


def without_one(contrast: Contrast) -> str:
    """Say whether a star stands with any one family left out; empty where that was not asked."""
    worst = contrast.without_one
    if worst is None:
        return ""
    if worst.families < FEWEST_FAMILIES:
        return f"; without one of its families {families(worst.families)} are left, too few to decide"
    if worst.p <= ALPHA:
        return f"; it stands without any one family (p ≤ {bound(worst.p)})"
    return f"; it rests on {listed(worst.family)}, without which p is {chance(worst.p)}"


def _equal(contrast: Contrast) -> str:
    checkpoint = when(contrast.checkpoint, " (checkpoints)")
    return f"{called(contrast.a)} and {called(contrast.b)}{checkpoint}{converged(contrast)}"


def _allowed(contrast: Contrast) -> str:
    """Return what the data allow of a comparison without a star."""
    if contrast.other_tasks.p <= ALPHA:  # and claim C is not made
        better, _ = better_and_worse(contrast)
        return f"{called(better)} is better in these runs, but another run may say otherwise"
    interval, p = span(other_tasks_interval(contrast)), chance(contrast.other_tasks.p)
    return f"{called(contrast.a)} − {called(contrast.b)} {interval}, p {p}"


def _ahead(contrast: Contrast) -> str:
    wins, losses, units = contrast.by_task.wins, contrast.by_task.losses, contrast.by_task.units
    a, b = called(contrast.a), called(contrast.b)
    if not wins and not losses:
        return f"{a} and {b} score the same"
    if wins == losses:
        return f"{a} and {b} each ahead on {wins} of {units}"
    if wins > losses:
        return f"{a} ahead of {b} on {wins} of {units}"
    return f"{b} ahead of {a} on {losses} of {units}"


def for_another_run(category: Category) -> list[str]:
    """Say what holds for another training run."""
    single, repeated = [], []
    for contrast in category.contrasts:
        if contrast.checkpoint:
            single.append(contrast)
        else:
            repeated.append(contrast)
    sentences = _repeated(repeated)
    if repeated and not any_decidable(repeated):
        why = f"with {families_of(category)}"
        if unknown_tasks(repeated):
            why = why_undecided(repeated[0].other_tasks)
        sentences.append(f"Cannot be decided {why}, however many runs there are.")
    if single:
        sentences += _not_repeated(single, whole=not repeated)
    return sentences


def _repeated(contrasts: Sequence[Contrast]) -> list[str]:
    """Say what holds for another run of the comparisons whose training was repeated."""
    decidable = [contrast for contrast in contrasts if contrast.other_tasks.decidable]
    shown = [contrast for contrast in decidable if contrast.starred]
    shown.sort(key=_size_over_families, reverse=True)
    sentences = some(list(map(_run_sentence, shown)))
    if any(contrast.carried for contrast in shown):
        sentences.append("This speaks of designs, not only of these checkpoints.")
    sentences += _weak(shown)
    if decidable and not shown:
        sentences.append(f"No difference between designs is shown ({comparisons(len(decidable))}).")
    return sentences


def _weak(shown: Sequence[Contrast]) -> list[str]:
    """Say which claims rest on two runs of a design."""
    weak = [f"{called(contrast.a)} and {called(contrast.b)}" for contrast in shown if contrast.another_run.weak]
    if not weak:
        return []
    return [f"Weak, since the noise between runs is known from two runs: {_list(weak)}."]


def _not_repeated(single: Sequence[Contrast], whole: bool) -> list[str]:
    """Say that seed noise is unknown, and how large it would have to be to overturn a star.

    Args:
        single: comparisons whose training was not repeated.
        whole: whether these are all of the kind.
    """
    names = ""
    if not whole:
        names = f" for {_list([called(contrast.a) for contrast in single])}"
    sentences = [f"Not measured{names}: seed noise is unknown, so what is said above is about checkpoints, not designs."]
    limits = []
    for contrast in single:
        limit = contrast.another_run.overturned_by
        if contrast.starred and limit is not None:
            limits.append(f"{100 * limit:.2f} for {called(contrast.a)} and {called(contrast.b)}")
    if limits:
        sentences.append(
            "A difference could be chance if the mean score's standard deviation over runs were above (points, corrected "
            f"as the marks are): {_list(limits)}."
        )
    return sentences


def _run_sentence(contrast: Contrast) -> str:
    better, worse = better_and_worse(contrast)
    size, low, high = _seen_by_better(contrast.by_family.mean, another_run_interval(contrast))
    return (
        f"{called(better)} better than {called(worse)} by {size} [{low}, {high}], p {chance(contrast.another_run.p)}, "
        f"{runs_text(contrast)}{converged(contrast)}."
    )


def _seen_by_better(mean: float, interval: Interval | None) -> tuple[str, str, str]:
    """Return size and both ends of the interval as seen by the better of two: positive."""
    low = high = float("nan")
    if interval is not None:
        low, high = interval.low, interval.high
    if mean < 0:
        low, high = -high, -low
    return f"{abs(100 * mean):.2f} points", points(low), points(high)


def families_of(category: Category) -> str:
    """Return how many families of tasks the largest comparison of a category is over, in words."""
    most = max(contrast.other_tasks.families for contrast in category.contrasts)
    return count(most, "family of tasks", "families of tasks")


def _list(parts: Sequence[str]) -> str:
    """Return the first parts of a sentence that lists, and how many are left out."""
    listing = "; ".join(parts[:MOST])
    if len(parts) > MOST:
        listing += f"; and {len(parts) - MOST} more, in comparison.csv"
    return listing


def some(sentences: Sequence[str], where: str = "comparison.csv") -> list[str]:
    """Return the first sentences, and how many are left out; `where` is the file that has all."""
    first = list(sentences[:MOST])
    if len(sentences) > MOST:
        first.append(f"And {len(sentences) - MOST} more, in {where}.")
    return first
