"""Numbers and verdicts in words; names of systems and tasks are data and are escaped wherever Markdown is written."""

from __future__ import annotations

import math
import re
from dataclasses import replace

from comparison.claims.outcome import ALPHA, Category, Contrast, Failure, OtherTasks, Sensitivity
from comparison.report.words.marks import better_and_worse, holds_on_these_tasks, scored_part
from comparison.stats.effects import Interval
from comparison.stats.planning import Spread, about_needed

DASH = "–"  # where there is no number


def escape(text: str) -> str:
    """Return a text as Markdown that shows it literally, in one line."""
    line = " ".join(text.split())
    return re.sub(r"([\\`*\[\]<>|~&]|(?<![0-9A-Za-z])_|_(?![0-9A-Za-z]))", r"\\\1", line)


def unescape(text: str) -> str:
    """Return Markdown made with `escape` as a terminal shows it: names and paths as they are, to be copied."""
    return re.sub(r"\\([\\`*\[\]<>|~&_])", r"\1", text)


def points(value: float | None) -> str:
    """Return a difference in points of a hundred.

    >>> points(0.0204), points(None)
    ('+2.04', '–')
    """
    if value is None:
        return DASH
    text = f"{100 * value:+.2f}"
    return "+0.00" if text == "-0.00" else text


def hundredths(value: float | None) -> str:
    """Return a score or a standard deviation in points of a hundred, without a sign: ``83.02``."""
    if value is None:
        return DASH
    return f"{100 * value:.2f}"


def span(interval: Interval | None) -> str:
    """Return an interval in points, such as ``[+0.71, +3.41]``; a dash where there is none."""
    if interval is None:
        return DASH
    return f"[{points(interval.low)}, {points(interval.high)}]"


def exact_span(interval: Interval | None) -> str:
    """Return an exact interval with its confidence, which is rarely 95 % to the point."""
    if interval is None:
        return "no interval has 95 %"
    return f"{span(interval)} {100 * interval.confidence:.1f} %"


def chance(p: float | None) -> str:
    """Return a p-value with the digits that matter.

    >>> chance(0.0231), chance(0.00052), chance(0.00001)
    ('.023', '.0005', '< .0001')
    """
    if p is None:
        return DASH
    if p < 0.0001:
        return "< .0001"
    if p < 0.01:
        return f"{p:.4f}".removeprefix("0")
    return f"{p:.3f}".removeprefix("0")


def bound(p: float) -> str:
    """Return a p-value with the digits that matter, rounded up, so that it is no larger than what is said.

    >>> bound(0.0231), bound(0.000244), bound(0.00001)
    ('.024', '.0003', '.0001')
    """
    digits = 4 if p < 0.01 else 3
    return f"{math.ceil(round(p * 10**digits, 6)) / 10**digits:.{digits}f}".removeprefix("0")


def count(number: int, singular: str, plural: str) -> str:
    """Return a number and what it counts: ``1 family``, ``6 families``."""
    if number == 1:
        return f"1 {singular}"
    return f"{number} {plural}"


def families(number: int) -> str:
    """Return a number of families: ``1 family``."""
    return count(number, "family", "families")


def comparisons(number: int) -> str:
    """Return a number of comparisons: ``1 comparison``."""
    return count(number, "comparison", "comparisons")


def margin_text(margin: float) -> str:
    """Return the margin in words: ``1 point``, ``0.5 points``."""
    if margin == 0.01:
        return "1 point"
    return f"{100 * margin:g} points"


def when(condition: object, text: str) -> str:
    """Return a part of a sentence where its condition holds, else nothing."""
    if condition:
        return text
    return ""


def verdict(contrast: Contrast, margin: float, tests: int = 0) -> str:
    """Return what can be said of one comparison, in one line of Markdown: claim A where it is made, then B and C.

    Args:
        contrast: the comparison.
        margin: differences within it count as none.
        tests: comparisons that are corrected for together; with it "not separated" says what would be needed.
    """
    these = contrast.these_tasks
    clauses = []
    if these is not None and holds_on_these_tasks(contrast):
        better, _ = better_and_worse(contrast, these.mean)
        part = when(len(these.tasks) != contrast.by_task.units, f" ({len(these.tasks)} of them)")
        subject = "these runs"
        if contrast.checkpoint:
            subject = f"checkpoint{overturned(these.overturned_by)}"
        clauses.append(f"on these tasks{part} {escape(better)} better ({subject})")
    if contrast.negligible:
        return "; ".join([*clauses, _less_than_margin(contrast, margin)])
    clauses.append(_on_other_tasks(contrast) + needed_text(contrast, margin, tests))
    if contrast.other_tasks.skewed and contrast.other_tasks.p_equivalent is not None:
        clauses.append("no verdict on equivalence, since differences lean to the side of the margin")
    if contrast.equivalent:
        checkpoint = when(contrast.checkpoint, " (checkpoint)")
        clauses.append(f"equivalent within {margin_text(margin)}{checkpoint}{converged(contrast)}")
    return "; ".join(clauses)


def needed_text(contrast: Contrast, margin: float, tests: int) -> str:
    """Return how many families a difference of two margins would need, about, where two checkpoints are not separated.

    Of designs it says nothing, since noise between runs may keep any number of families from being enough.
    """
    sd = contrast.by_family.sd
    undecided = (
        contrast.another_run.p is not None
        or contrast.starred
        or not contrast.other_tasks.decidable
        or contrast.other_tasks.p <= ALPHA
    )
    if not tests or not sd or undecided:
        return ""
    spread = Spread(sd, 0.0, tests)
    needed = about_needed(spread, 2 * margin, 0.8)
    if needed <= contrast.other_tasks.families:
        return ""
    return f" (about {needed} families would show {margin_text(2 * margin)})"


