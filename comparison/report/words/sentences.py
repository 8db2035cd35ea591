"""Sentences on the three claims of one kind of task, each claim apart; numbers in points, seen by the better of two."""

from __future__ import annotations

from collections.abc import Sequence

from comparison.claims.outcome import ALPHA, Category, Comparison, Contrast
from comparison.report.words.names import called
from comparison.report.words.wording import chance, converged, count, points, span

MOST = 8  # comparisons in one sentence


def separated(one: Contrast) -> bool:
    """Return whether one is shown to be better on other tasks, and in other runs where those were repeated."""
    return one.mark in ("*", "**")


def on_these_tasks(category: Category) -> list[str]:
    """Say what holds on these tasks."""
    tested = [one for one in category.contrasts if one.these_tasks]
    if not tested:
        return ["Not tested: there are no scores item by item."]
    shown = [one for one in tested if one.these_tasks and one.these_tasks.p_adjusted <= ALPHA]
    shown.sort(key=lambda one: -abs(one.by_task.mean))
    if not shown:
        return [f"No difference is shown ({count(len(tested), 'comparison', 'comparisons')})."]
    return [
        *some([f"{_of_these(one)}{' (checkpoints).' if one.checkpoint else ' (these runs).'}" for one in shown]),
        *_rest(tested, shown),
    ]


def _rest(tested: Sequence[Contrast], shown: Sequence[Contrast]) -> list[str]:
    quiet = len(tested) - len(shown)
    return [f"No difference is shown in {count(quiet, 'other comparison', 'other comparisons')}."] if quiet else []


def _of_these(one: Contrast) -> str:
    assert one.these_tasks is not None
    better, worse = (one.a, one.b) if one.these_tasks.mean > 0 else (one.b, one.a)
    size, low, high = _turned(one.these_tasks.mean, one.these_tasks.interval)
    kept = len(one.these_tasks.tasks)
    part = f" on {kept} of {one.by_task.units} tasks" if kept < one.by_task.units else ""
    p = chance(one.these_tasks.p_adjusted)
    return f"{called(better)} better than {called(worse)} by {size} [{low}, {high}]{part}, p {p}"


def on_other_tasks(category: Category, found: Comparison) -> list[str]:
    """Say what holds on other tasks of this kind, what may be, and what cannot be decided."""
    shown = sorted((one for one in category.contrasts if separated(one)), key=lambda one: -abs(one.by_family.mean))
    equal = [one for one in category.contrasts if one.equivalent and not separated(one)]
    unclear = [one for one in category.contrasts if one.other_tasks.decidable and one not in shown and one not in equal]
    blind = [one for one in category.contrasts if not one.other_tasks.decidable and one not in equal]
    blind.sort(key=lambda one: -abs(one.by_task.mean))
    said = some([_of_others(one) for one in shown])
    if equal:
        said.append(f"Equivalent within {margin_of(found)}: {_list([_equal(one) for one in equal])}.")
    if unclear:
        said.append(f"Not separated: {_list([_allowed(one) for one in unclear])}.")
    if blind:
        most = max(one.other_tasks.families for one in blind)
        said.append(
            f"Cannot be decided with {count(most, 'family', 'families')}: the smallest p is {chance(2.0 ** (1 - most))}. "
            f"More unrelated tasks would help, more queries or runs not. Seen: {_list([_ahead(one) for one in blind])}."
        )
    return said


def _of_others(one: Contrast) -> str:
    better, worse = (one.a, one.b) if one.by_family.mean > 0 else (one.b, one.a)
    size, low, high = _turned(one.by_family.mean, one.by_family.interval)
    whole = ", also over the whole table" if one.mark == "**" else ""
    new = one.other_tasks.new_task
    expect = ""
    if new:
        _, new_low, new_high = _turned(one.by_family.mean, new)
        expect = f"; on one new task expect {new_low} to {new_high} (95 %)"
    p = chance(one.other_tasks.p)
    return f"{called(better)} better than {called(worse)} by {size} [{low}, {high}], p {p}{whole}{expect}{converged(one)}."


def _equal(one: Contrast) -> str:
    return f"{called(one.a)} and {called(one.b)}{' (checkpoints)' if one.checkpoint else ''}{converged(one)}"


