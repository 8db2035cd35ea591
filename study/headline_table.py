"""The headline table: scores of all tasks, and for the headline task gains by training with intervals over its queries."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import UserError
from comparison.stats.paired import Difference, paired_difference, run_interval
from study.cells import Cell
from study.config import StudyConfig
from study.run_cell import read_scores


@dataclass(frozen=True)
class Row:
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


def make_rows(cells: Sequence[Cell], config: StudyConfig) -> list[Row]:
    """Collect the finished cells' scores, baselines first, then designs in the order of the study."""
    finished = [(cell, read_scores(cell)) for cell in cells if cell.done]
    pooled = {
        cell.base: item_scores(cell, content["scores"], config) for cell, content in finished if cell.design == "mean_pooling"
    }
    rows = [
        Row(cell.system, 1, {task: entry["score"] for task, entry in content["scores"].items()}, None, {}, {})
        for cell, content in finished
        if cell.kind == "baseline"
    ]
    runs: dict[str, list[tuple[Cell, dict[str, Any]]]] = {}
    for cell, content in finished:
        if cell.kind == "design":
            runs.setdefault(cell.system, []).append((cell, content))
    return rows + [design_row(system, mine, pooled.get(mine[0][0].base), config) for system, mine in runs.items()]


def design_row(
    system: str, runs: Sequence[tuple[Cell, dict[str, Any]]], mean_pooling: np.ndarray | None, config: StudyConfig
) -> Row:
    """Average a design's runs and compare them with its untrained self and with mean pooling, query by query."""
    trained = np.stack([item_scores(cell, content["scores"], config) for cell, content in runs])
    untrained = np.stack([item_scores(cell, content["untrained"], config) for cell, content in runs])
    others = {"untrained": untrained}
    if mean_pooling is not None:
        others["mean_pooling"] = np.broadcast_to(mean_pooling, trained.shape)
    by_run = {name: (trained - other).mean(axis=1) for name, other in others.items()}
    tasks = runs[0][1]["scores"]
    return Row(
        name=system,
        seeds=len(runs),
        scores={task: float(np.mean([content["scores"][task]["score"] for _, content in runs])) for task in tasks},
        untrained=float(np.mean([content["untrained"][config.headline]["score"] for _, content in runs])),
        gains={name: paired_difference(trained, other) for name, other in others.items()},
        gains_by_run={name: run_interval(values) for name, values in by_run.items() if len(values) > 1},
    )


def item_scores(cell: Cell, scores: dict[str, Any], config: StudyConfig) -> np.ndarray:
    """Return the headline task's score of each query, ``(queries,)``, queries in the order of their ids."""
    from evaluation.results.item_scores import read_items

    assert config.headline is not None
    entry = scores[config.headline]
    if not entry["items"]:
        raise UserError(f"headline: {config.headline} keeps no scores item by item; choose a retrieval task")
    items = read_items(cell.folder / entry["items"])
    values = {str(item["id"]): float(item[entry["metric"]]) for item in items if entry["metric"] in item}
    if not values:
        raise UserError(f"headline: {config.headline} has no {entry['metric']} a query; choose a retrieval task")
    return np.array([values[key] for key in sorted(values)])


def as_text(rows: Sequence[Row], config: StudyConfig) -> str:
    """Return the table as Markdown, with what the numbers mean and do not mean below it."""
    assert config.headline is not None
    tasks = [config.headline, *(task for row in rows[:1] for task in row.scores if task != config.headline)]
    head = ["system", "seeds", f"{config.headline}: untrained", "trained", "gain over untrained", "gain over mean pooling"]
    lines = ["| " + " | ".join([*head, *tasks[1:]]) + " |", "|" + "---|" * (len(head) + len(tasks) - 1)]
    for row in rows:
        figures = [
            row.name,
            str(row.seeds) if row.untrained is not None else "–",
            "–" if row.untrained is None else f"{row.untrained:.3f}",
            f"{row.scores[config.headline]:.3f}",
            shown(row.gains.get("untrained")),
            shown(row.gains.get("mean_pooling")),
            *(f"{row.scores[task]:.3f}" if task in row.scores else "–" for task in tasks[1:]),
        ]
        lines.append("| " + " | ".join(figures) + " |")
    return "\n".join([*lines, "", *notes(rows, config)])


def notes(rows: Sequence[Row], config: StudyConfig) -> list[str]:
    """Return what the table's numbers mean, and what one seed cannot say."""
    lexical = [row.name for row in rows if row.name in ("tfidf", "static_bag")]
    seeds = max((row.seeds for row in rows), default=1)
    lines = [
        f"Gains are on {config.headline}, with a 95 % interval over its queries (paired bootstrap): they speak of these "
        "queries and these checkpoints."
    ]
    if lexical:
        lines.append(f"{' and '.join(lexical)} read whole texts; the designs and mean pooling cut them to the trained lengths.")
    if seeds < 2:
        lines.append("One seed a design: the spread between training runs is unknown, so this table ranks no design.")
    else:
        lines.append("Intervals over training runs (Student's t), which speak of another run:")
        lines += [
            f"- {row.name}, {row.seeds} runs: over {name.replace('_', ' ')} {shown(gain)}"
            for row in rows
            for name, gain in row.gains_by_run.items()
        ]
    return lines


def shown(gain: Difference | None) -> str:
    """Return a difference with its interval, such as ``+0.120 [+0.100, +0.141]``."""
    return "–" if gain is None else f"{gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"


def save(rows: Sequence[Row], config: StudyConfig) -> list[Path]:
    """Write ``headline.md``, ``headline.csv`` and ``headline.json`` into the study's folder."""
    folder = Path(config.output_dir)
    text, table, data = (folder / f"headline.{ending}" for ending in ("md", "csv", "json"))
    text.write_text(as_text(rows, config) + "\n", encoding="utf-8")
    with table.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["system", "seeds", "task", "score", "untrained"])
        for row in rows:
            for task, score in row.scores.items():
                untrained = row.untrained if task == config.headline else None
                writer.writerow([row.name, row.seeds, task, score, "" if untrained is None else untrained])
    content = {"headline": config.headline, "rows": [asdict(row) for row in rows]}
    data.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return [text, table, data]
