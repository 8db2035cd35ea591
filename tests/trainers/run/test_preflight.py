"""Data that a run would learn or measure nothing on are refused before a model is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from common.errors import UserError
from tests.tiny import new_model
from tests.trainers.commands import arguments
from trainers.flags.command_line import parse
from trainers.run.banner import negatives_text
from trainers.run.build import build_trainer, read_data
from trainers.run.trainer import evaluation_means
from trainers.step.batch import TripletCollator


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(base: Path, folder: Path, *more: str) -> Any:
    return read_data(parse(arguments(base, folder, *more), design="model1"))


# SimCSE


def test_simcse_without_other_texts_is_refused(base: Path, tmp_path: Path) -> None:
    """By the flag, and by one data set of several: a query whose only candidate is itself has the loss 0."""
    with pytest.raises(UserError, match=r"rows: .*in_batch_negatives false leaves it alone"):
        read(base, tmp_path, "--objective", "simcse", "--in_batch_negatives", "false")
    rows = tmp_path / "rows.jsonl"
    other = written(tmp_path / "other.jsonl", [{"query": "word1", "positive": "word2", "negative": "word3"}] * 3)
    mix = tmp_path / "mix.yaml"
    mix.write_text(yaml.safe_dump([{"name": str(rows)}, {"name": str(other), "in_batch_negatives": False}]))
    argv = arguments(base, tmp_path, "--dataset_config", str(mix))
    place = argv.index("--dataset_name")
    argv = argv[:place] + argv[place + 2 :]
    read_data(parse(argv, design="model1"))
    with pytest.raises(UserError, match=r"other: .*in_batch_negatives"):
        read_data(parse([*argv, "--objective", "simcse"], design="model1"))


def test_negatives_that_simcse_does_not_read_make_no_batch(base: Path, tmp_path: Path) -> None:
    one = ("--per_device_train_batch_size", "1")
    read(base, tmp_path, *one)
    with pytest.raises(UserError, match=r"one query and no negatives.*raise --per_device_train_batch_size, or mix"):
        read(base, tmp_path, *one, "--objective", "simcse")


def test_the_banner_counts_what_simcse_reads(base: Path) -> None:
    model = new_model("model1", base)
    rows = [{"query": f"word{k}", "positive": "word9", "negatives": ["word7"]} for k in range(4)]
    read_by = {own: TripletCollator(model.tokenizer, model.recipe, own_positive=own).as_read(rows) for own in (False, True)}
    assert negatives_text(read_by[False], 4).startswith("7 a query: 1 hard")
    assert negatives_text(read_by[True], 4) == "3 a query: 0 hard ones of its own, 3 positives and 0 hard ones of others"


# Evaluation rows


def test_simcse_is_evaluated_on_pairs(base: Path, tmp_path: Path, unplanned: None) -> None:
    """A text finds itself without dropout, whatever was learned; so the held-out queries look for their positives."""
    held = [{"query": f"word{k}", "positive": f"word{(7 * k + 3) % 50} word{k + 20}"} for k in range(8)]
    path = written(tmp_path / "held.jsonl", held)
    argv = arguments(base, tmp_path, "--objective", "simcse", "--lora_dropout", "0.1", "--eval_dataset", str(path))
    trainer = build_trainer(parse(argv, design="model1"))
    loss, accuracy = trainer.held_out(trainer.eval_dataset)
    rows = [{**row, "negatives": []} for row in held]
    collator = TripletCollator(trainer.model.tokenizer, trainer.model.recipe)
    assert (loss, accuracy) == evaluation_means(trainer.contrastive_step, trainer.model, [collator(rows)])
    assert accuracy < 1.0


@pytest.mark.parametrize("objective", ["contrastive", "simcse"])
def test_single_texts_are_not_evaluated(base: Path, tmp_path: Path, objective: str) -> None:
    path = written(tmp_path / "held.jsonl", [{"text": f"word{k} word{k + 1}"} for k in range(4)])
    evaluated = ("--eval_dataset", str(path))
    with pytest.raises(UserError, match=r"--eval_dataset held: 4 rows are one text .* always finds itself"):
        read(base, tmp_path, "--objective", objective, *evaluated)
    mntp = arguments(base, tmp_path, "--objective", "mntp", *evaluated)
    read_data(parse(mntp, design="bidirectional_mean"))


def test_queries_that_are_evaluated_alone(base: Path, tmp_path: Path) -> None:
    row = {"query": "word1", "positive": "word2"}
    pairs, single = written(tmp_path / "pairs.jsonl", [row] * 3), written(tmp_path / "single.jsonl", [row])
    hard = written(tmp_path / "hard.jsonl", [{**row, "negative": "word3"}])
    one = ("--per_device_eval_batch_size", "1")
    for given in ((str(pairs), *one), (str(single),)):
        with pytest.raises(UserError, match=r"one query and no negatives.*--per_device_eval_batch_size"):
            read(base, tmp_path, "--eval_dataset", *given)
    read(base, tmp_path, "--eval_dataset", str(hard), *one)
    read(base, tmp_path, "--eval_dataset", str(pairs))
