"""The headline table: scores of all tasks, and for the headline task gains by training with intervals over its queries."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common import csv_files
from common.errors import UserError
from common.files import write_whole
from comparison.reading.study_data import TextTable
from comparison.stats.paired import Difference, paired_difference, run_interval
from evaluation.results.item_scores import read_items
from study.cell_progress import read_scores
from study.cells import Cell
from study.config import StudyConfig
from study.study import Study

NOTHING = "–"


@dataclass(frozen=True)
class Finished:
    """A finished cell with the content of its ``scores.json``."""

    cell: Cell
    content: dict[str, Any]

    def main_scores(self) -> dict[str, float]:
        """Return the main scores by task."""
        return {task: entry["score"] for task, entry in self.content["scores"].items()}


@dataclass(frozen=True)
class HeadlineRow:
    """One system: a baseline, or a design over all its seeds.

    Attributes:
        name: of the design or baseline.
        seeds: how many training runs.
        scores: main score by task, mean over seeds.
        untrained: the untrained design's headline score, mean over seeds; ``None`` for a baseline.
        gains: paired differences on the headline task, by what they are against.
        gains_by_run: the same as one difference a training run, where there are at least two.
    """

    name: str
    seeds: int
    scores: dict[str, float]
    untrained: float | None
    gains: dict[str, Difference]
    gains_by_run: dict[str, Difference]


def make_rows(study: Study) -> list[HeadlineRow]:
    """Collect the finished cells' scores, baselines first, then designs in the order of the study."""
    baselines = []
    mean_pooling: dict[str, np.ndarray] = {}
    runs: dict[str, list[Finished]] = {}
    for cell in study.cells:
        if not cell.done:
            continue
        finished = Finished(cell, read_scores(cell))
        if cell.trains:
            runs.setdefault(cell.system, []).append(finished)
            continue
        if cell.design == "mean_pooling":
            mean_pooling[cell.base] = item_scores(finished, "scores", study.config)
        baselines.append(HeadlineRow(cell.system, 1, finished.main_scores(), None, {}, {}))
    designs = []
    for system, of_system in runs.items():
        designs.append(design_row(system, of_system, mean_pooling.get(of_system[0].cell.base), study.config))
    return baselines + designs


def design_row(system: str, runs: Sequence[Finished], mean_pooling: np.ndarray | None, config: StudyConfig) -> HeadlineRow:
    """Average a design's runs and compare them with its untrained self and with mean pooling, query by query."""
    trained = np.stack([item_scores(run, "scores", config) for run in runs])
    others = {"untrained": np.stack([item_scores(run, "untrained", config) for run in runs])}
    if mean_pooling is not None:
        others["mean_pooling"] = np.broadcast_to(mean_pooling, trained.shape)
    gains = {}
    gains_by_run = {}
    for name, other in others.items():
        gains[name] = paired_difference(trained, other)
        by_run = (trained - other).mean(axis=1)
        if len(by_run) > 1:
            gains_by_run[name] = run_interval(by_run)
    scores = {}
    for task in runs[0].content["scores"]:
        scores[task] = float(np.mean([run.main_scores()[task] for run in runs]))
    untrained = float(np.mean([run.content["untrained"][config.headline]["score"] for run in runs]))
    return HeadlineRow(system, len(runs), scores, untrained, gains, gains_by_run)


def item_scores(run: Finished, key: str, config: StudyConfig) -> np.ndarray:
    """Return the headline task's score of each query, ``(queries,)``, queries in the order of their ids.

    Args:
        run: the cell.
        key: ``scores`` or ``untrained``.
        config: of the study.
    """
    assert config.headline is not None
    entry = run.content[key][config.headline]
    if not entry["items"]:
        raise UserError(f"headline: {config.headline} keeps no scores item by item; choose a retrieval task")
    metric = entry["metric"]
    values = {}
    for item in read_items(run.cell.folder / entry["items"]):
        if metric in item:
            values[str(item["id"])] = float(item[metric])
    if not values:
        raise UserError(f"headline: {config.headline} has no {metric} a query; choose a retrieval task")
    return np.array([values[key] for key in sorted(values)])


