"""Runs of masked next-token prediction: logs, checkpoints, several processes, and the training that follows."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import model_loaders
from common.errors import UserError
from tests.contracts.warm import Warm
from tests.tiny import WORDS, new_model
from tests.trainers.checkpoints.tools import metrics
from trainers.flags.command_line import parse
from trainers.masked.packing import packed_rows
from trainers.run.build import build_trainer
from trainers.train import main
from triplets.dataset import LoadedDataSet, TripletRows

pytestmark = pytest.mark.usefixtures("unplanned")


def lora(directory: Path) -> bytes:
    return (directory / "adapter_model.safetensors").read_bytes()


def write_texts(path: Path, count: int) -> Path:
    texts = [" ".join(WORDS[(index * 7 + 3 * k) % 50] for k in range(4 + index % 5)) for index in range(count)]
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_texts(tmp_path_factory.mktemp("texts") / "texts.jsonl", 60)


def argv_of(base: Path, texts: Path, output: Path, **flags: Any) -> list[str]:
    values = {
        "model_name_or_path": base, "dataset_name": texts, "output_dir": output, "use_cpu": "true", "disable_tqdm": "true",
        "per_device_train_batch_size": 4, "max_seq_length": 16, "learning_rate": 0.01, "lora_dropout": 0.3, "logging_steps": 1,
        "save_steps": 1, "max_steps": 3, "mask_token": "word0", **flags,
    }  # fmt: skip
    words = []
    for name, value in values.items():
        words += [f"--{name}", str(value)]
    return words


@pytest.fixture(scope="module")
def run(base: Path, texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("masked") / "run"
    held_out = write_texts(tmp_path_factory.mktemp("held") / "held.jsonl", 20)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trainers.run.build.fit_memory", lambda *_: "not planned")
        argv = argv_of(base, texts, output, eval_dataset=held_out, eval_steps=1)
        assert main(argv, objective="mntp") == 0
    return output


def test_the_adapter_is_one_like_any_other(run: Path) -> None:
    model = model_loaders.load(run)
    assert model.design_name == "bidirectional_mean"
    assert model.encode(["word1 word2"]).shape == (1, 32)
    assert json.loads((run / "train_config.json").read_text())["objective"] == "mntp"


def test_held_out_loss_is_logged(run: Path) -> None:
    losses = [line["eval_loss"] for line in metrics(run) if "eval_loss" in line]
    assert len(losses) == 3 and len(set(losses)) == 3


def test_goes_on_to_the_same_weights(run: Path, tmp_path: Path) -> None:
    killed = shutil.copytree(run, tmp_path / "run")
    for name in ("train_result.json", "embedder.json"):
        (killed / name).unlink()
    for name in ("checkpoint-2", "checkpoint-3"):
        shutil.rmtree(killed / name)
    record = json.loads((killed / "train_config.json").read_text())
    argv = argv_of(record["model_name_or_path"], record["dataset_name"], killed, eval_dataset=record["eval_dataset"])
    assert main([*argv, "--eval_steps", "1", "--resume_from_checkpoint", "true"], objective="mntp") == 0
    assert lora(killed) == lora(run) and metrics(killed) == metrics(run)


def test_rows_are_as_long_as_the_adapters_texts(run: Path, base: Path, texts: Path, tmp_path: Path) -> None:
    """Unless a flag says another length."""
    argv = argv_of(base, texts, tmp_path / "next", peft_model_name_or_path=run)
    for name in ("--lora_dropout", "--max_seq_length"):
        place = argv.index(name)
        argv = argv[:place] + argv[place + 2 :]
    for more, length in (([], 16), (["--max_seq_length", "12"], 12)):
        trainer = build_trainer(parse([*argv, *more], objective="mntp"))
        assert {len(row["ids"]) for row in trainer.train_dataset.sample(5)} == {length}
        assert trainer.model.recipe.length("document") == length


def test_weights_are_shares_of_packed_rows(base: Path) -> None:
    """Ten long texts fill more rows than thirty short ones; by weights both have half of an epoch all the same."""
    tokenizer = new_model("bidirectional_mean", base).tokenizer

    def data_set(label: str, words: int, count: int, **epoch: Any) -> LoadedDataSet:
        text = " ".join(WORDS[:words])
        return LoadedDataSet([{"query": text, "positive": text, "negatives": []}] * count, label, content=label, **epoch)

    by_weight = [data_set("long", 31, 10, taken=20, weight=1.0), data_set("short", 3, 30, taken=20, weight=1.0)]
    packed = packed_rows(TripletRows(by_weight), tokenizer, 8)
    assert [(share.rows, share.taken) for share in packed.shares] == [(40, 28), (15, 27)]
    repeated = packed_rows(TripletRows([data_set("long", 31, 10), data_set("short", 3, 30, taken=60)]), tokenizer, 8)
    assert [share.taken for share in repeated.shares] == [40, 30]
    contents = [[part.content for part in rows.parts] for rows in (packed, repeated)]
    assert contents[0][0] != contents[1][0]
    few = [data_set("long", 31, 10, taken=39, weight=1.0), data_set("short", 3, 30, taken=1, weight=0.001)]
    with pytest.raises(UserError, match=r"short: its weight of 0.001 is less than one of an epoch's 55 rows"):
        packed_rows(TripletRows(few), tokenizer, 8)


def test_a_contrastive_run_goes_on_from_it(run: Path, base: Path, texts: Path, tmp_path: Path) -> None:
    argv = argv_of(base, texts, tmp_path / "next", peft_model_name_or_path=run)
    argv = [word for word in argv if word not in ("--lora_dropout", "0.3", "--mask_token", "word0")]
    assert main(argv, objective="simcse", design="bidirectional_mean") == 0
    assert lora(tmp_path / "next") != lora(run)


@pytest.mark.slow
def test_simcse_goes_on_to_the_same_weights(base: Path, texts: Path, tmp_path: Path) -> None:
    def argv(output: Path, **flags: Any) -> list[str]:
        words = argv_of(base, texts, output, attention_dropout=0.2, **flags)
        return [word for word in words if word not in ("--mask_token", "word0")]

    assert main(argv(tmp_path / "whole"), objective="simcse") == 0
    assert main(argv(tmp_path / "killed"), objective="simcse") == 0
    for name in ("train_result.json", "embedder.json"):
        (tmp_path / "killed" / name).unlink()
    for name in ("checkpoint-2", "checkpoint-3"):
        shutil.rmtree(tmp_path / "killed" / name)
    assert main(argv(tmp_path / "killed", resume_from_checkpoint="true"), objective="simcse") == 0
    assert lora(tmp_path / "killed") == lora(tmp_path / "whole")


def test_dry_run(base: Path, texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*argv_of(base, texts, tmp_path / "run"), "--dry_run"], objective="mntp") == 0
    assert "vectors equal within" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flag", "value"), [("mask_token", "eos"), ("mask_share", "0.6"), ("masking", "all"), ("block_diagonal", "true")]
)
def test_a_flag_acts(base: Path, texts: Path, tmp_path: Path, flag: str, value: str) -> None:
    losses = []
    for flags in ({}, {flag: value}):
        argv = argv_of(base, texts, tmp_path / str(len(losses)), **{"lora_dropout": 0, **flags})
        trainer = build_trainer(parse(argv, objective="mntp"))
        trainer.current_gradient_accumulation_steps = 1
        losses.append(float(trainer.training_step(trainer.model, next(iter(trainer.get_train_dataloader())))))
    assert losses[0] != losses[1]


@pytest.mark.parametrize(
    ("objective", "words", "told"),
    [
        ("mntp", ["--loss_scale", "50"], "--loss_scale does nothing with --objective mntp"),
        ("simcse", ["--masking", "all"], "--masking does nothing with --objective simcse"),
        ("mntp", ["--design", "model4"], "give --design bidirectional_mean"),
        ("mntp", ["--objective", "simcse"], "this script trains mntp"),
    ],
)
def test_flags_of_another_objective(
    base: Path, texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], objective: str, words: list[str], told: str
) -> None:
    argv = [word for word in argv_of(base, texts, tmp_path / "run") if word not in ("--mask_token", "word0")]
    with pytest.raises(SystemExit):
        parse([*argv, *words], objective=objective)
    assert told in capsys.readouterr().err


def test_unknown_mask_tokens_and_wrong_rows(
    base: Path, texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv_of(base, texts, tmp_path / "run", mask_token="nothing"), objective="mntp") == 1
    assert "--mask_token 'nothing' is no token" in capsys.readouterr().err
    argv = [word for word in argv_of(base, texts, tmp_path / "run") if word not in ("--mask_token", "word0")]
    assert main(argv, design="causal_mean") == 1
    assert "give --objective simcse or mntp" in capsys.readouterr().err


@pytest.mark.slow
def test_two_processes_equal_one(base: Path, texts: Path, tmp_path: Path, warm: Warm) -> None:
    """Rows of one batch on two processes: the masks are the same, and so are loss and weights to rounding."""
    for count in (1, 2):
        argv = argv_of(base, texts, tmp_path / str(count), per_device_train_batch_size=4 // count, lora_dropout=0)
        argv += ["--objective", "mntp", "--optim", "sgd"]
        start = warm.start_two if count == 2 else lambda *given, **settings: [warm.start(*given, **settings)]
        for pid in start(argv, tmp_path / f"{count}.log", design="bidirectional_mean"):
            assert warm.wait(pid) == 0
    one, two = (metrics(tmp_path / name) for name in ("1", "2"))
    assert [line["loss"] for line in two] == pytest.approx([line["loss"] for line in one], abs=1e-4)
