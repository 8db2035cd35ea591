"""Before its first step a run says what it is, in figures that are counted, not guessed."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from common.errors import UserError
from tests.trainers.commands import SMALL, arguments
from trainers.flags.command_line import parse
from trainers.run.banner import banner, negatives_text, tokens_of
from trainers.run.build import build_trainer
from trainers.step.gather import ProcessGroup


def told(base: Path, folder: Path, capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, str]:
    """Lines of the banner by their first word."""
    build_trainer(parse(arguments(base, folder, *SMALL, *more), design="model3"))
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    return {line[0]: line[1] for line in lines if len(line) == 2}


def test_the_lines(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = told(base, tmp_path, capsys, "--data_seed", "7", "--pooling_learning_rate", "0.5")
    assert said["batch"] == "4 queries (4 x 1 processes)"
    assert said["negatives"] == "7 a query: 1 hard ones of its own, 3 positives and 3 hard ones of others"
    assert re.fullmatch(r"LoRA [\d,]+, pooling [\d,]+", said["trainable"])
    assert re.match(r"\S+ MB: weights .*optimizer .*activations", said["memory"])
    assert said["seeds"] == "42, data 7"
    assert said["engine"] == "one process, mixed precision no"
    assert "of the pooling 0.5" in said["optimizer"]
    assert "transformers" in said["versions"]
    assert "note" not in said


def test_accumulating_is_no_larger_batch(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = told(base, tmp_path, capsys)
    said = told(base, tmp_path, capsys, "--gradient_accumulation_steps", "2")
    assert said["batch"] == "4 queries (4 x 1 processes) x 2 batches an optimizer step"
    assert said["negatives"] == plain["negatives"]
    assert "adds no negatives" in said["note"]


def test_tokens_are_counted(base: Path, tmp_path: Path) -> None:
    trainer = build_trainer(parse(arguments(base, tmp_path), design="model1"))
    rows = [{"query": "word1", "positive": "word1 word2", "negatives": []}] * 4
    # BOS and EOS too: 3 and 4 tokens a row; all in one group, padded to 4.
    real, padding = tokens_of(trainer, rows)
    assert real == 7 and padding == pytest.approx(8 / 7 - 1)
    chunker = replace(trainer.contrastive_step.chunker, chunk_tokens=4)  # each text for itself
    trainer.contrastive_step = replace(trainer.contrastive_step, chunker=chunker)
    assert tokens_of(trainer, rows) == (7, 0)


def test_negatives_follow_the_switches() -> None:
    rows = [{"negatives": ["a", "b"]}, {"negatives": ["c", "d"], "in_batch": False}]
    assert negatives_text(rows[:1], 4) == "11 a query: 2 hard ones of its own, 3 positives and 6 hard ones of others"
    assert negatives_text(rows[1:], 4) == "2 hard ones of its own a query, none of the batch"
    assert negatives_text(rows, 4).endswith("; 50% of the queries have 2 hard ones of its own alone")


def test_negatives_stay_within_a_process(base: Path, tmp_path: Path) -> None:
    config = parse(arguments(base, tmp_path), design="model1")
    trainer = build_trainer(config)
    trainer.contrastive_step = replace(trainer.contrastive_step, processes=ProcessGroup(2))
    assert "15 a query" in banner(trainer)
    trainer.contrastive_step = replace(trainer.contrastive_step, processes=ProcessGroup(2, share_negatives=False))
    assert "7 a query" in banner(trainer)


def test_a_plan_that_fails_does_not_end_the_run(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import trainers.memory.plan

    def fails(*_: object) -> None:
        raise NotImplementedError("no sizes without values")

    monkeypatch.setattr(trainers.memory.plan, "plan_training", fails)
    assert "not planned (NotImplementedError: no sizes without values)" in told(base, tmp_path, capsys)["memory"]


def test_the_record_holds_no_dry_run(base: Path, tmp_path: Path) -> None:
    assert "dry_run" not in json.dumps(parse(arguments(base, tmp_path, "--dry_run"), design="model1").resolved())


def test_packing_is_said_or_refused(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packed = "padding, left out of all but attention and pooling"
    assert packed in told(base, tmp_path, capsys, "--packing", "on")["tokens"]
    assert packed not in told(base, tmp_path, capsys, "--packing", "off")["tokens"]
    with pytest.raises(UserError, match="--packing on cannot be honoured"):
        told(base, tmp_path, capsys, "--packing", "on", "--gradient_checkpointing")
    assert packed not in told(base, tmp_path, capsys, "--gradient_checkpointing")["tokens"]
