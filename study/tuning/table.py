"""The search in tables: development scores by setting, the choice, test scores at the common setting and the best, the cost."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.files import replacing_together
from common.words import duration
from comparison.findings import Curve, Finding, Panel
from comparison.report.plots.drawing import series_of, style
from comparison.report.plots.lines import draw_panels
from study.cell_progress import try_scores
from study.cells import short_base_names
from study.config import flags_of
from study.report.plan_table import taken
from study.study import Study, chosen_settings, tuned_scores
from study.tuning.choice import mean_ranks, mean_score
from study.tuning.settings import COMMON

LAST = "tuning.json"


@dataclass(frozen=True)
class Row:
    """One design on one base LLM.

    Attributes:
        design: its name, with the base model's where the study has several.
        development: mean score over the development tasks by setting; not finite for a run that diverged.
        ranks: mean rank over the development tasks by setting.
        chosen: setting; empty before the search has ended.
        common: mean score over the test tasks and runs at the common setting; not finite before runs have ended.
        best: the same at the chosen one.
        common_runs: finished runs at the common setting.
        best_runs: the same at the chosen one.
    """

    design: str
    development: dict[str, float]
    ranks: dict[str, float]
    chosen: str
    common: float
    best: float
    common_runs: int
    best_runs: int


def budget_line(tuning: Study) -> str:
    """Say what the search tries."""
    config = tuning.config
    settings = ", ".join(in_order(tuning))
    runs = len(config.recipes)
    steps = [config.flags(name).get("max_steps") for name in config.recipes]
    each = f"{steps[0]} steps each" if len(set(steps)) == 1 and steps[0] else "steps as each setting says"
    tasks = ", ".join(tuning.inputs.tasks)
    return (
        f"tuning: every design tries the same {runs} settings ({settings}), {each}, seed {config.seeds[0]}; the one with the "
        f"best mean rank on the development tasks is chosen ({tasks})"
    )


def in_order(tuning: Study) -> list[str]:
    """Return the settings from the lowest learning rate to the highest; equal ones, or without a rate, as the file has them."""

    def rate(name: str) -> float:
        value = tuning.config.flags(name).get("learning_rate")
        return float(value) if isinstance(value, int | float) else 0.0

    return sorted(tuning.config.recipes, key=rate)


def rows_of(study: Study, tuning: Study) -> list[Row]:
    """Return a row a design, in the order of the study."""
    chosen = chosen_settings(tuning)
    rows = []
    names = short_base_names(study.config)
    for (base, design), scores in tuned_scores(tuning).items():
        name = f"{design} on {names[base]}" if len(names) > 1 else design
        best = chosen.get((base, design), "")
        development = {setting: mean_score(of_tasks) for setting, of_tasks in scores.items()}
        common = scores_on_tests(study, base, design, "")
        tuned = common if best == COMMON else scores_on_tests(study, base, design, best) if best else []
        of_tests = (mean_of(common), mean_of(tuned), len(common), len(tuned))
        rows.append(Row(name, development, mean_ranks(scores), best, *of_tests))
    return rows


def mean_of(values: Sequence[float]) -> float:
    """Return the mean; not finite for no values."""
    return float(np.mean(values)) if values else math.nan


def scores_on_tests(study: Study, base: str, design: str, recipe: str) -> list[float]:
    """Return the mean main score over test tasks of each finished run."""
    means: list[float] = []
    for cell in study.cells:
        if cell.kind == "design" and (cell.base, cell.design, cell.recipe) == (base, design, recipe) and cell.done:
            means.append(mean_of([float(entry["score"]) for entry in try_scores(cell)["scores"].values()]))
    return means


def remarks(study: Study, tuning: Study, rows: Sequence[Row]) -> list[str]:
    """Return sentences on the cost of the search, on choices at the end of what was tried, and on what was not tuned."""
    done, cost = sum(cell.done for cell in tuning.cells), duration(cost_seconds(tuning))
    sentences = [
        f"The search took {cost} of training and scoring in {done} of {len(tuning.cells)} runs. No test score took part in a "
        "choice."
    ]
    for (flag, value, end), designs in choices_at_an_end(tuning, rows).items():
        sentences.append(
            f"{', '.join(designs)}: {flag} {value} was the {end} that was tried, so a better one may lie beyond it."
        )
    if study.config.systems:
        sentences.append(f"Nothing was searched for {', '.join(study.config.systems)}: they have the flags of the study file.")
    return sentences


def choices_at_an_end(tuning: Study, rows: Sequence[Row]) -> dict[tuple[str, str, str], list[str]]:
    """Return the designs that chose the smallest or largest of three or more values of a flag, by flag, value and end."""
    config = tuning.config
    found: dict[tuple[str, str, str], list[str]] = {}
    for (_, design), row in zip(tuned_scores(tuning), rows, strict=True):
        tried = {name: flags_of(config, name, design) for name in config.recipes}
        if row.chosen not in tried:
            continue
        for flag, value in tried[row.chosen].items():
            values = [float(flags[flag]) for flags in tried.values() if isinstance(flags.get(flag), int | float)]
            if len(set(values)) < 3 or not isinstance(value, int | float):
                continue
            for end, of_end in (("smallest", min(values)), ("largest", max(values))):
                if value == of_end:
                    found.setdefault((flag, str(value), end), []).append(row.design)
    return found


def cost_seconds(tuning: Study) -> float:
    """Return the seconds of training and scoring of the search's finished runs."""
    return sum(taken(cell).seconds for cell in tuning.cells if cell.done)


