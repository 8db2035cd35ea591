"""The table at the end: main scores by task and by category, cut texts, what was encoded twice, and what failed."""

from __future__ import annotations

import csv
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from common.words import short
from evaluation.results.outcome import encoded_again

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
    lines = [f"{evaluation.model}, revision {evaluation.revision}"]
    groups = by_type(evaluation.scores)
    names = [short(score.name, NAME_WIDTH) for score in evaluation.scores]
    width = max([len(name) for name in [*names, *groups]] + [len("mean of all categories")])
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
    lines += [f"  {kind:<{width}}  {mean(of_kind):.4f}  {len(of_kind):>5}" for kind, of_kind in groups.items()]
    if len(groups) > 1:
        of_categories = sum(mean(of_kind) for of_kind in groups.values()) / len(groups)
        lines.append(f"  {'mean of all categories':<{width}}  {of_categories:.4f}  {len(scores):>5}")
        lines.append(f"  {'mean of all tasks':<{width}}  {mean(scores):.4f}  {len(scores):>5}")
    return lines


def _notes(evaluation: Evaluation) -> list[str]:
    """Return what is to be known of the numbers: cuts, kills, other versions of mteb, failures."""
    lines: list[str] = []
    scores = evaluation.scores
    counted = [score for score in scores if score.cut is not None]
    cut, texts = sum(score.cut or 0 for score in counted), sum(score.texts for score in counted)
    if counted:
        where = f" in {sum(bool(score.cut) for score in counted)} tasks" if cut else ""
        lines.append(f"cut at the maximum length: {cut:,} of {texts:,} texts ({_percent(cut, texts)}){where}")
    again = {score.name: score.again for score in scores if score.again}
    if again:
        listed = ", ".join(f"{name} {count:,}" for name, count in again.items())
        lines += _wrapped(f"{encoded_again(sum(again.values()))}: {listed}")
    other = {score.name: score.mteb_version for score in scores if score.mteb_version not in (None, evaluation.mteb_version)}
    if other:
        listed = ", ".join(f"{name} {found}" for name, found in other.items())
        lines += _wrapped(f"scored by another mteb than {evaluation.mteb_version}: {listed}")
    if evaluation.failures:
        total = len(evaluation.failures) + len(scores)
        lines += ["", f"{len(evaluation.failures)} of {total} tasks failed:"]
        for reason in dict.fromkeys(evaluation.failures.values()):  # tasks without rows have one reason
            names = [name for name, its in evaluation.failures.items() if its == reason]
            lines += _wrapped(f"{', '.join(names)}: {reason}", "  ")
    return ["", *lines] if lines and lines[0] else lines


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
    return ">99.9 %" if part < whole and share > 99.9 else f"{share:.1f} %"


def write_csv(evaluation: Evaluation) -> Path:
    """Write `scores.csv` into the results folder, one row a subset, and return its path.

    Columns: task, type, subset, metric, score (of the subset), then of the whole task: seconds, texts, tokens, cut texts,
    texts encoded twice (each empty where it is not known), and whether the result was there already.
    """
    path = evaluation.folder / "scores.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    with part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for score in evaluation.scores:
            whole = [f"{score.seconds:.2f}", score.texts, score.tokens, score.cut, score.again, int(score.cached)]
            for subset, value in score.subsets.items():
                writer.writerow([score.name, score.type, subset, score.metric, f"{value:.6f}", *whole])
    part.replace(path)
    return path
