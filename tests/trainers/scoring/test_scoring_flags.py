"""Flags of evaluations: what would do nothing, or could not be chosen, is refused before anything is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import UserError
from trainers.flags.command_line import parse
from trainers.scoring.checks import check_evaluation


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"load_best_model_at_end": True}, "--load_best_model_at_end does nothing without --eval_dataset or --eval_tasks"),
        ({"early_stopping_patience": 2}, "--early_stopping_patience does nothing without --eval_dataset or --eval_tasks"),
        ({"eval_tasks": "T", "eval_strategy": "no"}, "--eval_tasks would not be used with --eval_strategy no"),
        ({"eval_tasks": "nowhere/Task"}, "nowhere/Task: there is no such folder; give the folder of a task"),
        ({"eval_tasks": ["T"], "metric_for_best_model": "mean"}, "--metric_for_best_model chooses nothing"),
        ({"eval_tasks": "T", "early_stopping_threshold": 0.1}, "--early_stopping_threshold does nothing without"),
        ({"eval_tasks": "T", "load_best_model_at_end": True}, "each epoch: give --save_strategy epoch, or --eval_steps N"),
        (
            {"eval_tasks": "T", "load_best_model_at_end": True, "eval_steps": 30.0, "save_steps": 20.0},
            "evaluations come every 30 steps and checkpoints every 20: give --save_steps 30",
        ),
        (
            {"eval_tasks": "T", "load_best_model_at_end": True, "eval_steps": 30.0},
            "checkpoints every 500: give --save_steps 30",
        ),
        (
            {"eval_tasks": "T", "load_best_model_at_end": True, "eval_steps": 0.1, "save_steps": 0.05},
            "evaluations come every 0.1 steps",
        ),
        (
            {"eval_tasks": "T", "load_best_model_at_end": True, "eval_steps": 30.0, "save_strategy": "no"},
            "evaluated every 30 steps: give --save_strategy steps --save_steps 30",
        ),
    ],
)
def test_refused(flags: dict[str, object], words: str) -> None:
    with pytest.raises(UserError) as refused:
        check_evaluation(flags, set(flags))
    assert words in str(refused.value)


@pytest.mark.parametrize(
    "flags",
    [
        {"eval_steps": 40.0, "save_steps": 20.0},
        {"eval_steps": 0.1, "save_steps": 0.1},
        {"eval_strategy": "epoch", "save_strategy": "epoch"},
        {"save_strategy": "epoch"},
    ],
)
def test_evaluations_that_meet_checkpoints(flags: dict[str, object]) -> None:
    check_evaluation({"eval_tasks": ["T", "paper/STS"], "load_best_model_at_end": True, **flags}, set(flags))


def test_the_flags_are_ours_and_trainer_is_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainer would look for its own files in the best checkpoint, and delete others."""
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    argv = ["--dataset_name", "d", "--model_name_or_path", "m", "--output_dir", str(tmp_path / "out"), "--eval_tasks", "T", "U"]
    argv += ["--eval_steps", "5", "--save_steps", "5", "--load_best_model_at_end", "--early_stopping_patience", "3"]
    config = parse(argv, design="model3")
    assert config.scoring.tasks == ("T", "U") and config.scoring.load_best_model_at_end
    assert (config.training.eval_strategy, config.training.load_best_model_at_end) == ("steps", False)
    assert config.record()["eval_tasks"] == ["T", "U"] and config.record()["early_stopping_patience"] == 3
