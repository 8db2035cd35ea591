"""The comparison as Markdown: what each claim says, the numbers beside it, and what was left out."""

from __future__ import annotations

import re
from collections.abc import Sequence

from comparison.claims.outcome import ALPHA, FEWEST_FAMILIES, Category, Comparison
from comparison.report.words import answer
from comparison.report.words.wording import (
    chance,
    count,
    escape,
    exact_span,
    families_text,
    other_cell,
    points,
    run_cell,
    span,
    these_cell,
    verdict,
)

LEGEND = (
    "Differences are a - b in points (hundredths of the score), tests two-sided. Intervals have 95 % for one comparison, "
    "p-values are adjusted for all comparisons of the category. Three claims are kept apart:",
    "",
    "- **these tasks** `o`: other queries, pairs or texts of the same tasks. Units are resampled within tasks; p by Holm over "
    "the comparisons of the category.",
    "- **other tasks** `*`: other tasks of this kind. Exact sign flips by family of related tasks, step-down max-T over the "
    "comparisons of the category; `**` also holds over the whole table. Below six families no p can reach .05.",
    "- **another run**: other training runs, too. With one run of each a mark says *checkpoint*: it speaks of two trained "
    "files, and could be chance if the mean score had a larger sd over training runs than is given.",
    "",
    "What each number means: docs/statistics.md.",
)


def as_markdown(found: Comparison, whole: bool = True) -> str:
    """Return the comparison as Markdown.

    Args:
        found: the outcome.
        whole: with the tests as published, means and per-task differences, and categories of which nothing can be claimed;
            without, the claims only.
    """
    systems = ", ".join(f"{escape(name)} ({runs} runs)" if runs > 1 else escape(name) for name, runs in found.systems.items())
    against = f"each with {escape(found.baseline)}" if found.baseline is not None else "all pairs"
    lines = ["# Comparison", "", f"{len(found.systems)} systems, {against}: {systems}.", "", *LEGEND, ""]
    lines += in_short(found)
    for category in found.categories:
        if not whole and not any(one.other_tasks.decidable or one.these_tasks for one in category.contrasts):
            lines += [heading(category), "", "Nothing can be claimed: too few families, and no scores item by item.", ""]
            continue
        lines += [*claims(category, found), ""]
        if whole:
            lines += [*published(category), "", *means(category), ""]
    lines += overall(found)
    if found.notes:
        lines += ["## Left out, and worth knowing", "", *(f"- {escape(note)}" for note in found.notes), ""]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip() + "\n"


def in_short(found: Comparison) -> list[str]:
    """Return the answer: which to choose for which kind of task, and of what that speaks."""
    answers = [answer.answer(category, found) for category in found.categories]
    said = [f"- {escape(sentence)}" for _, sentence in answer.in_short(answers)]
    return ["## In short", "", answer.whose(found), "", *said, ""] if said else []


def heading(category: Category) -> str:
    """Return the heading of a category, with what its tests count."""
    sizes = [
        count(len(category.tasks), "task", "tasks"),
        count(len(category.families), "family", "families"),
        count(len(category.contrasts), "comparison", "comparisons"),
    ]
    return f"## {escape(category.name)}: {', '.join(sizes)}"


