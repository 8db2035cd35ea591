"""A run that cannot fit its memory is stopped before its first step; one that would not fit whole takes chunks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.tiny import triplets
from tests.trainers.commands import arguments
from trainers.run import fit
from trainers.train import main

MB = 10**6


def rows_of_lengths(folder: Path) -> None:
    """Texts long enough that chunks of them differ from the whole batch."""
    lines = []
    for row in triplets(32):
        long = {"query": row["query"] + " word1" * 150, "positive": row["positive"] + " word2" * 200}
        lines.append(json.dumps({**long, "negative": ["word3 " * 220 + row["negatives"][0]]}))
    (folder / "rows.jsonl").write_text("\n".join(lines) + "\n")


def run(base: Path, folder: Path, *more: str) -> int:
    folder.mkdir(exist_ok=True)
    flags = arguments(base, folder, "--per_device_train_batch_size=16", "--max_steps=2", "--max_seq_length=256", *more)
    rows_of_lengths(folder)
    return main(flags, design="model1")


def record(folder: Path) -> object:
    return json.loads((folder / "out" / "train_config.json").read_text())["chunk_tokens"]


def test_chunks_are_chosen_where_the_batch_does_not_fit(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(base, tmp_path / "whole") == 0
    assert record(tmp_path / "whole") is None
    assert "were chosen" not in capsys.readouterr().out
    monkeypatch.setattr(fit, "free_memory", lambda device: 20 * MB)
    assert run(base, tmp_path / "chunks", "--save_strategy=steps", "--save_steps=1") == 0
    text = capsys.readouterr().out
    tokens = record(tmp_path / "chunks")
    assert isinstance(tokens, int) and tokens < 48 * 256
    assert f"chunks of {tokens} tokens were chosen" in text and "20.0 MB are free" in text
    monkeypatch.undo()
    (tmp_path / "chunks" / "out" / "train_result.json").unlink()
    assert run(base, tmp_path / "chunks", "--save_strategy=steps", "--resume_from_checkpoint=true", "--max_steps=3") == 0
    assert record(tmp_path / "chunks") == tokens  # the numbers of a run do not change when it goes on


@pytest.mark.parametrize(("words", "free"), [(["--chunk_tokens=8192"], 12 * MB), (["--chunk_tokens=none"], 12 * MB), ([], MB)])
def test_a_run_that_cannot_fit_is_stopped(
    words: list[str], free: int, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit, "free_memory", lambda device: free)
    assert run(base, tmp_path, *words) == 1
    error = capsys.readouterr().err
    assert "does not fit" in error and "activations" in error and "free on cpu" in error
    assert "--per_device_train_batch_size 8" in error and "--gradient_checkpointing" in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("design", "words", "told"),
    [
        ("bidirectional_mean", ["--train=full"], ["--train lora", "--last_layers"]),
        ("model4", ["--train=pooling", "--pooling_latents=512"], ["a smaller pooling"]),
        ("model1", ["--lora_r=64"], ["a smaller --lora_r"]),
    ],
)
def test_a_smaller_batch_is_no_advice_where_the_trained_weights_do_not_fit(
    design: str,
    words: list[str],
    told: list[str],
    base: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Gradients and the optimizer's state are there whatever the batch and its chunks."""
    monkeypatch.setattr(fit, "free_memory", lambda device: MB // 8)
    assert main(arguments(base, tmp_path, *words), design=design) == 1
    error = capsys.readouterr().err
    assert "the weights that are trained do not fit the memory" in error and all(flag in error for flag in told)
    assert "--chunk_tokens" not in error and "--per_device_train_batch_size" not in error
    assert ("--train lora" in error) == (words == ["--train=full"]) and "FSDP2" not in error  # on a CPU
    assert not (tmp_path / "out").exists()


def test_a_users_number_wins(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(base, tmp_path, "--chunk_tokens=1024") == 0
    assert record(tmp_path) == 1024
