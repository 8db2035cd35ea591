"""Results of a run of probes that was stopped, a file for each model: the next run goes on behind them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from common.files import write_whole
from common.hashes import digest
from study.probes.result import Cost, Curve, Estimate, Figure, Outcome, Panel, ProbeResult

FOLDER = "unfinished"  # below that of the results, until those are written


@dataclass(frozen=True)
class Kept:
    """The files of a run.

    Attributes:
        folder: of the results.
        key: hash of all but the model that decides them: settings, corpus, definitions.
    """

    folder: Path
    key: str

    def read(self, model: str, version: str) -> list[Outcome] | None:
        """Return what a stopped run found on a model; None where it found nothing, or half a file.

        Args:
            model: its name in the results.
            version: hash of its weights.
        """
        try:
            entries = json.loads(self._path(model, version).read_bytes())  # its NaN and Infinity are no JSON
            return [outcome_of(entry) for entry in entries]
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, model: str, version: str, outcomes: Sequence[Outcome]) -> None:
        """Keep what was found on a model."""
        path = self._path(model, version)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps([asdict(outcome) for outcome in outcomes], default=float))

    def remove(self) -> None:
        """Remove the files: the results are written."""
        shutil.rmtree(self.folder / FOLDER, ignore_errors=True)

    def _path(self, model: str, version: str) -> Path:
        return self.folder / FOLDER / f"{digest([self.key, model, version], 32)}.json"


def outcome_of(entry: dict[str, Any]) -> Outcome:
    """Return the outcome that `dataclasses.asdict` made a dictionary of."""
    result = entry["result"]
    if result is not None:
        figures = [Figure(figure["name"], Estimate(**figure["estimate"]), figure["note"]) for figure in result["figures"]]
        panels = [panel_of(panel) for panel in result["panels"]]
        result = ProbeResult(result["texts"], figures, panels, result["notes"], result["matrices"])
    return Outcome(entry["model"], entry["probe"], result, entry["failure"], Cost(**entry["cost"]))


def panel_of(entry: dict[str, Any]) -> Panel:
    """Return the panel of a dictionary."""
    curves = []
    for curve in entry["curves"]:
        estimates = tuple(Estimate(**estimate) for estimate in curve["estimates"])
        curves.append(Curve(curve["name"], tuple(curve["x"]), estimates))
    return Panel(entry["title"], entry["x_name"], entry["y_name"], tuple(curves), entry["logarithmic"])
