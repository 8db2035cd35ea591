"""The table at the end: main scores by task and category, cut texts, texts that were encoded twice, failures."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from common import csv_files
from common.words import short
from evaluation.results.outcome import repeated_texts
from evaluation.tasks.mteb_tasks import aggregates

if TYPE_CHECKING:
    from evaluation.results.outcome import Evaluation, TaskScore

WIDTH = 100
NAME_WIDTH = 40
COLUMNS = ["task", "type", "subset", "metric", "score", "seconds", "texts", "tokens", "cut", "encoded_again", "cached"]


def by_type(scores: list[TaskScore]) -> dict[str, list[TaskScore]]:
    """Return the scores grouped by type of task (mteb's categories), types in the order in which they occur."""
    groups: dict[str, list[TaskScore]] = {}
    for score in scores:
        groups.setdefault(score.type, []).append(score)
    return groups


def mean(scores: list[TaskScore]) -> float:
    """Return the mean of tasks' main scores."""
    return sum(score.score for score in scores) / len(scores)


def table(evaluation: Evaluation) -> str:
    """Return the table, at most `WIDTH` columns wide."""
    groups = by_type(evaluation.scores)
    labels = ["mean of all categories", *groups]
    labels += [short(score.name, NAME_WIDTH) for score in evaluation.scores]
    width = max(map(len, labels))
    lines = [f"{evaluation.model}, revision {evaluation.revision}"]
    for kind, scores in groups.items():
        lines += ["", kind]
        lines += [_row(score, width) for score in scores]
    if len(evaluation.scores) > 1:
        lines += ["", *_means(evaluation.scores, groups, width)]
    lines += _notes(evaluation)
    return "\n".join([*lines, "", f"results: {evaluation.folder}"])


def _row(score: TaskScore, width: int) -> str:
    remarks = []
    if score.cut:
        remarks.append(f"{_percent(score.cut, score.texts)} of texts cut")
    if score.cached:
        remarks.append("already there")
    line = f"  {short(score.name, NAME_WIDTH):<{width}}  {score.score:.4f}  {score.metric:<15}  {', '.join(remarks)}"
    return line.rstrip()


def _means(scores: list[TaskScore], groups: dict[str, list[TaskScore]], width: int) -> list[str]:
    """Return the means by category: each category's tasks weigh the same, and in the last line each category does."""
    lines = [f"{'by category':<{width + 2}}    mean  tasks"]
    means = []
    for kind, group in groups.items():
        means.append(mean(group))
        lines.append(f"  {kind:<{width}}  {means[-1]:.4f}  {len(group):>5}")
    if len(groups) > 1:
        mean_of_means = sum(means) / len(means)
        lines.append(f"  {'mean of all categories':<{width}}  {mean_of_means:.4f}  {len(scores):>5}")
        lines.append(f"  {'mean of all tasks':<{width}}  {mean(scores):.4f}  {len(scores):>5}")
    return lines


def _notes(evaluation: Evaluation) -> list[str]:
    """Return the lines below the means: cuts, kills, other versions of mteb, tasks that mteb puts together, failures."""
    lines = [*_cut_note(evaluation.scores), *_repeated_note(evaluation.scores), *_version_note(evaluation)]
    lines += _aggregate_note(evaluation)
    if lines:
        lines.insert(0, "")
    return [*lines, *_failures(evaluation)]


def _cut_note(scores: list[TaskScore]) -> list[str]:
    """Return the share of texts that were cut, of the tasks whose encoder counts them."""
    cut = texts = tasks_with_cuts = 0
    for score in scores:
        if score.cut is not None:
            cut += score.cut
            texts += score.texts
            tasks_with_cuts += score.cut > 0
    if not any(score.cut is not None for score in scores):
        return []
    line = f"cut at the maximum length: {cut:,} of {texts:,} texts ({_percent(cut, texts)})"
    if cut:
        line += f" in {tasks_with_cuts} tasks"
    return [line]


def _repeated_note(scores: list[TaskScore]) -> list[str]:
    total = sum(score.again for score in scores)
    if not total:
        return []
    names = ", ".join(f"{score.name} {score.again:,}" for score in scores if score.again)
    return _wrapped(f"{repeated_texts(total)}: {names}")


def _version_note(evaluation: Evaluation) -> list[str]:
    """Return the tasks that another version of mteb scored."""
    others = [score for score in evaluation.scores if score.mteb_version not in (None, evaluation.mteb_version)]
    if not others:
        return []
    names = ", ".join(f"{score.name} {score.mteb_version}" for score in others)
    return _wrapped(f"scored by another mteb than {evaluation.mteb_version}: {names}")


def _aggregate_note(evaluation: Evaluation) -> list[str]:
    """Return the tasks that weigh as one in mteb's means and as several here, where means hold others too."""
    names = {score.name for score in evaluation.scores} | set(evaluation.failures)
    lines = []
    for name, members in aggregates().items():
        if members < names:
            lines += _wrapped(f"{name} is one task in mteb's means and {len(members)} in those above, which differ")
    return lines


def _failures(evaluation: Evaluation) -> list[str]:
    """Return the failed tasks; those that failed for the same reason stand together."""
    if not evaluation.failures:
        return []
    names_by_reason: dict[str, list[str]] = {}
    for name, reason in evaluation.failures.items():
        names_by_reason.setdefault(reason, []).append(name)
    total = len(evaluation.failures) + len(evaluation.scores)
    lines = ["", f"{len(evaluation.failures)} of {total} tasks failed:"]
    for reason, names in names_by_reason.items():
        lines += _wrapped(f"{', '.join(names)}: {reason}", "  ")
    return lines


def _wrapped(text: str, indent: str = "") -> list[str]:
    """Fold a line; paths and commands in it stay in one piece, so that they can be copied."""
    rest = f"{indent}    "
    return textwrap.wrap(
        text, WIDTH, initial_indent=indent, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    )


def _percent(part: int, whole: int) -> str:
    """Return a share in per cent; one that is not zero never reads as zero, and one short of all never as all."""
    if not part or not whole:
        return "0 %"
    share = 100 * part / whole
    if share < 0.1:
        return "<0.1 %"
    if share > 99.9 and part < whole:
        return ">99.9 %"
    return f"{share:.1f} %"


def write_csv(evaluation: Evaluation) -> Path:
    """Write `scores.csv` into the results folder, one row a subset, and return its path.

    Columns: task, type, subset, metric, score (of the subset), then of the whole task: seconds, texts, tokens, cut texts,
    texts encoded twice (each empty where it is not known), and whether the result was there already.
    """
    path = evaluation.folder / "scores.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows: list[list[object]] = [[*COLUMNS]]
    for score in evaluation.scores:
        task_columns = [f"{score.seconds:.2f}", score.texts, score.tokens, score.cut, score.again, int(score.cached)]
        for subset, value in score.subsets.items():
            rows.append([score.name, score.type, subset, score.metric, f"{value:.6f}", *task_columns])
    csv_files.write_csv(path, rows)
    return path
