"""Runs that learn a teacher's scores: read from the data, used, missed, and gone on with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from common.errors import UserError
from tests.tiny import triplets
from tests.trainers.checkpoints.tools import metrics, weights
from tests.trainers.conftest import Command
from trainers.flags.command_line import parse
from trainers.run.build import build_trainer, read_data
from trainers.train import main
from triplets.triplet import ReadReport, triplets_of

pytestmark = pytest.mark.usefixtures("unplanned")


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scored") / "rows.jsonl"
    lines = []
    for number, row in enumerate(triplets(6, negatives=2)):
        content = {"query": row["query"], "positive": row["positive"], "negative": row["negatives"]}
        lines.append(json.dumps({**content, "scores": [0.9, 0.1 * number, 0.2]}))
    path.write_text("\n".join(lines) + "\n")
    return path


def loss_of(argv: list[str]) -> float:
    trainer = build_trainer(parse(argv, design="model3"))
    trainer.current_gradient_accumulation_steps = 1
    return float(trainer.training_step(trainer.model, next(iter(trainer.get_train_dataloader()))))


def test_flags_act(command: Command, scored: Path, tmp_path: Path) -> None:
    every = [
        {}, {"distillation": "kl"}, {"distillation": "margin_mse"}, {"distillation": "kl", "distillation_share": 0.5},
        {"distillation": "kl", "teacher_temperature": 0.1},
    ]  # fmt: skip
    losses = []
    for number, flags in enumerate(every):
        common = {"dataset_name": scored, "lora_dropout": 0, "resume_from_checkpoint": None}
        losses.append(loss_of(command(tmp_path / str(number), **common, **flags)))
    assert len(set(losses)) == len(losses)


def test_goes_on_to_the_same_weights(command: Command, scored: Path, tmp_path: Path) -> None:
    flags = {"dataset_name": scored, "distillation": "kl", "distillation_share": 0.5}
    for name in ("whole", "killed"):
        assert main(command(tmp_path / name, **flags), design="model3") == 0
    for name in ("train_result.json", "embedder.json"):
        (tmp_path / "killed" / name).unlink()
    for name in ("checkpoint-3", "checkpoint-4"):
        shutil.rmtree(tmp_path / "killed" / name)
    assert main(command(tmp_path / "killed", **flags), design="model3") == 0
    assert weights(tmp_path / "killed") == weights(tmp_path / "whole")
    assert metrics(tmp_path / "killed") == metrics(tmp_path / "whole")


def test_rows_without_scores_are_named(command: Command, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"rows.jsonl:\d+: no teacher scores"):
        loss_of(command(tmp_path / "run", distillation="kl", resume_from_checkpoint=None))


def test_every_row_is_looked_at_before_the_first_step(command: Command, scored: Path, tmp_path: Path) -> None:
    """A batch would meet such a row at some step."""
    lines = 5_000 * scored.read_text().splitlines(keepends=True)
    lines[20_001] = lines[20_001].replace("0.9", "NaN")
    (tmp_path / "many.jsonl").write_text("".join(lines))
    flags = {"distillation": "kl", "resume_from_checkpoint": None}
    for names in ({"dataset_name": tmp_path / "many.jsonl"}, {"dataset_name": scored, "eval_dataset": tmp_path / "many.jsonl"}):
        with pytest.raises(UserError, match=r"many.jsonl:20002: no teacher scores"):
            read_data(parse(command(tmp_path / "run", **flags, **names), design="model3"))
    with pytest.raises(UserError, match="no row has a negative"):
        read_data(parse(command(tmp_path / "run", **flags, dataset_name=scored, max_negatives=0), design="model3"))


def test_scores_are_read_where_they_fit() -> None:
    row = {"query": "q", "positive": "p", "negative": ["a", "b", "c"], "scores": [3, 2.5, 1, 0]}
    report = ReadReport()
    (triplet,) = triplets_of(row, report, 2)
    assert triplet.scores == [3.0, 2.5, 1.0] and report.ignored_keys == {}
    for scores in ([1, 2], [1, 2, 3, float("nan")], "high"):
        (other,) = triplets_of({**row, "scores": scores} if isinstance(scores, list) else {**row, "scores": [scores]}, report)
        assert other.scores is None
    assert report.ignored_keys == {"scores": 3}