def make_table(rows: Sequence[HeadlineRow], headline: str) -> TextTable:
    """Return the table as texts, with what the numbers mean and do not mean."""
    others = []
    if rows:
        others = [task for task in rows[0].scores if task != headline]
    head = ["system", "seeds", f"{headline}: untrained", "trained", "gain over untrained", "gain over mean pooling", *others]
    lines = []
    for row in rows:
        figures = [row.name, NOTHING, NOTHING, f"{row.scores[headline]:.3f}"]
        if row.untrained is not None:
            figures[1:3] = [str(row.seeds), f"{row.untrained:.3f}"]
        figures += [shown(row.gains.get("untrained")), shown(row.gains.get("mean_pooling"))]
        for task in others:
            figures.append(f"{row.scores[task]:.3f}" if task in row.scores else NOTHING)
        lines.append(figures)
    return TextTable(f"Scores by task, and gains on {headline}", head, lines, notes(rows, headline))


def best_first(rows: Sequence[HeadlineRow], headline: str) -> list[HeadlineRow]:
    """Return the rows by their score on the headline task, of designs the trained one, the best first."""
    return sorted(rows, key=lambda row: -row.scores.get(headline, -1.0))


def as_markdown(table: TextTable) -> str:
    """Return the table as Markdown, its notes below it."""
    rows = list(map(markdown_row, table.rows))
    return "\n".join([markdown_row(table.head), "|" + "---|" * len(table.head), *rows, "", *table.notes])


def markdown_row(figures: Sequence[str]) -> str:
    """Return a row of a Markdown table."""
    return "| " + " | ".join(figures) + " |"


def notes(rows: Sequence[HeadlineRow], headline: str) -> list[str]:
    """Return the meaning of the table's numbers, and what one seed cannot say."""
    lexical = [row.name for row in rows if row.name in ("tfidf", "static_bag")]
    seeds = max((row.seeds for row in rows), default=1)
    lines = [
        f"Gains are on {headline}, with a 95 % interval over its queries (paired bootstrap): they speak of these "
        "queries and these checkpoints."
    ]
    if lexical:
        verb = "reads" if len(lexical) == 1 else "read"
        which = " and ".join(lexical)
        lines.append(f"{which} {verb} whole texts; the designs and mean pooling cut them to the trained lengths.")
    if seeds < 2:
        lines.append("One seed a design: the spread between training runs is unknown, so this table ranks no design.")
        return lines
    lines.append("Intervals over training runs (Student's t), which speak of another run:")
    for row in rows:
        for name, gain in row.gains_by_run.items():
            lines.append(f"- {row.name}, {row.seeds} runs: over {name.replace('_', ' ')} {shown(gain)}")
    return lines


def shown(gain: Difference | None) -> str:
    """Return a difference with its interval, such as ``+0.120 [+0.100, +0.141]``."""
    return NOTHING if gain is None else f"{gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"


def save(rows: Sequence[HeadlineRow], headline: str, folder: Path) -> list[Path]:
    """Write ``headline.md``, ``headline.csv`` and ``headline.json`` into the study's folder."""
    text, table, data = (folder / f"headline.{ending}" for ending in ("md", "csv", "json"))
    write_whole(text, as_markdown(make_table(rows, headline)) + "\n")
    lines: list[list[object]] = [["system", "seeds", "task", "score", "untrained"]]
    for row in rows:
        for task, score in row.scores.items():
            untrained = row.untrained if task == headline else None
            lines.append([row.name, row.seeds, task, score, untrained])
    csv_files.write_csv(table, lines)
    content = {"headline": headline, "rows": [asdict(row) for row in rows]}
    write_whole(data, json.dumps(content, indent=2) + "\n")
    return [text, table, data]
