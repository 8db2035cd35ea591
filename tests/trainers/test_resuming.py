"""What a run finds in its output directory, and what it makes of it: damage, ends, other settings, signals."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from common.errors import UserError
from tests.tiny import ROOT, triplets
from trainers.checkpoints.resuming import check_resumable, find_checkpoint, forget_later_metrics
from trainers.checkpoints.seal import SEAL, damage, write_seal
from trainers.checkpoints.write import checkpoints
from trainers.run.stopping import SIGNALS
from trainers.run.trainer import ContrastiveTrainer
from trainers.train import main

Command = Callable[..., list[str]]


@pytest.fixture(scope="module")
def command(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Command:
    """Makes a command line: six rows, batches of two, a checkpoint after each step."""
    rows = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    lines = [{"query": r["query"], "positive": r["positive"], "negative": r["negatives"]} for r in triplets(6)]
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines))

    def make(output: Path, **flags: Any) -> list[str]:
        settings = {
            "model_name_or_path": base, "dataset_name": rows, "output_dir": output, "use_cpu": "true", "disable_tqdm": "true",
            "per_device_train_batch_size": 2, "learning_rate": 0.01, "lora_dropout": 0.3, "logging_steps": 1,
            "pooling_latents": 6, "pooling_heads": 2, "pooling_head_dim": 4,
            "save_steps": 1, "max_steps": 4, "resume_from_checkpoint": "true",
        } | flags  # fmt: skip
        return [word for name, value in settings.items() for word in (f"--{name}", str(value))]

    return make


@pytest.fixture(scope="module")
def finished(command: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of four steps."""
    output = tmp_path_factory.mktemp("finished") / "run"
    assert main(command(output), design="model3") == 0
    return output


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of the run, as if it was killed before its end."""
    copy = shutil.copytree(finished, tmp_path / "run")
    for name in ("train_result.json", "embedder.json", "adapter_model.safetensors", "pooling.safetensors"):
        (copy / name).unlink()
    return copy


def weights(output: Path) -> bytes:
    return b"".join((output / name).read_bytes() for name in ("adapter_model.safetensors", "pooling.safetensors"))


def metrics(output: Path) -> list[dict[str, Any]]:
    """Lines of metrics without what depends on the clock."""
    clock = ("time", "tokens_per_second")
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in clock} for line in lines if "train_runtime" not in line]


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


# Damage


@pytest.mark.parametrize("harm", [flip, cut, Path.unlink], ids=["flipped", "cut", "missing"])
def test_damage_to_any_file_is_named(run: Path, tmp_path: Path, harm: Callable[[Path], None]) -> None:
    whole = run / "checkpoint-4"
    assert damage(whole) is None
    for file in sorted(whole.iterdir()):
        copy = shutil.copytree(whole, tmp_path / "copy")
        harm(copy / file.name)
        named = "" if file.name == SEAL and harm is flip else file.name  # it may be another file's checksum that is wrong
        trouble = damage(copy)
        assert trouble is not None and named in trouble, file.name
        shutil.rmtree(copy)


def test_a_run_goes_on_from_the_checkpoint_before_a_damaged_one(
    run: Path, finished: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    flip(run / "checkpoint-4" / "pooling.safetensors")
    cut(run / "checkpoint-3" / "optimizer.pt")
    assert main(command(run), design="model3") == 0
    told = capsys.readouterr().out
    assert "checkpoint-4 is damaged: pooling.safetensors" in told and "checkpoint-3 is damaged: optimizer.pt" in told
    assert (run / "damaged-checkpoint-4").is_dir() and (run / "damaged-checkpoint-3").is_dir()  # nothing is deleted
    assert weights(run) == weights(finished) and metrics(run) == metrics(finished)


def test_with_no_whole_checkpoint_nothing_starts_over(run: Path, command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    for path in checkpoints(run):
        flip(path / "optimizer.pt")
    assert main(command(run), design="model3") == 1
    assert "no checkpoint" in (told := capsys.readouterr().err) and "optimizer.pt" in told
    assert len(checkpoints(run)) == 4


def test_a_damaged_checkpoint_that_was_named_is_refused(
    run: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    flip(run / "checkpoint-4" / "adapter_model.safetensors")
    assert main(command(run, resume_from_checkpoint=run / "checkpoint-4"), design="model3") == 1
    assert "adapter_model.safetensors" in capsys.readouterr().err


# Writing


def test_what_does_not_read_back_is_removed(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save = ContrastiveTrainer._save_rng_state

    def save_wrongly(self: ContrastiveTrainer, directory: str) -> None:
        save(self, directory)
        if self.state.global_step == 2:
            flip(Path(directory) / "pooling.safetensors")

    monkeypatch.setattr(ContrastiveTrainer, "_save_rng_state", save_wrongly)
    assert main(command(tmp_path / "run"), design="model3") == 1
    assert "does not read back" in capsys.readouterr().err
    assert [path.name for path in checkpoints(tmp_path / "run")] == ["checkpoint-1"]
    assert not (tmp_path / "run" / ".stage").exists()
    assert damage(tmp_path / "run" / "checkpoint-1") is None


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_a_state_that_cannot_be_loaded_is_noticed_when_written(
    command: Command, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save = torch.save

    def save_half(content: Any, path: Any, **options: Any) -> None:
        save(content, path, **options)
        if str(path).endswith(name):
            Path(path).write_bytes(Path(path).read_bytes()[: Path(path).stat().st_size // 2])

    monkeypatch.setattr(torch, "save", save_half)
    assert main(command(tmp_path / "run", max_steps=1), design="model3") == 1
    assert name in capsys.readouterr().err
    assert not checkpoints(tmp_path / "run")


def test_old_checkpoints_go_after_the_new_one_is_whole(command: Command, tmp_path: Path) -> None:
    assert main(command(tmp_path / "run", save_total_limit=2), design="model3") == 0
    assert [path.name for path in checkpoints(tmp_path / "run")] == ["checkpoint-3", "checkpoint-4"]


# Ends


def test_a_finished_run_says_so(
    finished: Path, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = shutil.copytree(finished, tmp_path / "run")
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    monkeypatch.setattr("trainers.run.build.build_trainer", None)  # no model is loaded for that
    assert main(command(copy), design="model3") == 0
    assert "is finished" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before
    assert main(command(copy, learning_rate=0.1), design="model3") == 1
    assert "learning_rate" in capsys.readouterr().err


def test_a_run_that_was_killed_in_its_final_save_trains_no_step_more(run: Path, finished: Path, command: Command) -> None:
    """Four steps end within an epoch of three; Trainer alone would train a fifth."""
    (run / ".stage" / "checkpoint-4").mkdir(parents=True)  # of a kill before that; takes room on the disk
    assert main(command(run), design="model3") == 0
    assert not (run / ".stage").exists()
    assert weights(run) == weights(finished) and metrics(run) == metrics(finished)
    assert json.loads((run / "train_result.json").read_text())["steps"] == 4


def test_a_finished_run_goes_on_when_it_shall_be_longer(run: Path, command: Command, tmp_path: Path) -> None:
    constant = {"lr_scheduler_type": "constant"}
    assert main(command(tmp_path / "short", **constant), design="model3") == 0
    assert main(command(tmp_path / "short", max_steps=7, **constant), design="model3") == 0
    assert main(command(tmp_path / "long", max_steps=7, **constant), design="model3") == 0
    assert weights(tmp_path / "short") == weights(tmp_path / "long")
    assert metrics(tmp_path / "short") == metrics(tmp_path / "long")


def test_steps_are_not_taken_back(run: Path, command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(run, max_steps=2), design="model3") == 1
    assert "is at step 4" in capsys.readouterr().err


def test_without_checkpoints_a_run_whose_end_was_cut_starts_again(finished: Path, command: Command, tmp_path: Path) -> None:
    assert main(command(tmp_path / "run", save_strategy="no"), design="model3") == 0
    (tmp_path / "run" / "train_result.json").unlink()
    assert main(command(tmp_path / "run", save_strategy="no"), design="model3") == 0
    assert weights(tmp_path / "run") == weights(finished)


def test_weights_that_are_not_finite_are_no_full_disk(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The optimizer's step made them, after the check of gradients: nothing is saved, and the advice is not to try again."""
    argv = command(tmp_path / "run", learning_rate=1e38, max_grad_norm=0, optim="sgd", max_steps=1)
    assert main(argv, design="model3") == 1
    told = capsys.readouterr().err
    assert "diverged" in told and "--learning_rate" in told and "full disk" not in told
    assert not list((tmp_path / "run").glob("checkpoint-*"))