def claims(category: Category, found: Comparison) -> list[str]:
    """Return the table of the three claims of a category, and what belongs to it."""
    lines = [heading(category), "", f"Related: {families_text(category)}.", ""]
    rows = [
        [
            f"{escape(one.a)} - {escape(one.b)}",
            f"{one.by_task.units} / {one.other_tasks.families}",
            points(one.by_task.mean),
            these_cell(one),
            other_cell(one),
            span(one.other_tasks.new_task),
            run_cell(one),
            verdict(one, found.margin),
        ]
        for one in category.contrasts
    ]
    head = [
        "a - b",
        "tasks / families",
        "mean over tasks",
        "these tasks",
        "other tasks",
        "one new task",
        "another run",
        "verdict",
    ]
    lines += [*table(head, rows), "", *groups(category, found)]
    for one in category.contrasts:
        if one.sensitivity:
            lost = one.sensitivity
            lines.append(
                f"- {escape(one.a)} - {escape(one.b)} with failures counted as losses ({lost.failed_a} and {lost.failed_b}): "
                f"mean {points(lost.mean)}, other tasks p {chance(lost.p)}"
            )
        if one.missing:
            who = "; ".join(f"{escape(task)}: {escape(name)}" for task, name in one.missing.items())
            lines.append(f"- {escape(one.a)} - {escape(one.b)}: {count(len(one.missing), 'task', 'tasks')} not common ({who})")
    for a, b in category.skipped:
        gone = [escape(one) for one in (a, b) if one in category.failures and category.failures[one].everywhere]
        why = f", {' and '.join(gone)} failed everywhere" if gone else ""
        lines.append(f"- {escape(a)} - {escape(b)}: never compared, no common task{why}")
    return lines


def groups(category: Category, found: Comparison) -> list[str]:
    """Return who is not separated from whom: against a baseline in words, else in letters, if all pairs were compared."""
    if not any(one.other_tasks.decidable for one in category.contrasts):
        return []
    if found.baseline is not None:
        parts = answer.answer(category, found).groups
        listed = "; ".join(f"{escape(what)}: {', '.join(map(escape, names))}" for what, names in parts)
        return [f"Groups, on other tasks: {listed}.", ""]
    if category.groups is None:
        few = sum(not one.other_tasks.decidable for one in category.contrasts)
        lacking = sum(bool(category.scores[a] and category.scores[b]) for a, b in category.skipped)
        pairs = f"{count(lacking, 'pair has', 'pairs have')} no common task, {few} too few families"
        return [f"No letters for groups, since not all pairs could be compared: {pairs}.", ""]
    some = [name for name in category.groups if category.means[name] is None]
    listed = ", ".join(
        f"{escape(name)}{' (tasks missing)' if name in some else ''} {letters}" for name, letters in category.groups.items()
    )
    return [f"Groups, best first: {listed}. Who shares a letter is not separated on other tasks; this is not transitive.", ""]


def published(category: Category) -> list[str]:
    """Return effect sizes, over families where intervals speak of other tasks, and Wilcoxon's test as papers report it."""
    sizes = [
        [
            f"{escape(one.a)} - {escape(one.b)}",
            f"{one.by_task.wins}-{one.by_task.losses}-{one.by_task.ties}",
            f"{one.by_task.rank_biserial:+.2f}",
            f"{points(one.by_task.mean)} / {points(one.by_task.hodges_lehmann)}",
            f"{points(one.by_family.mean)} {span(one.by_family.interval if one.other_tasks.decidable else None)}",
            f"{points(one.by_family.hodges_lehmann)} {exact_span(one.by_family.hodges_lehmann_interval)}",
        ]
        for one in category.contrasts
    ]
    tests = [
        [
            f"{escape(one.a)} - {escape(one.b)}",
            str(one.by_task.units),
            *map(chance, (one.as_published.p, one.as_published.p_holm, one.as_published.p_holm_table)),
            *map(chance, (one.as_published.p_max_t, one.as_published.p_floor)),
        ]
        for one in category.contrasts
    ]
    head = ["a - b", "wins-losses-ties", "rank-biserial", "mean / Hodges-Lehmann over tasks", "mean over families, t",
            "Hodges-Lehmann over families, exact"]  # fmt: skip
    columns = ["a - b", "n", "Wilcoxon p", "Holm, category", "Holm, table", "max-T by task", "smallest p"]
    about = (
        "As papers report it, tasks counted as independent, which related ones are not: Wilcoxon's exact test over tasks, "
        "zeros as Pratt. These p-values stand in no claim above."
    )
    return [*table(head, sizes), "", about, "", *table(columns, tests)]


