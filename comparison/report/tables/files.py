"""Write a comparison as `comparison.md`, `comparison.csv`, `comparison.json` and `scores.csv`."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from comparison.claims.outcome import Category, Comparison, Contrast
from comparison.errors import ComparisonError
from comparison.report.tables.markdown import as_markdown

FORMULA = ("=", "+", "@", "\t", "\r")  # how a text begins that spreadsheets calculate
UTF8: Any = {"encoding": "utf-8", "errors": "backslashreplace"}  # a name may hold half a surrogate pair


def save(found: Comparison, folder: Path, about: Mapping[str, Any]) -> list[Path]:
    """Write all files into a folder, made if missing.

    Args:
        found: the outcome.
        folder: where to.
        about: how it was made; stands at the head of the JSON file.

    Raises:
        ComparisonError: the folder cannot be written, or is a study's, whose own `comparison.json` would be lost.
    """
    if (folder / "cells").is_dir():
        raise ComparisonError(f"--output_dir {folder} is a study's directory, which has files of these names; give another one")
    paths = [folder / name for name in ("comparison.md", "comparison.csv", "comparison.json", "scores.csv")]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        paths[0].write_text(as_markdown(found), **UTF8)
        write_csv(paths[1], [row(category, one, found.counted) for category in found.categories for one in category.contrasts])
        content = {**about, **plain(asdict(found))}
        paths[2].write_text(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n", **UTF8)
        write_csv(paths[3], [line for category in found.categories for line in score_rows(category)])
    except OSError as error:
        raise ComparisonError(f"--output_dir {folder} cannot be written: {error.strerror}; give another directory") from error
    return paths


def row(category: Category, one: Contrast, counted: int) -> dict[str, Any]:
    """Return one comparison as a flat row: numbers in score units, None where there is no number.

    Args:
        category: of the comparison.
        one: the comparison.
        counted: categories that a claim over the whole table counts.
    """
    these, other, run = one.these_tasks, one.other_tasks, one.another_run
    p = other.p if run.p is None else run.p  # of a star: claim C where it could be tested
    return {
        "category": category.name,
        "a": one.a,
        "b": one.b,
        "mark": one.mark,
        "mark_p": p if other.decidable else None,
        "mark_p_table": min(1.0, counted * p) if other.decidable else None,
        "checkpoint": one.checkpoint,
        "tasks": one.by_task.units,
        "families": other.families,
        "comparisons": len(category.contrasts),
        **_effect("tasks", one.by_task),
        **_effect("families", one.by_family),
        **_ends("families_mean", one.by_family.interval if other.decidable else None),
        "these_tasks": len(these.tasks) if these else 0,
        "these_mean": these.mean if these else None,
        **_ends("these", these.interval if these else None),
        "these_p": these.p_adjusted if these else None,
        "other_p": other.p,
        "other_p_table": other.p_table,
        "other_p_alone": other.p_alone,
        "other_p_floor": other.p_floor,
        "other_decidable": other.decidable,
        **_ends("new_task", other.new_task),
        "equivalent_p": other.p_equivalent,
        "runs_a": run.runs[0],
        "runs_b": run.runs[1],
        "run_p": run.p,
        **_ends("run", run.interval if other.decidable else None),
        "run_equivalent_p": run.p_equivalent,
        "overturned_by_seed_sd": run.overturned_by,
        "overturned_alone_by_seed_sd": run.overturned_alone,
        "wilcoxon_p": one.as_published.p,
        "wilcoxon_p_holm": one.as_published.p_holm,
        "wilcoxon_p_holm_table": one.as_published.p_holm_table,
        "wilcoxon_p_floor": one.as_published.p_floor,
        "max_t_by_task_p": one.as_published.p_max_t,
        "with_failures_p": one.sensitivity.p if one.sensitivity else None,
        "with_failures_mean": one.sensitivity.mean if one.sensitivity else None,
        "missing_tasks": "; ".join(one.missing),
    }


def _effect(name: str, effect: Any) -> dict[str, Any]:
    return {
        f"{name}_wins": effect.wins,
        f"{name}_losses": effect.losses,
        f"{name}_ties": effect.ties,
        f"{name}_mean": effect.mean,
        **_ends(f"{name}_mean", effect.interval),
        f"{name}_hodges_lehmann": effect.hodges_lehmann,
        **_ends(f"{name}_hodges_lehmann", effect.hodges_lehmann_interval),
        f"{name}_rank_biserial": effect.rank_biserial,
    }


def _ends(name: str, interval: Any) -> dict[str, float | None]:
    return {f"{name}_low": interval.low if interval else None, f"{name}_high": interval.high if interval else None}


def score_rows(category: Category) -> list[dict[str, Any]]:
    """Return a row for each task of a category, with every system's score."""
    family = {task: tasks[0] for tasks in category.families for task in tasks}
    return [
        {"category": category.name, "family": family[task], "task": task, "system": system, "score": of.get(task)}
        for task in category.tasks
        for system, of in category.scores.items()
    ]


def plain(value: Any) -> Any:
    """Return nested data as JSON holds it: numbers that are not finite are null."""
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows with the fields of the first; a file with one word where there are none.

    A text that a spreadsheet would take for a formula, such as a model's name, gets an apostrophe in front.
    """
    with path.open("w", newline="", **UTF8) as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]) if rows else ["category"])
        writer.writeheader()
        for row in rows:
            formulas = {key: f"'{text}" for key, text in row.items() if isinstance(text, str) and text.startswith(FORMULA)}
            writer.writerow({**row, **formulas})
