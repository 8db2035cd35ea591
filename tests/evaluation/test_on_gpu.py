"""Evaluation on a GPU gives the CPU's scores."""

from __future__ import annotations

import json
from pathlib import Path

from model_loaders.saving import save
from tests.evaluation.conftest import make_tasks
from tests.evaluation.test_cli import script
from tests.on_gpu import needs_gpu
from tests.tiny import ROOT, new_model

pytestmark = needs_gpu


def test_scores_of_the_cpu(base: Path, tmp_path: Path) -> None:
    data = make_tasks(tmp_path / "data")
    adapter = tmp_path / "adapter"
    save(new_model("model5", base), adapter)
    scores = {}
    for device in ("cpu", "cuda"):
        out = tmp_path / device
        done = script(
            ROOT / "run_mteb.py", "--adapter_path", adapter, "--base_model", base, "--data_dir", data, "--device", device,
            "--dtype", "float32", "--tasks", *sorted(folder.name for folder in data.iterdir()), "--output_dir", out,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
        found = [json.loads(path.read_text()) for path in out.rglob("*.json")]
        results = [one for one in found if "task_name" in one and "scores" in one]
        scores[device] = {one["task_name"]: next(iter(one["scores"].values()))[0]["main_score"] for one in results}
    assert len(scores["cpu"]) >= 6
    assert scores["cpu"].keys() == scores["cuda"].keys()
    assert all(abs(scores["cpu"][task] - scores["cuda"][task]) < 0.02 for task in scores["cpu"]), scores
