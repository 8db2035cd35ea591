"""Numbers and verdicts in words; names of systems and tasks are data and are escaped wherever Markdown is written."""

from __future__ import annotations

import re

from comparison.claims.outcome import ALPHA, Category, Contrast, Failure
from comparison.stats.effects import Interval


def escape(text: str) -> str:
    """Return a text as Markdown that shows it literally, in one line."""
    line = " ".join(text.split())
    return re.sub(r"([\\`*\[\]<>|~&]|(?<![0-9A-Za-z])_|_(?![0-9A-Za-z]))", r"\\\1", line)


def unescape(text: str) -> str:
    """Return Markdown made with `escape` as a terminal shows it: names and paths as they are, to be copied."""
    return re.sub(r"\\([\\`*\[\]<>|~&_])", r"\1", text)


def points(value: float | None) -> str:
    """Return a difference in points of a hundred, such as ``+2.04``."""
    return "–" if value is None else f"{100 * value:+.2f}"


def span(interval: Interval | None) -> str:
    """Return an interval in points, such as ``[+0.71, +3.41]``; a dash where there is none."""
    return "–" if interval is None else f"[{points(interval.low)}, {points(interval.high)}]"


def exact_span(interval: Interval | None) -> str:
    """Return an exact interval with its confidence, which is rarely 95 % to the point."""
    return f"{span(interval)} {100 * interval.confidence:.1f} %" if interval else "no interval has 95 %"


def chance(p: float | None) -> str:
    """Return a p-value with the digits that matter: ``.023``, ``.0005``, ``< .0001``."""
    if p is None:
        return "–"
    if p < 0.0001:
        return "< .0001"
    return f"{p:.4f}".removeprefix("0") if p < 0.01 else f"{p:.3f}".removeprefix("0")


def verdict(one: Contrast, margin: float) -> str:
    """Return what can be said of one comparison, in one line of Markdown: claim A where it is made, then B and C."""
    these = one.these_tasks
    said = [_on_other_tasks(one)]
    if these is not None and these.p_adjusted <= ALPHA:
        kept = "" if len(these.tasks) == one.by_task.units else f" ({len(these.tasks)} of them)"
        whose = f"checkpoint{overturned(these.overturned_by)}" if one.checkpoint else "these runs"
        said.insert(0, f"on these tasks{kept} {escape(one.a if these.mean > 0 else one.b)} better ({whose})")
    if one.equivalent:
        size = f"{100 * margin:g} {'point' if margin == 0.01 else 'points'}"
        said.append(f"equivalent within {size}{' (checkpoint)' if one.checkpoint else ''}{converged(one)}")
    return "; ".join(said)


def _on_other_tasks(one: Contrast) -> str:
    better, worse = (one.a, one.b) if one.by_family.mean > 0 else (one.b, one.a)
    other = one.other_tasks
    if one.starred:
        whole = "also over the whole table, " if one.mark == "**" else ""
        better_than = f"{escape(better)} better than {escape(worse)} on other tasks of this kind"
        return f"{better_than}{converged(one)} ({whole}{_whose(one)})"
    if not other.decidable:
        ahead = one.a if one.by_task.wins > one.by_task.losses else one.b
        agree = max(one.by_task.wins, one.by_task.losses)
        seen = f"{escape(ahead)} ahead on {agree} of {one.by_task.units}" if agree else "no difference on any task"
        return f"on other tasks it cannot be decided with {count(other.families, 'family', 'families')} ({seen})"
    if other.p <= ALPHA:
        return f"{escape(better)} better on other tasks in these runs, but another run may say otherwise"
    return f"not separated on other tasks; the data allow {span(one.by_family.interval)}"


def _whose(one: Contrast) -> str:
    run = one.another_run
    if one.checkpoint:
        return f"checkpoint{overturned(run.overturned_by)}"
    source = ", seed noise pooled over designs" if run.source == "pooled" else ""
    return f"{run.runs[0]} and {run.runs[1]} runs{source}"


def these_cell(one: Contrast) -> str:
    """Return claim A of a comparison."""
    these = one.these_tasks
    if these is None:
        return "–"
    part = f" ({len(these.tasks)} of {one.by_task.units} tasks)" if len(these.tasks) < one.by_task.units else ""
    mark = f" o{' checkpoint' if one.checkpoint else ''}" if these.p_adjusted <= ALPHA else ""
    return f"{points(these.mean)} {span(these.interval)}, p {chance(these.p_adjusted)}{mark}{part}"


def other_cell(one: Contrast) -> str:
    """Return claim B of a comparison."""
    other = one.other_tasks
    if not other.decidable:
        return f"floor {chance(other.p_floor)}"
    failed = "" if one.carried else ", only in what did not fail"
    star = f" {escape(one.mark)}{' checkpoint' if one.checkpoint else ''}{failed}" if one.starred else ""
    return f"{points(one.by_family.mean)} {span(one.by_family.interval)}, p {chance(other.p)}{star}"


def run_cell(one: Contrast) -> str:
    """Return claim C of a comparison."""
    run = one.another_run
    runs = "one run each" if run.runs == (1, 1) else f"{run.runs[0]} and {run.runs[1]} runs"
    if run.p is None:
        return f"{runs}, {'seed noise unknown' if one.checkpoint else 'cannot be said of designs: one family only'}"
    if not one.other_tasks.decidable:
        return f"{runs}, cannot be decided"
    weak = ", pooled (weak)" if run.source == "pooled" else ""
    return f"{span(run.interval)}, p {chance(run.p)}, {runs}{weak}"


def overturned(limit: float | None) -> str:
    """Return the seed noise that would make a marked comparison chance."""
    return f": chance if a run's mean has sd > {100 * limit:.2f}" if limit else ": with any seed noise it could be chance"


def converged(one: Contrast) -> str:
    """Return what a claim of a comparison in which something failed speaks of."""
    if one.sensitivity is None:
        return ""
    if one.starred and one.carried:
        return ", in what did not fail"
    if one.starred:
        return ", only in what did not fail: it does not stand with failures counted as losses"
    return ", only in what did not fail"


def failed(name: str, failure: Failure) -> str:
    """Return what failed of a system: ``2 of 3 runs of x failed``, ``x failed on 2 of 8 tasks``."""
    if failure.everywhere:
        return f"{name} failed everywhere{f' (all {failure.runs} runs)' if failure.runs > 1 else ''}"
    if failure.lost and failure.cells == failure.lost * failure.of:
        return f"{failure.lost} of {failure.runs} runs of {name} diverged or failed"
    if failure.runs == 1:
        return f"{name} failed on {failure.tasks} of {failure.of} tasks"
    return f"{name} failed in {failure.cells} of {failure.runs * failure.of} runs of tasks"


def families_text(category: Category) -> str:
    """Return the families of a category that have several tasks."""
    related = [" + ".join(escape(task) for task in family) for family in category.families if len(family) > 1]
    return "; ".join(related) if related else "no two tasks are known to be related"


def count(number: int, one: str, several: str) -> str:
    """Return a number and what it counts: ``1 family``, ``6 families``."""
    return f"{number} {one if number == 1 else several}"
