"""The comparison as Markdown: what each claim says, the numbers beside it, and what was left out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from comparison.claims.outcome import ALPHA, Category, Comparison, Contrast
from comparison.claims.ranks import first_set
from comparison.report.tables.columns import (
    CLAIMS,
    COLUMNS,
    SIZES,
    TESTS,
    Column,
    Output,
    heads,
    pairs_of,
    texts,
)
from comparison.report.tables.grid import grid
from comparison.report.tables.lines import MOST_LISTED, not_listed, table
from comparison.report.tables.overall import overall
from comparison.report.words import answer
from comparison.report.words.cells import markdown_pair
from comparison.report.words.marks import any_decidable
from comparison.report.words.relations import nothing_claimed
from comparison.report.words.wording import (
    DASH,
    chance,
    comparisons,
    count,
    escape,
    families,
    families_text,
    hundredths,
    losses,
    points,
    span,
    when,
)
from comparison.stats.within import Within

LEGEND = (
    "Differences are a - b in points (hundredths of the score), tests two-sided. Marks, p-values and the intervals beside them "
    "are for all comparisons of the category together: zero is inside an interval exactly where its claim is not shown. "
    "Intervals of one comparison alone (95 %) stand in the files. Three claims are kept apart:",
    "",
    "- **these tasks** `o`: other queries, pairs or texts of the same tasks. Units are resampled within tasks; p by Holm over "
    "the comparisons of the category.",
    "- **other tasks** `*`: other tasks of this kind. Exact sign flips by family of related tasks, step-down max-T over the "
    "comparisons of the category; `**` also holds over the whole table. Below six families no p can reach .05.",
    "- **another run**: other training runs, too. Where one of the two was trained once a mark says *checkpoint*: it speaks of "
    "trained files, and could be chance if the mean score had a larger sd over training runs than is given.",
    "",
    "What each number means: docs/statistics.md.",
)


def as_markdown(comparison: Comparison, whole: bool = True) -> str:
    """Return the comparison as Markdown.

    Args:
        comparison: the outcome.
        whole: with the tests as published, means and per-task differences, and categories of which nothing can be claimed;
            without, the claims only.
    """
    lines = ["# Comparison", "", _systems(comparison), "", *LEGEND, "", *in_short(comparison)]
    for category in comparison.categories:
        if whole:
            lines += [*claims(category, comparison), "", *published(category, comparison), "", *means(category), ""]
        elif _claimable(category):
            lines += [*claims(category, comparison), ""]
        else:
            lines += [heading(category), "", nothing_claimed(category), ""]
    lines += overall(comparison)
    lines += grid(comparison)
    if comparison.notes:
        lines += ["## Left out, and worth knowing", ""]
        lines += [f"- {escape(note)}" for note in comparison.notes]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip() + "\n"


def _systems(comparison: Comparison) -> str:
    """Say who is compared with whom, and how often each was trained."""
    systems = {name: escape(name) + when(runs > 1, f" ({runs} runs)") for name, runs in comparison.systems.items()}
    if comparison.baseline is None:
        return f"{len(systems)} systems, all pairs: {', '.join(systems.values())}."
    baseline = systems.pop(comparison.baseline)
    if len(systems) == 1:
        return f"{', '.join(systems.values())} compared with {baseline}."
    return f"{len(systems)} systems compared with {baseline}: {', '.join(systems.values())}."


def _claimable(category: Category) -> bool:
    return any(contrast.other_tasks.decidable or contrast.these_tasks for contrast in category.contrasts)


def in_short(comparison: Comparison) -> list[str]:
    """Return the answer: which to choose for which kind of task, and of what that speaks."""
    answers = [answer.answer(category, comparison) for category in comparison.categories]
    sentences = [f"- {escape(sentence)}" for _, sentence in answer.in_short(answers)]
    if not sentences:
        return []
    return ["## In short", "", answer.whose(comparison), "", *sentences, ""]


def heading(category: Category) -> str:
    """Return the heading of a category, with what its tests count."""
    tasks = count(len(category.tasks), "task", "tasks")
    sizes = f"{tasks}, {families(len(category.families))}, {comparisons(len(category.contrasts))}"
    return f"## {escape(category.name)}: {sizes}"


def claims(category: Category, comparison: Comparison) -> list[str]:
    """Return the table of the three claims of a category, and what belongs to it."""
    lines = [heading(category), "", f"Related: {families_text(category)}.", ""]
    lines += [*contrast_table(category, comparison, CLAIMS), "", *groups(category, comparison)]
    if len(category.contrasts) + len(category.skipped) > MOST_LISTED:
        return lines
    for contrast in category.contrasts:
        lines += _footnotes(contrast)
    for a, b in category.skipped:
        gone = [escape(name) for name in (a, b) if name in category.failures and category.failures[name].everywhere]
        reason = when(gone, f", {' and '.join(gone)} failed everywhere")
        lines.append(f"- {escape(a)} - {escape(b)}: never compared, no common task{reason}")
    return lines


def _footnotes(contrast: Contrast) -> list[str]:
    """Return what failures would change in a comparison, and which tasks are not common."""
    pair = markdown_pair(contrast)
    lines = []
    failures = contrast.sensitivity
    if failures:
        lines.append(
            f"- {pair} with {losses(failures)} counted as losses ({failures.failed_a} and {failures.failed_b}): "
            f"mean over families {points(failures.mean_families)}, other tasks p {chance(failures.p)}"
        )
    if contrast.missing:
        lacking = [f"{escape(task)}: {escape(name)}" for task, name in contrast.missing.items()]
        lines.append(f"- {pair}: {count(len(lacking), 'task', 'tasks')} not common ({'; '.join(lacking)})")
    return lines


def contrast_table(category: Category, comparison: Comparison, output: Output) -> list[str]:
    """Return one Markdown table of a category's comparisons; of a large one where they are."""
    if len(category.contrasts) > MOST_LISTED:
        return [not_listed(len(category.contrasts))]
    return table(heads(COLUMNS, output), texts(COLUMNS, pairs_of(category, comparison), output))


