"""Odd values of flags are one line and status 2, before any data are prepared."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainers import check_data, memory_plan
from trainers.flags.arguments import GROUPS
from trainers.flags.command_line import parse
from trainers.flags.flag import Flag, flags_of
from trainers.flags.inherited import REFUSED
from trainers.flags.ranges import RANGES, check_ranges
from trainers.flags.training_arguments import inherited_flags


def numeric_flags() -> dict[str, Flag]:
    flags = {**flags_of(*GROUPS), **inherited_flags()}
    return {name: flag for name, flag in flags.items() if flag.kind in ("int", "float") and name not in REFUSED}


def message(words: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> str:
    minimal = ["--dataset_name", "d", "--model_name_or_path", "m", "--output_dir", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as stop:
        parse([*minimal, *words], design="model3")
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    return error


def test_every_number_has_a_range() -> None:
    assert set(numeric_flags()) == set(RANGES)
    check_ranges({name: flag.default for name, flag in numeric_flags().items()})


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e300", "-7.5", "9" * 30, "-" + "9" * 30])
def test_odd_numbers(value: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for name, flag in numeric_flags().items():
        if flag.kind == "float" and RANGES[name].holds(float(value)):  # a rate that diverges is the run's own affair
            continue
        assert f"--{name}" in message([f"--{name}={value}"], capsys, tmp_path)


@pytest.mark.parametrize(
    "words",
    [
        "--num_train_epochs inf",
        "--max_steps 1e20",
        "--max_steps 100000000000000000000",
        "--max_seq_length 1000000000000",
        "--dataloader_num_workers -1",
        "--logging_steps nan",
        "--logging_steps 2.5",
        "--save_steps 0",
        "--report_to nobody",
        "--report_to wandb",
        "--report_to none nobody",
        "--optim paged_adamw_8bit",
        "--optim schedule_free_adamw",
        "--optim_args evil=1",
        "--optim_args =1",
        "--optim_args evil",
        "--optim sgd --optim_args momentum=nobody",
        "--optim sgd --optim_args momentum=0.9,evil=1",
        "--optim sgd --optim_args momentum=nan",
        '--lr_scheduler_kwargs {"evil":1}',
        "--lr_scheduler_kwargs nonsense",
        '--lr_scheduler_type cosine --lr_scheduler_kwargs {"num_cycles":NaN}',
        "--lr_scheduler_type cosine_with_min_lr",
        "--debug evil",
        "--attn_implementation flash_attention_2",
        "--warmup_steps 101 --max_steps 100",
    ],
)
def test_odd_values(words: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    error = message(words.split(), capsys, tmp_path)
    flags = [word for word in words.split() if word.startswith("--")]
    assert any(flag in error for flag in flags) or "evil" in error


def test_options_that_are_read_stay_valid(tmp_path: Path) -> None:
    minimal = ["--dataset_name", "d", "--model_name_or_path", "m", "--output_dir", str(tmp_path / "out")]
    config = parse([*minimal, "--optim", "sgd", "--optim_args", "momentum=0.9,nesterov=true"], design="model3")
    assert config.training.optim_args == "momentum=0.9,nesterov=true"
    options = ["--lr_scheduler_type", "cosine", "--lr_scheduler_kwargs", '{"num_cycles": 0.3}', "--warmup_steps", "0.1"]
    assert parse([*minimal, *options], design="model3").training.lr_scheduler_kwargs == {"num_cycles": 0.3}


def test_odd_numbers_of_the_other_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        memory_plan.main(["--negatives", "-1"])
    assert stop.value.code == 2
    assert check_data.main(["--dataset_name", "d", "--token_rows", "9" * 30]) == 2
    assert "--token_rows" in capsys.readouterr().err
