"""A run is not overwritten, and it goes on only as it was; a refusal touches nothing and trains nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from common.errors import UserError
from model_loaders.text.recipe import Recipe
from tests.tiny import ROOT
from tests.trainers.checkpoints.tools import contents, flip
from tests.trainers.conftest import POOLING, Command
from trainers.checkpoints.load import explicit
from trainers.checkpoints.resuming import check_resumable, find_checkpoint
from trainers.checkpoints.run_files import CONFIG_FILE, RESULT_FILE, checkpoints
from trainers.checkpoints.seal import RunIdentity, write_seal
from trainers.train import main

pytestmark = pytest.mark.usefixtures("unplanned")


@pytest.fixture
def refuses(capsys: pytest.CaptureFixture[str]) -> Callable[..., None]:
    """Expects a command to fail with certain parts in its error, and to change no file of the run."""

    def run(argv: list[str], output: Path, *parts: str, design: str = "model3") -> None:
        before = contents(output)
        assert main(argv, design=design) == 1
        error = capsys.readouterr().err
        assert all(part in error for part in parts), error
        assert contents(output) == before

    return run


def test_run_is_not_overwritten(finished_copy: Path, command: Command, refuses: Callable[..., None]) -> None:
    argv = command(finished_copy, resume_from_checkpoint=None)
    refuses(argv, finished_copy, "already holds a run", "--resume_from_checkpoint true")


def test_base_model_is_not_overwritten(base: Path, command: Command, tmp_path: Path, refuses: Callable[..., None]) -> None:
    copy = shutil.copytree(base, tmp_path / "base")
    refuses(command(copy, resume_from_checkpoint=None), copy, "overwritten")


def test_finished_run_is_reported(
    finished_copy: Path, command: Command, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(finished_copy)
    monkeypatch.setattr("trainers.run.train_run.build_trainer", None)  # no model is loaded for that
    assert main(command(finished_copy), design="model3") == 0
    assert "is finished" in capsys.readouterr().out
    argv = command(finished_copy, push_to_hub="true", hub_model_id="me/x", hub_base_name="owner/base")
    assert main(argv, design="model3") == 0
    told = f"nothing is sent now; this sends it: python -m model_loaders.push {finished_copy} me/x --base_name owner/base"
    assert told in capsys.readouterr().out
    assert contents(finished_copy) == before


def test_other_processes(killed_run: Path) -> None:
    with pytest.raises(UserError, match="1 processes, and this is one with 2"):
        find_checkpoint(True, killed_run, RunIdentity(processes=2))
    write_seal(killed_run / "checkpoint-4", step=4, identity=RunIdentity(processes=8, data=""))
    with pytest.raises(UserError, match="Start 8"):
        find_checkpoint(True, killed_run, RunIdentity())


@pytest.mark.parametrize(
    "flags",
    [
        {"learning_rate": 0.1},
        {"per_device_train_batch_size": 3},
        {"chunk_tokens": 3},
        {"gradient_accumulation_steps": 3},
        {"seed": 3},
        {"max_train_samples": 5},
    ],
)
def test_other_settings(finished_copy: Path, command: Command, refuses: Callable[..., None], flags: dict[str, Any]) -> None:
    refuses(command(finished_copy, **flags), finished_copy, f"--{next(iter(flags))} was")


def test_other_design(finished_copy: Path, command: Command, refuses: Callable[..., None]) -> None:
    """Its tensors have the same names and shapes."""
    refuses(command(finished_copy), finished_copy, "--design was", "model3", design="model5")


def test_fewer_steps(finished_copy: Path, command: Command, refuses: Callable[..., None]) -> None:
    refuses(command(finished_copy, max_steps=2), finished_copy, "is at step 4, and this run is to have 2")


def test_an_adapter_that_cannot_be_sent(finished_copy: Path, command: Command, refuses: Callable[..., None]) -> None:
    argv = command(finished_copy, max_steps=5, push_to_hub="true")
    refuses(argv, finished_copy, "--hub_base_name")


def edited_lora(path: Path, **options: Any) -> Path:
    """Write a LoRA file: the default one with other options."""
    path.write_text(json.dumps(json.loads((ROOT / "configs" / "lora.json").read_text()) | options))
    return path


@pytest.mark.parametrize(("option", "value"), [("lora_alpha", 800), ("use_rslora", True)])
def test_edited_lora_file(
    finished_copy: Path, command: Command, tmp_path: Path, option: str, value: Any, refuses: Callable[..., None]
) -> None:
    """The shapes of its tensors are the same."""
    record = json.loads((finished_copy / CONFIG_FILE).read_text())
    assert record["lora_config"]["lora_dropout"] == 0.3  # of the flag
    moved = edited_lora(tmp_path / "moved.json")
    assert main(command(finished_copy, lora_config=moved), design="model3") == 0
    argv = command(finished_copy, lora_config=edited_lora(moved, **{option: value}))
    refuses(argv, finished_copy, "--lora_config was", option)
    record["lora_config"][option] = value  # the weights have their own record
    (finished_copy / CONFIG_FILE).write_text(json.dumps(record))
    (finished_copy / RESULT_FILE).unlink()
    refuses(argv, finished_copy, f"its LoRA's {option} is")


def test_other_dtype(killed_run: Path, command: Command, monkeypatch: pytest.MonkeyPatch, refuses: Callable[..., None]) -> None:
    """--torch_dtype auto is another one on another machine."""
    with monkeypatch.context() as patch:
        patch.setattr("model_loaders.create.choose_dtype", lambda *_: torch.bfloat16)
        refuses(command(killed_run), killed_run, "was in float32", "in bfloat16", "--torch_dtype float32")
    assert main(command(killed_run, torch_dtype="float32"), design="model3") == 0  # the same, spelled out


def test_other_content(
    finished_copy: Path, command: Command, make_base: Callable[..., Path], tmp_path: Path, refuses: Callable[..., None]
) -> None:
    """Data, base model and tokenizer are known by their content."""
    other = tmp_path / "other.jsonl"
    row = {"query": "word1", "positive": "word2", "negative": ["word3"]}
    other.write_text((json.dumps(row) + "\n") * 6)
    words = shutil.copytree(command(finished_copy)[1], tmp_path / "words")  # the same weights, another tokenizer
    tokenizer = words / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text().replace('"word7"', '"word77"'))
    refuses(command(finished_copy, dataset_name=other), finished_copy, "the training data are not those of")
    stranger = make_base(initializer_range=0.2)
    refuses(command(finished_copy, model_name_or_path=stranger), finished_copy, "its base is")
    refuses(command(finished_copy, model_name_or_path=words), finished_copy, "its tokenizer is another one")
    # Without a checkpoint only the names can be compared.
    for path in checkpoints(finished_copy):
        shutil.rmtree(path)
    (finished_copy / RESULT_FILE).unlink()
    refuses(command(finished_copy, dataset_name=other), finished_copy, "--dataset_name was")


def test_other_start(finished_run: Path, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run that starts from an adapter knows it by its weights."""
    from_adapter = {**dict.fromkeys(POOLING), "lora_dropout": None, "max_steps": 1}

    def start(adapter: Path) -> int:
        argv = command(tmp_path / "run", peft_model_name_or_path=adapter, **from_adapter)
        return main(argv, design="model3")

    assert start(finished_run) == 0
    assert start(shutil.copytree(finished_run, tmp_path / "copy")) == 0
    assert start(finished_run / "checkpoint-1") == 1
    assert "did not start from these weights" in capsys.readouterr().err


