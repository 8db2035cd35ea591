"""The table at the end: main scores by task, means by type, and what failed."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evaluation.evaluate import Evaluation
    from evaluation.run import TaskScore


def by_type(scores: list[TaskScore]) -> dict[str, list[TaskScore]]:
    """Return the scores grouped by type of task, types in the order in which they occur."""
    groups: dict[str, list[TaskScore]] = {}
    for score in scores:
        groups.setdefault(score.type, []).append(score)
    return groups


def table(evaluation: Evaluation) -> str:
    """Return main scores by task, the mean of each type with more than one task, and the failures with their reasons."""
    width = max([len(score.name) for score in evaluation.scores] + [len("mean of 10 PairClassification tasks")])
    lines = [f"{evaluation.model}, revision {evaluation.revision}"]
    for kind, scores in by_type(evaluation.scores).items():
        lines.append("")
        lines.append(f"{kind}")
        lines += [f"  {score.name:<{width}}  {score.score:.4f}  {score.metric}" for score in scores]
        if len(scores) > 1:
            mean = sum(score.score for score in scores) / len(scores)
            lines.append(f"  {f'mean of {len(scores)} {kind} tasks':<{width}}  {mean:.4f}")
    again = sum(score.again for score in evaluation.scores)
    if again:
        lines += ["", encoded_again(again)]
    if evaluation.failures:
        lines += ["", f"{len(evaluation.failures)} failed:"]
        lines += [f"  {name}: {reason}" for name, reason in evaluation.failures.items()]
    lines += ["", f"results: {evaluation.folder}"]
    return "\n".join(lines)


def encoded_again(texts: int) -> str:
    """Say that texts were encoded a second time."""
    return f"{texts:,} texts were encoded a second time, since the run that had begun them was killed"


def write_csv(evaluation: Evaluation) -> Path:
    """Write `scores.csv` into the results folder: task, type, subset, metric, score, seconds; return its path."""
    path = evaluation.folder / "scores.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["task", "type", "subset", "metric", "score", "seconds"])
        for score in evaluation.scores:
            for subset, value in score.subsets.items():
                writer.writerow([score.name, score.type, subset, score.metric, f"{value:.6f}", f"{score.seconds:.2f}"])
    return path