def means(category: Category) -> list[str]:
    """Return the mean score of each system, which is shown only where it has all tasks, and where scores vary."""
    complete = {name: mean for name, mean in category.means.items() if mean is not None}
    places = category.ranks.systems if category.ranks else {}
    rows = [
        [escape(name), f"{100 * mean:.2f}", f"{places[name]:.2f}" if name in places else "–"]
        for name, mean in sorted(complete.items(), key=lambda pair: -pair[1])
    ]
    lines = table(["all tasks", "mean score", "mean rank"], rows) if rows else ["No system has all tasks: no means are shown."]
    partial = [f"{escape(name)} ({len(of)} of {len(category.tasks)})" for name, of in category.scores.items()
               if category.means[name] is None]  # fmt: skip
    if partial and rows:
        lines += ["", f"Without a mean, since tasks are missing: {', '.join(partial)}."]
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
            f"Scores vary (sd, points) by task {100 * parts.task:.2f}, design x task {100 * parts.design_by_task:.2f}, "
            f"run {100 * parts.run:.2f}, run x task {100 * parts.run_by_task:.2f}.",
        ]
    lines += within(category)
    return lines


def within(category: Category) -> list[str]:
    """Return the differences on each task with their intervals, where scores are kept item by item."""
    rows = []
    for one in category.contrasts:
        these = one.these_tasks
        for task, found in these.tasks.items() if these else ():
            p = these.p_tasks[task] if these else 1.0
            groups = f"{found.units} groups of " if found.items != found.units else ""
            checkpoint = " checkpoint" if one.checkpoint else ""
            rows.append(
                [
                    f"{escape(one.a)} - {escape(one.b)}",
                    escape(task),
                    escape(found.metric),
                    f"{groups}{found.items} {found.unit}",
                    f"{points(found.difference)} {span(found.interval)}",
                    f"{chance(p)}{f' o{checkpoint}' if p <= ALPHA else ''}",
                ]
            )
    return ["", *table(["a - b", "task", "measure", "items", "difference", "p, Holm over these"], rows)] if rows else []


def overall(found: Comparison) -> list[str]:
    """Return the table over all categories."""
    if not found.overall:
        return []
    rows = []
    for one in found.overall:
        better = escape(one.a if one.mean > 0 else one.b)
        says = f"{better} better{', checkpoints' if one.p_run is None else ''}" if one.p <= ALPHA else "not separated"
        if one.p <= ALPHA and one.p_run is not None and one.p_run > ALPHA:
            says = f"{better} better in these runs, but another run may say otherwise"
        if one.p <= ALPHA and not one.carried:
            says = f"{better} better in converged runs only, not with failures counted as losses"
        if one.families < FEWEST_FAMILIES:
            says = f"cannot be decided with {one.families} families"
        if one.opposed:
            says = "categories contradict each other: no overall winner"
        sizes = [str(len(one.categories)), str(one.families)]
        lost = "–" if one.p_failures is None else f"{points(one.mean_failures)}, p {chance(one.p_failures)}"
        size = f"{points(one.mean)} {span(one.interval)}"
        rows.append([f"{escape(one.a)} - {escape(one.b)}", *sizes, size, chance(one.p), chance(one.p_run), lost, says])
    about = (
        "The claim is on other tasks of these kinds. The mean of the categories' means over families, so categories weigh the "
        "same, with a 95 % interval for one comparison; sign flips by family within categories; for another run the crossed "
        "test, too."
    )
    names = ["a - b", "categories", "families", "mean", "p, other tasks", "p, another run", "failures as losses", "verdict"]
    return ["## All categories", "", about, "", *table(names, rows), ""]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table."""
    return [f"| {' | '.join(head)} |", "|" + "---|" * len(head), *(f"| {' | '.join(row)} |" for row in rows)]