def tuning_markdown(study: Study, tuning: Study) -> str:
    """Return the search as text: a row a design, a column a setting."""
    settings = in_order(tuning)
    head = head_of(settings)
    lines = [f"## Tuning\n\n{budget_line(tuning)}.\n", row_of(head), "|" + "---|" * len(head)]
    rows = rows_of(study, tuning)
    for row in rows:
        lines.append(row_of(cells_of(row, settings, len(study.config.seeds))))
    lines += ["", " ".join(["Mean main scores over tasks.", *remarks(study, tuning, rows)])]
    return "\n".join(lines)


def number(value: float) -> str:
    """Return a score as text."""
    if value == -math.inf:
        return "diverged"
    return f"{value:.4f}" if math.isfinite(value) else "–"


def row_of(cells: list[str]) -> str:
    """Return a row of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def save_tuning(study: Study, tuning: Study) -> list[Path]:
    """Write ``tuning.json``, ``tuning.md`` and the curve over settings beside the report; return them."""
    rows = rows_of(study, tuning)
    content: dict[str, Any] = {
        "settings": tuning.config.recipes,
        "development_tasks": list(tuning.inputs.tasks),
        "seed": tuning.config.seeds[0],
        "seconds": round(cost_seconds(tuning), 1),
        "designs": [finite(asdict(row)) for row in rows],
    }
    folder = study.output_dir / "report"
    with replacing_together(folder, LAST) as aside:
        (aside / "tuning.md").write_text(tuning_markdown(study, tuning) + "\n", encoding="utf-8")
        with style():
            svg, png = draw_panels([panel_of(rows, in_order(tuning))], series_of(row.design for row in rows))
        (aside / "tuning.svg").write_text(svg, encoding="utf-8")
        (aside / "tuning.png").write_bytes(png)
        (aside / LAST).write_text(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    return [folder / name for name in ("tuning.md", "tuning.svg", "tuning.png", LAST)]


def tuning_finding(study: Study, tuning: Study) -> Finding:
    """Return the search as the report shows it."""
    rows, settings = rows_of(study, tuning), in_order(tuning)
    sentences = [f"{capitalised(budget_line(tuning))}.", *remarks(study, tuning, rows)]
    table = [cells_of(row, settings, len(study.config.seeds)) for row in rows]
    caption = "Mean score over the development tasks by setting; a ring marks the setting that was chosen for a design."
    return Finding("Tuning", sentences, caption, [panel_of(rows, settings)], head_of(settings), table)


def panel_of(rows: Sequence[Row], settings: list[str]) -> Panel:
    """Return the development score of each design over the settings; runs that diverged or have no score are left out."""
    curves = []
    for row in rows:
        known = [name for name in settings if math.isfinite(row.development.get(name, math.nan))]
        if known:
            places = [float(settings.index(name)) for name in known]
            values = [[row.development[name]] for name in known]
            marked = known.index(row.chosen) if row.chosen in known else None
            curves.append(Curve(row.design, places, values, marked=marked))
    return Panel("", "setting", "mean development score", curves, ticks=settings)


def head_of(settings: Sequence[str]) -> list[str]:
    """Return the columns of the search's table."""
    return ["design", *(f"{name}: development" for name in settings), "chosen", "test, common setting", "test, chosen setting"]


def cells_of(row: Row, settings: Sequence[str], seeds: int) -> list[str]:
    """Return a row of the search's table; a mean of fewer runs than the study has seeds says so."""
    scores = [number(row.development.get(name, math.nan)) for name in settings]
    shown = []
    for value, runs in ((row.common, row.common_runs), (row.best, row.best_runs)):
        shown.append(f"{number(value)} ({runs} of {seeds} runs)" if 0 < runs < seeds else number(value))
    return [row.design, *scores, row.chosen or "not yet", *shown]


def capitalised(sentence: str) -> str:
    """Return a sentence that begins with a capital letter."""
    return sentence[:1].upper() + sentence[1:]


def finite(value: object) -> object:
    """Return a value with null for numbers that JSON does not have."""
    if isinstance(value, dict):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