def groups(category: Category, comparison: Comparison) -> list[str]:
    """Return who is not separated from whom: against a baseline in words, else in letters, if all pairs were compared."""
    if not any_decidable(category.contrasts):
        return []
    if comparison.baseline is not None:
        parts = []
        for what, names in answer.answer(category, comparison).groups:
            parts.append(f"{escape(what)}: {', '.join(map(escape, names))}")
        return [f"Groups, on other tasks: {'; '.join(parts)}.", ""]
    if category.groups is None:
        few = sum(not contrast.other_tasks.decidable for contrast in category.contrasts)
        lacking = sum(bool(category.scores[a] and category.scores[b]) for a, b in category.skipped)
        if not few and not lacking:
            return [f"No letters for groups: there are too many of them. {_ranks(category)}", ""]
        pairs = f"{count(lacking, 'pair has', 'pairs have')} no common task, {few} cannot be decided"
        return [f"No letters for groups, since not all pairs could be compared: {pairs}.", ""]
    parts = []
    for name, letters in category.groups.items():
        missing = when(category.means[name] is None, " (tasks missing)")
        parts.append(f"{escape(name)}{missing} {letters}")
    sharing = "Who shares a letter is not separated on other tasks; this is not transitive."
    return [f"Groups, best first: {', '.join(parts)}. {sharing}", "", _ranks(category), ""]


def _ranks(category: Category) -> str:
    """Return the ranks that the data allow, and who cannot be told from the first."""
    ranks = category.rank_intervals
    if not ranks:
        return ""
    first = ", ".join(map(escape, first_set(ranks)))
    parts = []
    for name, (best, worst) in sorted(ranks.items(), key=lambda entry: (entry[1], entry[0])):
        parts.append(f"{escape(name)} {best}" + when(worst > best, f" to {worst}"))
    together = "all together with 95 %"
    return f"Cannot be told from the first: {first}. Ranks that the data allow, {together}: {', '.join(parts)}."