def _allowed(one: Contrast) -> str:
    if one.other_tasks.p <= ALPHA:  # and claim C is not made
        better = one.a if one.by_family.mean > 0 else one.b
        return f"{called(better)} is better in these runs, but another run may say otherwise"
    return f"{called(one.a)} − {called(one.b)} {span(one.by_family.interval)}, p {chance(one.other_tasks.p)}"


def _ahead(one: Contrast) -> str:
    wins, losses = one.by_task.wins, one.by_task.losses
    if not wins + losses:
        return f"{called(one.a)} and {called(one.b)} score the same"
    ahead = one.a if wins > losses else one.b
    behind = one.b if wins > losses else one.a
    if wins == losses:
        return f"{called(one.a)} and {called(one.b)} each ahead on {wins} of {one.by_task.units}"
    return f"{called(ahead)} ahead of {called(behind)} on {max(wins, losses)} of {one.by_task.units}"


def for_another_run(category: Category) -> list[str]:
    """Say what holds for another training run."""
    single = [one for one in category.contrasts if one.checkpoint]
    repeated = [one for one in category.contrasts if one not in single]
    decidable = [one for one in repeated if one.other_tasks.decidable]
    shown = [one for one in decidable if separated(one)]
    shown.sort(key=lambda one: -abs(one.by_family.mean))
    said = some([_of_runs(one) for one in shown])
    if any(one.carried for one in shown):
        said.append("This speaks of designs, not only of these checkpoints.")
    if decidable and not shown:
        said.append(f"No difference between designs is shown ({count(len(decidable), 'comparison', 'comparisons')}).")
    if any(one.another_run.source == "pooled" for one in decidable):
        said.append("Weak: the noise between runs is pooled over designs, since some have fewer than three runs.")
    if repeated and not decidable:
        said.append(f"Cannot be decided with {families_of(category)}, however many runs there are.")
    if single:
        all_single = "" if len(single) == len(category.contrasts) else f" for {_list([called(one.a) for one in single])}"
        said.append(
            f"Not measured{all_single}: seed noise is unknown, so what is said above is about checkpoints, not designs."
        )
        limits = [
            f"{100 * one.another_run.overturned_by:.2f} for {called(one.a)} and {called(one.b)}"
            for one in single
            if separated(one) and one.another_run.overturned_by is not None
        ]
        if limits:
            said.append(
                "A difference could be chance if the mean score's standard deviation over runs were above (points, corrected "
                "as the marks are): "
                f"{_list(limits)}."
            )
    return said


def _of_runs(one: Contrast) -> str:
    better, worse = (one.a, one.b) if one.by_family.mean > 0 else (one.b, one.a)
    size, low, high = _turned(one.by_family.mean, one.another_run.interval)
    return (
        f"{called(better)} better than {called(worse)} by {size} [{low}, {high}], p {chance(one.another_run.p)}, "
        f"{one.another_run.runs[0]} and {one.another_run.runs[1]} runs{converged(one)}."
    )


def _turned(mean: float, interval: object) -> tuple[str, str, str]:
    """Return size and interval as seen by the better of two: positive."""
    low, high = getattr(interval, "low", float("nan")), getattr(interval, "high", float("nan"))
    if mean < 0:
        low, high = -high, -low
    return f"{abs(100 * mean):.2f} points", points(low), points(high)


def families_of(category: Category) -> str:
    """Return how many families of tasks the largest comparison of a category is over, in words."""
    return count(max(one.other_tasks.families for one in category.contrasts), "family of tasks", "families of tasks")


def margin_of(found: Comparison) -> str:
    """Return the margin in words."""
    return f"{100 * found.margin:g} {'point' if found.margin == 0.01 else 'points'}"


def _list(parts: Sequence[str]) -> str:
    more = f"; and {len(parts) - MOST} more, in the tables below" if len(parts) > MOST else ""
    return "; ".join(parts[:MOST]) + more


def some(sentences: Sequence[str]) -> list[str]:
    """Return the first sentences, and how many are left out."""
    more = [f"And {len(sentences) - MOST} more, in the tables below."] if len(sentences) > MOST else []
    return [*sentences[:MOST], *more]
