"""A cell's record of scores names files of its own folder only: what lies elsewhere is not this cell's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from common.errors import UserError
from study.cell_progress import read_scores, try_scores
from study.cells import Cell


def cell_with(folder: Path, **changes: Any) -> Cell:
    results = "evaluation/results/ours/1"
    content = {
        "evaluation": "key",
        "results": results,
        "scores": {"Words": {"score": 0.5, "metric": "ndcg_at_10", "items": f"{results}/items/Words.jsonl.gz"}},
        "untrained": {},
    }
    folder.mkdir()
    (folder / "scores.json").write_text(json.dumps({**content, **changes}))
    return Cell(0, "cell", "system", "baseline", "tfidf", None, "base", "", folder, "key")


def test_a_record_of_its_own_folder_is_read(tmp_path: Path) -> None:
    cell = cell_with(tmp_path / "cell")
    assert cell.done and not cell.reason and read_scores(cell)["scores"]["Words"]["score"] == 0.5


@pytest.mark.parametrize(
    "changes",
    [
        {"results": "../other/evaluation/results/ours/1"},
        {"results": "/elsewhere"},
        {"results": None},
        {"scores": {"Words": {"score": 0.5, "items": "../other/items/Words.jsonl.gz"}}},
        {"scores": {"Words": {"score": 0.5, "items": "/elsewhere/Words.jsonl.gz"}}},
        {"scores": {"../../Words": {"score": 0.5}}},
        {"untrained": {"Words": {"score": 0.5, "items": "../items/Words.jsonl.gz"}}},
        {"scores": ["Words"]},
        {"scores": {"Words": 0.5}},
    ],
)
def test_a_record_that_points_outside_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    """The headline table, the plan and study.json joined such paths to the folder and read what they found."""
    cell = cell_with(tmp_path / "cell", **changes)
    assert cell.state == "unfinished" and "scores.json" in cell.reason and "delete the file" in cell.reason
    assert try_scores(cell) == {}
    with pytest.raises(UserError, match=r"scores\.json"):
        read_scores(cell)