def published(category: Category, comparison: Comparison) -> list[str]:
    """Return effect sizes, over families where intervals speak of other tasks, and Wilcoxon's test as papers report it."""
    about = (
        "As papers report it, tasks counted as independent, which related ones are not: Wilcoxon's exact test over tasks, "
        "zeros as Pratt. These p-values stand in no claim above."
    )
    if len(category.contrasts) > MOST_LISTED:
        return []
    sizes, tests = contrast_table(category, comparison, SIZES), contrast_table(category, comparison, TESTS)
    return [*sizes, "", about, "", *tests]


def means(category: Category) -> list[str]:
    """Return the mean score of each system, which is shown only where it has all tasks, and where scores vary."""
    lines = _mean_scores(category)
    if category.ranks:
        lines += [
            "",
            f"Friedman p {chance(category.ranks.p)}, Nemenyi's critical difference of mean ranks "
            f"{category.ranks.critical_difference:.2f}; ranks depend on who else is compared and say nothing of size.",
        ]
    if category.variances:
        parts = category.variances
        lines += [
            "",
            f"Scores vary (sd, points) by task {hundredths(parts.task)}, design x task {hundredths(parts.design_by_task)}, "
            f"run {hundredths(parts.run)}, run x task {hundredths(parts.run_by_task)}.",
        ]
    return lines + within(category)


def _mean_scores(category: Category) -> list[str]:
    """Return the table of means of the systems with all tasks, best first, and who lacks tasks."""
    complete: list[tuple[float, str]] = []
    partial = []
    for name, mean in category.means.items():
        if mean is not None:
            complete.append((mean, name))
    for name, scores in category.scores.items():
        if category.means[name] is None:
            partial.append(f"{escape(name)} ({len(scores)} of {len(category.tasks)})")
    if not complete:
        return ["No system has all tasks: no means are shown."]
    ranks: dict[str, float] = {}
    if category.ranks:
        ranks = category.ranks.systems
    rows = []
    for mean, name in sorted(complete, key=lambda entry: -entry[0]):
        rank = DASH
        if name in ranks:
            rank = f"{ranks[name]:.2f}"
        rows.append([escape(name), hundredths(mean), rank])
    lines = table(["all tasks", "mean score", "mean rank"], rows)
    if partial:
        lines += ["", f"Without a mean, since tasks are missing: {', '.join(partial)}."]
    return lines


@dataclass(frozen=True)
class TaskDifference:
    """One comparison on one task with scores item by item; `p` is Holm's over all tasks and comparisons of the category."""

    contrast: Contrast
    task: str
    within: Within
    p: float


def _items(entry: TaskDifference) -> str:
    within = entry.within
    grouped = when(within.items != within.units, f"{within.units} groups of ")
    return f"{grouped}{within.items} {within.unit}"


def _p_and_mark(entry: TaskDifference) -> str:
    mark = " o" + when(entry.contrast.checkpoint, " checkpoint")
    return chance(entry.p) + when(entry.p <= ALPHA, mark)


TASK_COLUMNS: Sequence[Column[TaskDifference]] = [
    Column("a - b", lambda entry: markdown_pair(entry.contrast)),
    Column("task", lambda entry: entry.task, text=escape),
    Column("measure", lambda entry: entry.within.metric, text=escape),
    Column("items", _items),
    Column("difference", lambda entry: f"{points(entry.within.difference)} {span(entry.within.interval)}"),
    Column("p, Holm over these", _p_and_mark),
]


def within(category: Category) -> list[str]:
    """Return the differences on each task with their intervals, where scores are kept item by item."""
    entries: list[TaskDifference] = []
    if len(category.contrasts) > MOST_LISTED:
        return []
    for contrast in category.contrasts:
        these = contrast.these_tasks
        if these is None:
            continue
        for task, difference in these.tasks.items():
            entries.append(TaskDifference(contrast, task, difference, these.p_tasks[task]))
    if not entries:
        return []
    return ["", *table(heads(TASK_COLUMNS), texts(TASK_COLUMNS, entries))]
