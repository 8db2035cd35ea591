"""The files of a run and its tables: ``probes.json``, ``probes.md`` and a plot of each probe, all or none of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from common.files import replacing_together
from comparison.findings import Finding
from comparison.report.plots.drawing import style
from study.probes.plots import draw, panels_of
from study.probes.result import Outcome

LAST = "probes.json"  # moved last: where it is new, all files are
DEFINITION = "docs/probes.md#{} of the project says what is measured, and its source."
HEADINGS = {"massive": "massive-activations"}  # of docs/probes.md, where a probe has another name there


def save(outcomes: Sequence[Outcome], facts: dict[str, Any], folder: Path) -> list[Path]:
    """Write the files of a run; return them.

    Args:
        outcomes: of all probes and models.
        facts: corpus, seed and the like, for the file.
        folder: gets them.
    """
    names = []
    with replacing_together(folder, LAST) as aside:
        for probe in probes_of(outcomes):
            results = {outcome.model: outcome.result for outcome in outcomes if outcome.probe == probe and outcome.result}
            if not results:
                continue
            with style():
                svg, png = draw(results)
            (aside / f"{probe}.svg").write_text(svg, encoding="utf-8")
            (aside / f"{probe}.png").write_bytes(png)
            names += [f"{probe}.svg", f"{probe}.png"]
        (aside / "probes.md").write_text(as_markdown(outcomes), encoding="utf-8")
        content = json.dumps(as_json(outcomes, facts), indent=1, ensure_ascii=False, allow_nan=False)
        (aside / LAST).write_text(content + "\n", encoding="utf-8")
    return [folder / name for name in [*names, "probes.md", LAST]]


def as_json(outcomes: Sequence[Outcome], facts: dict[str, Any]) -> dict[str, Any]:
    """Return the results by model and probe."""
    models: dict[str, dict[str, Any]] = {}
    for outcome in outcomes:
        entry: dict[str, Any] = {"failure": outcome.failure}
        if outcome.result is not None:
            entry = outcome.result.to_json(outcome.cost)
        models.setdefault(outcome.model, {})[outcome.probe] = entry
    return {**facts, "models": models}


def probes_of(outcomes: Sequence[Outcome]) -> list[str]:
    """Return the names of the probes that ran, in order."""
    return list(dict.fromkeys(outcome.probe for outcome in outcomes))


def probe_findings(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Return a finding a probe, as a study's report takes it: notes, panels, a row of figures for each model."""
    found = []
    for probe in probes_of(outcomes):
        of_probe = [outcome for outcome in outcomes if outcome.probe == probe]
        results = {outcome.model: outcome.result for outcome in of_probe if outcome.result}
        names = list(dict.fromkeys(figure.name for result in results.values() for figure in result.figures))
        rows = []
        for model, result in results.items():
            shown = {figure.name: figure.shown() for figure in result.figures}
            rows.append([model, *(shown.get(name, "–") for name in names)])
        found.append(
            asdict(
                Finding(
                    f"Probe: {probe.replace('_', ' ')}",
                    [definition(probe), *notes_of(of_probe)],
                    "Bands are 95 % intervals over texts; they say nothing of another training run.",
                    panels_of(results),
                    ["system", *names],
                    rows,
                )
            )
        )
    return found


def definition(probe: str) -> str:
    """Return the sentence on where a probe is defined."""
    return DEFINITION.format(HEADINGS.get(probe, probe.replace("_", "-")))


def notes_of(outcomes: Sequence[Outcome]) -> list[str]:
    """Return what was left out, and why, each once with the models that it is true of."""
    models: dict[str, list[str]] = {}
    for outcome in outcomes:
        for note in [outcome.failure] if outcome.result is None else outcome.result.notes:
            models.setdefault(note, []).append(outcome.model)
    sentences = []
    for note, of_note in models.items():
        who = "all systems" if len(of_note) == len(outcomes) else ", ".join(of_note)
        sentences.append(f"{who}: {note}")
    return sentences


def as_markdown(outcomes: Sequence[Outcome]) -> str:
    """Return a table a probe: a row a figure, a column a model; below it the notes and what it cost."""
    parts = ["Each figure with its 95 % interval over texts.\n"]
    for probe in probes_of(outcomes):
        of_probe = [outcome for outcome in outcomes if outcome.probe == probe]
        parts += table_of(probe, of_probe)
    return "\n".join(parts)


def table_of(probe: str, outcomes: Sequence[Outcome]) -> list[str]:
    """Return the lines of one probe."""
    done = [outcome for outcome in outcomes if outcome.result is not None]
    lines = [f"## {probe.replace('_', ' ')}\n"]
    rows: dict[str, dict[str, str]] = {}
    for outcome in done:
        assert outcome.result is not None
        for figure in outcome.result.figures:
            rows.setdefault(figure.name, {})[outcome.model] = figure.shown()
    if done:
        models = [outcome.model for outcome in done]
        lines += [row_of("", models), "|" + "---|" * (len(models) + 1)]
        for name, cells in rows.items():
            lines.append(row_of(name, [cells.get(model, "–") for model in models]))
        lines.append("")
    for outcome in outcomes:
        notes = [outcome.failure] if outcome.result is None else [*outcome.result.notes, outcome.cost.shown()]
        lines += [f"- {outcome.model}: {note}" for note in notes]
    return [*lines, ""]


def row_of(first: str, cells: Sequence[str]) -> str:
    """Return a row of a Markdown table."""
    escaped = [cell.replace("|", r"\|") for cell in (first, *cells)]
    return f"| {' | '.join(escaped)} |"
