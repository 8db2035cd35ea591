"""Scores as files in ``.eval_results/``, a file for each task: what the hub's leaderboards read, as mteb writes them.

mteb itself (``ModelMeta.push_eval_results``) sends such files for the models of its own table alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import yaml

from model_loaders.export.facts.results import Score

FOLDER = ".eval_results"
OF_A_FOLDER = "local-"  # how revisions of task folders begin
SOURCE = "https://github.com/embeddings-benchmark/mteb/"


def write_eval_files(scores: Sequence[Score], folder: Path) -> None:
    """Write the scores of tasks whose data have a name on the hub; a score is in percent there."""
    by_task: dict[str, list[Score]] = {}
    for score in scores:
        if "/" in score.dataset and score.revision and not score.revision.startswith(OF_A_FOLDER):
            by_task.setdefault(score.task, []).append(score)
    for task, of_task in by_task.items():
        entries = [entry_of(score) for score in of_task]
        path = folder / FOLDER / f"{re.sub(r'[^A-Za-z0-9._-]', '_', task)}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump(entries, sort_keys=False, allow_unicode=True), encoding="utf-8")


def entry_of(score: Score) -> dict[str, object]:
    """Return a score as mteb writes it."""
    notes = "Obtained using MTEB"
    if score.mteb:
        notes += f" v{score.mteb}"
    return {
        "dataset": {
            "id": score.dataset,
            "task_id": f"{score.task}_{score.subset}_{score.split}",
            "revision": score.revision,
        },
        "value": round(100 * score.value, 5),
        "notes": notes,
        "source": {"url": SOURCE, "name": notes},
    }