def _less_than_margin(contrast: Contrast, margin: float) -> str:
    """Say that a system is better, and that it does not matter."""
    better, worse = better_and_worse(contrast)
    return (
        f"{escape(better)} better than {escape(worse)} on other tasks of this kind, by less than the margin of "
        f"{margin_text(margin)}: no reason to choose it{converged(contrast)} ({_subject(contrast)})"
    )


def other_tasks_interval(contrast: Contrast) -> Interval | None:
    """Return claim B's interval that agrees with the mark; the one of this comparison alone where there is none."""
    return contrast.other_tasks.simultaneous or contrast.by_family.interval


def another_run_interval(contrast: Contrast) -> Interval | None:
    """Return claim C's interval that agrees with the mark; the one of this comparison alone where there is none."""
    return contrast.another_run.simultaneous or contrast.another_run.interval


def _on_other_tasks(contrast: Contrast) -> str:
    better, worse = better_and_worse(contrast)
    other = contrast.other_tasks
    if contrast.starred:
        whole = when(contrast.mark == "**", "also over the whole table, ")
        better_than = f"{escape(better)} better than {escape(worse)} on other tasks of this kind"
        return f"{better_than}{converged(contrast)} ({whole}{_subject(contrast)})"
    if not other.decidable:
        return f"on other tasks it cannot be decided {why_undecided(other)} ({_ahead(contrast)})"
    if other.p <= ALPHA:
        return f"{escape(better)} better on other tasks in these runs, but another run may say otherwise"
    return f"not separated on other tasks; the data allow {span(other_tasks_interval(contrast))}"


def why_undecided(other: OtherTasks) -> str:
    """Return why a comparison cannot be decided: ``with 3 families``, or that relations are unknown."""
    if not other.unknown:
        return f"with {families(other.families)}"
    return f"while the relations of {count(len(other.unknown), 'task', 'tasks')} are unknown"


def _ahead(contrast: Contrast) -> str:
    """Return who is ahead on how many tasks."""
    effect = contrast.by_task
    if not effect.wins and not effect.losses:
        return "no difference on any task"
    ahead = contrast.b
    if effect.wins > effect.losses:
        ahead = contrast.a
    return f"{escape(ahead)} ahead on {max(effect.wins, effect.losses)} of {effect.units}"


def _subject(contrast: Contrast) -> str:
    """Return of what a star speaks: two trained files, or designs of which several runs are known."""
    run = contrast.another_run
    if contrast.checkpoint:
        return f"checkpoint{overturned(run.overturned_by)}"
    return runs_text(contrast) + when(run.weak, ", weak: two runs")


def runs_text(contrast: Contrast) -> str:
    """Return how many runs both systems have: ``3 and 3 runs``, ``3 runs and a model as it is``."""
    run = contrast.another_run
    if run.as_it_is == (False, True):
        return f"{count(run.runs[0], 'run', 'runs')} and a model as it is"
    if run.as_it_is == (True, False):
        return f"a model as it is and {count(run.runs[1], 'run', 'runs')}"
    if run.as_it_is == (True, True):
        return "two models as they are"
    return f"{run.runs[0]} and {run.runs[1]} runs"


def overturned(limit: float | None) -> str:
    """Return the seed noise that would make a marked comparison chance."""
    if not limit:
        return ": with any seed noise it could be chance"
    return f": chance if a run's mean has sd > {100 * limit:.2f}"


def converged(contrast: Contrast) -> str:
    """Return the limit of a claim on a comparison in which something failed or is absent; empty where nothing did or is."""
    if contrast.sensitivity is None:
        return ""
    where = scored_part(contrast)
    if contrast.starred and contrast.carried:
        return f", {where}"
    if contrast.starred:
        return f", only {where}: it does not stand with {losses(contrast.sensitivity)} counted as losses"
    return f", only {where}"


def losses(sensitivity: Sensitivity) -> str:
    """Return what is counted as losses: failures, absences, or both."""
    if not sensitivity.absent:
        return "failures"
    if not sensitivity.failed:
        return "absences"
    return "failures and absences"


def failed(name: str, failure: Failure) -> str:
    """Return what a system lacks: ``2 of 3 runs of x failed``, ``x failed on 2 of 8 tasks``, ``x has no score on 1 of …``."""
    absent = f"no score on {failure.absent} of {failure.of} tasks"
    if not failure.cells and failure.absent:
        return f"{name} has {absent}"
    if failure.absent:
        return f"{failed(name, replace(failure, absent=0))} and has {absent}"
    if failure.everywhere:
        return f"{name} failed everywhere" + when(failure.runs > 1, f" (all {failure.runs} runs)")
    if failure.lost and failure.cells == failure.lost * failure.of:
        return f"{failure.lost} of {failure.runs} runs of {name} diverged or failed"
    if failure.runs == 1:
        return f"{name} failed on {failure.tasks} of {failure.of} tasks"
    return f"{name} failed in {failure.cells} of {failure.runs * failure.of} runs of tasks"


def families_text(category: Category) -> str:
    """Return the families of a category that have several tasks."""
    related = []
    for family in category.families:
        if len(family) > 1:
            related.append(" + ".join(map(escape, family)))
    return "; ".join(related) or "no two tasks are known to be related"
