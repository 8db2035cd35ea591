"""The figures of a run that was stopped and goes on are those of an undisturbed one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.trainers.commands import arguments
from trainers.run.stopping import StopRequest
from trainers.train import main

FIGURES = ("loss", "accuracy", "excluded", "truncated_queries", "truncated_documents", "train_loss")


def train(base: Path, folder: Path, *more: str) -> int:
    folder.mkdir(exist_ok=True)
    flags = arguments(base, folder, "--max_steps=9", "--logging_steps=4", "--save_strategy=steps", "--save_steps=3", *more)
    return main(flags, design="model1")


def figures(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "out" / "metrics.jsonl").read_text().splitlines()]
    return [{"step": line["step"], **{name: line[name] for name in FIGURES if name in line}} for line in lines]


@pytest.mark.parametrize("stops", [(3,), (6,), (3, 6), (5,)])  # a stop at step 5 saves there
def test_the_loss_of_a_resumed_run(base: Path, tmp_path: Path, stops: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    assert train(base, tmp_path / "whole") == 0
    from trainers.run import checkpoint_callback

    original = checkpoint_callback.CheckpointCallback.on_step_end
    for stop in stops:
        with monkeypatch.context() as patch:

            def stopping(self: Any, args: Any, state: Any, control: Any, *, at: int = stop, **kwargs: Any) -> None:
                request: StopRequest = self.stop
                request.requested = 15 if state.global_step == at else 0
                original(self, args, state, control, **kwargs)

            patch.setattr(checkpoint_callback.CheckpointCallback, "on_step_end", stopping)
            assert train(base, tmp_path / "run", "--resume_from_checkpoint=true") == 143
    assert train(base, tmp_path / "run", "--resume_from_checkpoint=true") == 0
    assert figures(tmp_path / "run") == figures(tmp_path / "whole")
    results = [json.loads((tmp_path / name / "out" / "train_result.json").read_text()) for name in ("run", "whole")]
    assert results[0]["train_loss"] == results[1]["train_loss"] == figures(tmp_path / "whole")[-1]["train_loss"]


def test_an_older_checkpoint_claims_no_loss(base: Path, tmp_path: Path) -> None:
    assert train(base, tmp_path / "run") == 0
    for seal in (tmp_path / "run" / "out").glob("checkpoint-*/checkpoint.json"):
        content = json.loads(seal.read_text())
        del content["sums"]
        seal.write_text(json.dumps(content))
    (tmp_path / "run" / "out" / "train_result.json").unlink()
    assert train(base, tmp_path / "run", "--resume_from_checkpoint=true", "--max_steps=10") == 0
    assert "train_loss" not in json.loads((tmp_path / "run" / "out" / "train_result.json").read_text())