# Other settings


def test_another_number_of_processes_is_refused(run: Path) -> None:
    with pytest.raises(UserError, match="1 processes, and this is one with 2"):
        find_checkpoint(True, run, processes=2)
    write_seal(run / "checkpoint-4", step=4, processes=8, data="")
    with pytest.raises(UserError, match="Start 8"):
        find_checkpoint(True, run, processes=1)


def edited(path: Path, **options: Any) -> Path:
    """Write a LoRA file: the default one with other options."""
    path.write_text(json.dumps(json.loads((ROOT / "configs" / "lora.json").read_text()) | options))
    return path


@pytest.mark.parametrize(("option", "value"), [("lora_alpha", 800), ("use_rslora", True)])
def test_an_edit_of_the_lora_file_is_refused(
    command: Command, tmp_path: Path, option: str, value: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its name is the same, and so are the shapes of its tensors."""
    file, run = edited(tmp_path / "lora.json", r=4), tmp_path / "run"
    assert main(command(run, lora_config=file, max_steps=1), design="model3") == 0
    record = json.loads((run / "train_config.json").read_text())
    assert record["lora_config"]["r"] == 4 and record["lora_config"]["lora_dropout"] == 0.3  # of the flag
    moved = edited(tmp_path / "moved.json", r=4)
    assert main(command(run, lora_config=moved, max_steps=2), design="model3") == 0
    argv = command(run, lora_config=edited(file, r=4, **{option: value}), max_steps=3)
    assert main(argv, design="model3") == 1
    assert "--lora_config was" in (told := capsys.readouterr().err) and option in told and "target_modules" not in told
    record["lora_config"][option] = value  # the weights have their own record
    (run / "train_config.json").write_text(json.dumps(record))
    assert main(argv, design="model3") == 1
    assert f"its LoRA's {option} is" in capsys.readouterr().err
    assert (run / "train_result.json").is_file()  # a refusal touches nothing


def test_another_dtype_of_the_base_is_refused(
    run: Path, command: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """--torch_dtype auto is another one on another machine."""
    with monkeypatch.context() as patch:
        patch.setattr("model_loaders.loading.choose_dtype", lambda *_: torch.bfloat16)
        assert main(command(run), design="model3") == 1
        assert "was in float32, and here it is in bfloat16" in capsys.readouterr().err
    assert main(command(run, torch_dtype="float32"), design="model3") == 0  # which it was


def test_the_same_run_spelled_otherwise_goes_on(
    run: Path, finished: Path, command: Command, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    argv = command(run)
    rows = Path(argv[argv.index("--dataset_name") + 1])
    shutil.copy(rows, tmp_path / "same.jsonl")
    monkeypatch.chdir(tmp_path)
    shutil.rmtree(run / "checkpoint-4")
    spelled = {"dataset_name": "same.jsonl", "model_name_or_path": base / ".." / base.name, "ddp_timeout": 60}
    assert main(command(run, **spelled), design="model3") == 0
    assert weights(run) == weights(finished) and metrics(run) == metrics(finished)
    by_path = [word.replace("--dataset_name", "--dataset_file_path") for word in argv]
    assert main(by_path, design="model3") == 0  # finished, by whatever name
    assert weights(run) == weights(finished) and metrics(run) == metrics(finished)


def test_other_data_and_another_base_are_refused_by_what_they_are(
    finished: Path, command: Command, make_base: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(finished, tmp_path / "run")
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    other = tmp_path / "other.jsonl"
    lines = [{"query": "word1", "positive": f"word{number}", "negative": ["word3"]} for number in range(6)]
    other.write_text("".join(json.dumps(line) + "\n" for line in lines))
    words = tmp_path / "words"
    shutil.copytree(command(copy)[1], words)  # the same weights, another tokenizer
    text = (words / "tokenizer.json").read_text()
    (words / "tokenizer.json").write_text(text.replace('"word7"', '"word77"'))
    for flags, told in (
        ({"dataset_name": other}, "the training data are not those of"),
        ({"model_name_or_path": make_base(initializer_range=0.2)}, "its base is"),
        ({"model_name_or_path": words}, "its tokenizer is another one"),
    ):
        assert main(command(copy, **flags), design="model3") == 1
        assert told in capsys.readouterr().err
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before
    # Without a checkpoint there is nothing to compare with but the names.
    for path in checkpoints(copy):
        shutil.rmtree(path)
    (copy / "train_result.json").unlink()
    assert main(command(copy, dataset_name=other), design="model3") == 1
    assert "--dataset_name was" in capsys.readouterr().err


def test_a_run_that_starts_from_an_adapter_knows_it_by_its_weights(
    finished: Path, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def start(adapter: Path, steps: int) -> int:
        given = command(tmp_path / "run", peft_model_name_or_path=adapter, max_steps=steps)
        kept = [index for index, word in enumerate(given) if word.startswith(("--pooling", "--lora"))]
        return main([word for index, word in enumerate(given) if not {index, index - 1} & set(kept)], design="model3")

    assert start(finished, 1) == 0
    assert start(shutil.copytree(finished, tmp_path / "copy"), 2) == 0
    assert start(finished / "checkpoint-1", 3) == 1
    assert "did not start from these weights" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["per_device_train_batch_size", "chunk_tokens", "gradient_accumulation_steps", "seed"])
def test_another_batch_is_refused(run: Path, command: Command, flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(run, **{flag: 3}), design="model3") == 1
    assert f"--{flag} was" in capsys.readouterr().err


def test_changed_training_data_are_refused(run: Path, command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    argv = command(run)
    rows = Path(argv[argv.index("--dataset_name") + 1])
    before = rows.read_bytes()
    rows.write_bytes(before.replace(b"word7", b"word8", 1))
    try:
        assert main(argv, design="model3") == 1
    finally:
        rows.write_bytes(before)
    assert "the training data are not those of" in capsys.readouterr().err
    assert main(argv, design="model3") == 0


def test_a_checkpoint_without_optimizer_is_refused(command: Command, tmp_path: Path) -> None:
    assert main(command(tmp_path / "run", save_only_model="true", max_steps=1), design="model3") == 0
    with pytest.raises(UserError, match="save_only_model"):
        check_resumable(tmp_path / "run" / "checkpoint-1", 1)


def test_later_checkpoints_are_not_mixed_with_new_ones(run: Path, command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(run, resume_from_checkpoint=run / "checkpoint-2"), design="model3") == 1
    assert "checkpoint-3, checkpoint-4" in capsys.readouterr().err


# What is logged


def test_later_and_cut_lines_of_metrics_are_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    lines = ['{"step": 1, "loss": 3}', '{"step": 2, "loss": 2}', '{"step": 2, "eval_loss": 2}', '{"step": 3, "loss": 1}']
    path.write_text("\n".join([*lines, '{"step": 3, "train_run']))
    forget_later_metrics(path, 3, 1)
    assert path.read_text().splitlines() == lines
    forget_later_metrics(path, 2, 2)
    assert path.read_text().splitlines() == lines[:3]
    forget_later_metrics(path, 2, 1)
    assert path.read_text().splitlines() == lines[:2]
    path.write_text("\n".join([*lines, '{"step": 3, "train_runtime": 9}', '{"step": 4, "loss": 1}', ""]))
    forget_later_metrics(path, 4, 1)
    assert path.read_text().splitlines() == lines
    forget_later_metrics(path, -1, 0)
    assert path.read_text() == ""


def test_an_epochs_evaluation_is_in_its_checkpoint(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The epoch's last step is saved when its evaluation is logged: a kill cannot come between."""
    rows = command(tmp_path)[command(tmp_path).index("--dataset_name") + 1]
    evaluated = {"eval_dataset": rows, "eval_strategy": "epoch", "logging_strategy": "epoch", "max_steps": 6}
    with monkeypatch.context() as patch:
        patch.setattr(ContrastiveTrainer, "evaluate", None)
        with pytest.raises(TypeError, match="NoneType"):
            main(command(tmp_path / "run", **evaluated), design="model3")
    assert [path.name for path in checkpoints(tmp_path / "run")] == ["checkpoint-1", "checkpoint-2"]
    assert main(command(tmp_path / "run", **evaluated), design="model3") == 0
    history = json.loads((tmp_path / "run" / "checkpoint-3" / "trainer_state.json").read_text())["log_history"]
    assert [line["step"] for line in history if "eval_loss" in line] == [3]
    assert [line["step"] for line in history if "loss" in line] == [3]

    for name in ("checkpoint-4", "checkpoint-5", "checkpoint-6"):
        shutil.rmtree(tmp_path / "run" / name)
    before, logged = weights(tmp_path / "run"), metrics(tmp_path / "run")
    (tmp_path / "run" / "train_result.json").unlink()
    assert main(command(tmp_path / "run", **evaluated), design="model3") == 0
    assert weights(tmp_path / "run") == before and metrics(tmp_path / "run") == logged


# Signals


def signalled_at(step: int, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the process sent a signal in the middle of a step."""
    train = ContrastiveTrainer.training_step

    def training_step(self: ContrastiveTrainer, *args: Any, **kwargs: Any) -> Any:
        if self.state.global_step == step - 1:
            os.kill(os.getpid(), number)
        return train(self, *args, **kwargs)

    monkeypatch.setattr(ContrastiveTrainer, "training_step", training_step)


@pytest.mark.parametrize(("name", "status"), [("SIGTERM", 143), ("SIGINT", 130), ("SIGUSR1", 138)])
def test_a_signal_saves_and_leaves(
    name: str, status: int, finished: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # tests in the background of a script: an ignored signal stays so
        signal.signal(signal.SIGINT, signal.default_int_handler)
    before = [signal.getsignal(number) for number in SIGNALS]
    flags = {"save_strategy": "no", "save_only_model": "true", "resume_from_checkpoint": "true"}
    with monkeypatch.context() as patch:
        signalled_at(2, getattr(signal, name), patch)
        assert main(command(tmp_path / "run", **flags), design="model3") == status
    assert [signal.getsignal(number) for number in SIGNALS] == before
    told = capsys.readouterr().err
    assert "after step 2" in told and "checkpoint-2" in told and "--resume_from_checkpoint true" in told
    assert [path.name for path in checkpoints(tmp_path / "run")] == ["checkpoint-2"]
    assert not (tmp_path / "run" / "train_result.json").exists() and not (tmp_path / "run" / "embedder.json").exists()
    assert main(command(tmp_path / "run", **flags), design="model3") == 0
    assert weights(tmp_path / "run") == weights(finished) and metrics(tmp_path / "run") == metrics(finished)


def test_a_signal_in_the_last_step_ends_as_planned(
    finished: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signalled_at(4, signal.SIGTERM, monkeypatch)
    assert main(command(tmp_path / "run"), design="model3") == 0
    assert weights(tmp_path / "run") == weights(finished)


def test_an_evaluation_that_a_stop_left_out_is_made_up_for(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = command(tmp_path)[command(tmp_path).index("--dataset_name") + 1]
    evaluated = {"eval_dataset": rows, "eval_strategy": "steps", "eval_steps": 2, "save_strategy": "no"}
    assert main(command(tmp_path / "whole", **evaluated), design="model3") == 0
    with monkeypatch.context() as patch:
        signalled_at(2, signal.SIGTERM, patch)
        assert main(command(tmp_path / "run", **evaluated), design="model3") == 143
    assert not any("eval_loss" in line for line in metrics(tmp_path / "run"))
    assert main(command(tmp_path / "run", **evaluated), design="model3") == 0
    assert metrics(tmp_path / "run") == metrics(tmp_path / "whole")
    assert weights(tmp_path / "run") == weights(tmp_path / "whole")


def test_an_evaluation_that_was_made_up_for_stands_there_once(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped at an evaluation, gone on, and killed before the next checkpoint: it is made up for again."""
    rows = command(tmp_path)[command(tmp_path).index("--dataset_name") + 1]
    argv = command(tmp_path / "run", eval_dataset=rows, eval_strategy="steps", eval_steps=2, save_strategy="no")
    with monkeypatch.context() as patch:
        signalled_at(2, signal.SIGTERM, patch)
        assert main(argv, design="model3") == 143
    with monkeypatch.context() as patch:
        patch.setattr(ContrastiveTrainer, "training_step", None)
        with pytest.raises(TypeError, match="NoneType"):
            main(argv, design="model3")
    assert [line["step"] for line in metrics(tmp_path / "run") if "eval_loss" in line] == [2]
    assert main(argv, design="model3") == 0
    assert [line["step"] for line in metrics(tmp_path / "run") if "eval_loss" in line] == [2, 4]


def test_the_texts_that_were_cut_are_counted_over_the_whole_run(command: Command, tmp_path: Path) -> None:
    """Also those that no line has told yet when the checkpoint is written."""
    argv = command(tmp_path / "run", max_seq_length=4, query_max_length=5, save_steps=3, logging_steps=2)
    assert main(argv, design="model3") == 0
    result = tmp_path / "run" / "train_result.json"

    def again(*lost: str) -> dict[str, Any]:
        result.unlink()
        for name in lost:
            shutil.rmtree(tmp_path / "run" / name)
        assert main(argv, design="model3") == 0
        return {name: value for name, value in json.loads(result.read_text()).items() if "truncated" in name}

    first = {name: value for name, value in json.loads(result.read_text()).items() if "truncated" in name}
    assert len(first) == 2 and first["truncated_documents"] > 0
    assert again() == first  # from the last step
    assert again("checkpoint-4") == first
    seal = tmp_path / "run" / "checkpoint-4" / SEAL
    content = json.loads(seal.read_text())
    assert content["seen"][1:3] == [8, 16]  # four batches of two queries, each with two documents
    del content["seen"]
    seal.write_text(json.dumps(content))
    assert again() == {}  # rather than those of a part


def test_a_signal_before_the_first_step_leaves_at_once(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("trainers.run.build.build_trainer", lambda _: os.kill(os.getpid(), signal.SIGTERM))
    assert main(command(tmp_path / "run"), design="model3") == 143
    assert "before the first step" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


SIGNALS_ALONE = """
import os, signal, time
from trainers import stopping
stopping.SAME_CTRL_C_SECONDS = 0.3
with stopping.stop_requests() as stop:
    stop.phase = "training"
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGINT)  # as torchrun hands on what the terminal has sent already
    os.kill(os.getpid(), signal.SIGTERM)
    assert stop.asked == signal.SIGINT
    time.sleep(0.4)
    print("still here", flush=True)
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(5)
print("never here")
"""


def test_a_second_ctrl_c_leaves_at_once() -> None:
    done = subprocess.run([sys.executable, "-c", SIGNALS_ALONE], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (130, "still here\n"), done.stderr
    assert done.stderr.count("Ctrl-C again") == 1 and "left at once" in done.stderr


def test_an_ignored_signal_stays_ignored() -> None:
    code = "import os, signal\nfrom trainers import stopping\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    code += "with stopping.stop_requests() as stop:\n    os.kill(os.getpid(), signal.SIGINT)\n    assert not stop.asked\n"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60).returncode == 0


WORKER_ALONE = """
import os, signal, subprocess, sys, time
from trainers.run.stopping import leave_signals_to_the_parent
reader, writer = os.pipe()
worker = os.fork()
if worker == 0:
    leave_signals_to_the_parent()
    os.write(writer, b"!")
    time.sleep(30)
    sys.exit(3)
os.read(reader, 1)
for name in ("TERM", "INT", "USR1"):
    subprocess.run(["kill", f"-{name}", str(worker)], check=True)  # as others send it
time.sleep(0.3)
assert os.waitpid(worker, os.WNOHANG) == (0, 0)
os.kill(worker, signal.SIGTERM)
print(os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]))
"""


def test_a_data_worker_ends_with_its_parent_only() -> None:
    done = subprocess.run([sys.executable, "-c", WORKER_ALONE], cwd=ROOT, capture_output=True, text=True, timeout=20)
    assert done.stdout == "0\n", done.stderr
