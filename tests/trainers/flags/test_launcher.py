"""What the launcher asks for is honoured or refused with the reason, never ignored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

from common.errors import UserError
from trainers.flags import launcher
from trainers.flags.command_line import parse
from trainers.flags.launcher import check_launcher, check_processes

FSDP = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "ACCELERATE_MIXED_PRECISION": "no"}
ZERO = {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "2", "ACCELERATE_MIXED_PRECISION": "no"}


@pytest.fixture(autouse=True)
def deepspeed_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher, "find_spec", lambda name: object())


@pytest.mark.parametrize(
    ("environment", "values"),
    [
        ({}, {}),
        ({"ACCELERATE_MIXED_PRECISION": "bf16"}, {"bf16": True, "load_in_4bit": True, "gradient_accumulation_steps": 4}),
        (FSDP, {"gradient_accumulation_steps": 4}),
        (ZERO, {"gradient_accumulation_steps": 1}),
        ({"ACCELERATE_DYNAMO_BACKEND": "no", "PARALLELISM_CONFIG_TP_SIZE": "1"}, {}),
    ],
)
def test_what_is_exact_is_accepted(environment: dict[str, str], values: dict[str, Any]) -> None:
    check_launcher(environment, values, has_accelerator=True)


@pytest.mark.parametrize(
    ("environment", "values", "message"),
    [
        (FSDP | {"FSDP_VERSION": "1"}, {}, "fsdp_version: 2"),
        (FSDP | {"ACCELERATE_MIXED_PRECISION": "bf16"}, {}, "mixed_precision: 'no'"),
        (FSDP, {"bf16": True}, "mixed_precision: 'no'"),
        (FSDP, {"bf16": True, "train": "full"}, "weights that are trained"),
        (FSDP, {"load_in_4bit": True}, "quantised"),
        (FSDP | {"FSDP_OFFLOAD_PARAMS": "true"}, {}, "fsdp_offload_params"),
        (FSDP | {"FSDP_CPU_RAM_EFFICIENT_LOADING": "true"}, {}, "fsdp_cpu_ram_efficient_loading"),
        (FSDP | {"FSDP_ACTIVATION_CHECKPOINTING": "true"}, {}, "--gradient_checkpointing"),
        (FSDP | {"FSDP_STATE_DICT_TYPE": "SHARDED_STATE_DICT"}, {}, "FULL_STATE_DICT"),
        (FSDP | {"FSDP_AUTO_WRAP_POLICY": "SIZE_BASED_WRAP"}, {}, "TRANSFORMER_BASED_WRAP"),
        (ZERO | {"ACCELERATE_DEEPSPEED_ZERO_STAGE": "3"}, {}, "stage 3"),
        (ZERO | {"ACCELERATE_DEEPSPEED_OFFLOAD_OPTIMIZER_DEVICE": "cpu"}, {}, "offloading"),
        (ZERO, {"fp16": True}, "mixed_precision: 'no'"),
        (ZERO, {"load_in_8bit": True}, "quantised"),
        (ZERO, {"gradient_accumulation_steps": 2}, "--chunk_tokens"),
        (ZERO | {"ACCELERATE_DEEPSPEED_CONFIG_FILE": "no-such-file.json"}, {}, "no-such-file.json"),
        ({"ACCELERATE_USE_MEGATRON_LM": "true"}, {}, "Megatron"),
        ({"PARALLELISM_CONFIG_TP_SIZE": "2"}, {}, "tensor"),
        (FSDP | {"PARALLELISM_CONFIG_DP_REPLICATE_SIZE": "2"}, {}, "replicated shards"),
        ({"ACCELERATE_MIXED_PRECISION": "fp8"}, {}, "fp8"),
        ({"ACCELERATE_DYNAMO_BACKEND": "INDUCTOR"}, {}, "dynamo_backend"),
    ],
)
def test_what_is_not_verified_is_refused(environment: dict[str, str], values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_launcher(environment, values, has_accelerator=True)


@pytest.mark.parametrize("environment", [FSDP, ZERO])
def test_the_cpu_would_run_something_else(environment: dict[str, str]) -> None:
    with pytest.raises(UserError, match="needs GPUs"):
        check_launcher(environment, {}, has_accelerator=False)


def test_a_deepspeed_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "zero.json"
    environment = ZERO | {"ACCELERATE_DEEPSPEED_CONFIG_FILE": str(path)}
    for config, message in (
        ({"zero_optimization": {"stage": 2}}, "gradient_clipping"),
        ({"zero_optimization": {"stage": 1}, "gradient_clipping": "auto"}, "stage 1"),
        ({"zero_optimization": {"stage": 2, "offload_optimizer": {"device": "cpu"}}, "gradient_clipping": 1.0}, "offloading"),
        ({"gradient_clipping": "auto", "optimizer": {"type": "AdamW"}}, r'has "optimizer", which .* --optim'),
        ({"gradient_clipping": "auto", "scheduler": {"type": "WarmupLR"}}, r'has "scheduler", which .* --lr_scheduler_type'),
    ):
        path.write_text(json.dumps(config))
        with pytest.raises(UserError, match=message):
            check_launcher(environment, {}, has_accelerator=True)
    path.write_text(json.dumps({"zero_optimization": {"stage": 2}, "gradient_clipping": "auto"}))
    check_launcher(environment, {}, has_accelerator=True)


def test_deepspeed_must_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install deepspeed"):
        check_launcher(ZERO, {}, has_accelerator=True)


def test_the_command_line_asks(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from trainers.flags.command_line import parse

    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(SystemExit):
        parse(["--model_name_or_path", "m", "--dataset_name", "d", "--output_dir", str(tmp_path)], design="model1")
    assert "needs GPUs" in capsys.readouterr().err


@pytest.mark.parametrize(
    "environment",
    [{"WORLD_SIZE": "2"}, {"SLURM_STEP_NUM_TASKS": "4"}, {"ACCELERATE_MIXED_PRECISION": "no", "MASTER_ADDR": "127.0.0.1"}],
)
def test_fewer_processes_than_launched(environment: dict[str, str]) -> None:
    with pytest.raises(UserError, match="--num_processes"):
        check_processes(1, environment)


def test_as_many_processes_as_launched() -> None:
    check_processes(1, {})
    check_processes(4, {"WORLD_SIZE": "4", "MASTER_ADDR": "127.0.0.1", "ACCELERATE_MIXED_PRECISION": "no"})


def test_a_mistake_stands_at_the_end_of_the_launchers_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's launcher reads this file of a process that failed, and ends its report with the message in it."""
    file = tmp_path / "error.json"
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(file))
    with pytest.raises(SystemExit):
        parse(["--no_such_flag", "1"], design="model1")
    failure = ProcessFailure(local_rank=0, pid=1, exitcode=2, error_file=str(file))
    assert failure.message.startswith("error: unknown flag --no_such_flag") and failure.timestamp > 0