def test_missing_optimizer(killed_run: Path) -> None:
    checkpoint = killed_run / "checkpoint-1"
    check_resumable(checkpoint, RunIdentity())
    (checkpoint / "optimizer.pt").unlink()
    with pytest.raises(UserError, match="save_only_model"):
        check_resumable(checkpoint, RunIdentity())


def test_named_checkpoint(killed_run: Path, command: Command, tmp_path: Path, refuses: Callable[..., None]) -> None:
    named = command(killed_run, resume_from_checkpoint=killed_run / "checkpoint-2")
    refuses(named, killed_run, "checkpoint-3, checkpoint-4")  # they would be mixed with new ones
    flip(killed_run / "checkpoint-4" / "adapter_model.safetensors")
    refuses(command(killed_run, resume_from_checkpoint=killed_run / "checkpoint-4"), killed_run, "adapter_model.safetensors")
    (tmp_path / "empty").mkdir()
    refuses(command(killed_run, resume_from_checkpoint=tmp_path / "empty"), killed_run, "no whole checkpoint")


def test_no_whole_checkpoint(killed_run: Path, command: Command, refuses: Callable[..., None]) -> None:
    for path in checkpoints(killed_run):
        flip(path / "optimizer.pt")
    refuses(command(killed_run), killed_run, "no checkpoint", "optimizer.pt")


def test_a_recipe_that_leaves_its_truncation_to_the_default_says_the_same() -> None:
    """Manifests of older versions do not name it."""
    assert explicit(Recipe()) == explicit(Recipe(truncation="right")) != explicit(Recipe(truncation="text"))
