"""Checks of the environment that ``accelerate launch`` makes: settings that would not be exact are refused.

accelerate ignores some of them without a word (FSDP on the CPU is DDP); others would train another loss, or at another
precision.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.json_text import json_fault, parse_json
from common.lines import read_bytes

Environment = Mapping[str, str]
Values = Mapping[str, Any]

USE_DDP = "LoRA and the pooling fit DDP: accelerate launch --config_file accelerate_config.yaml"
NOT_EXACT = "not verified to give the exact gradient"
# Half precision is autocast on DDP; FSDP and DeepSpeed cast the modules themselves.
NO_CAST = (
    "it would cast LoRA, the pooling's norms and softmax and the vectors to half precision, which must stay in fp32: set "
    "mixed_precision: 'no' in the launcher's file and leave --bf16 and --fp16 out; --torch_dtype bfloat16 keeps the frozen "
    "base LLM in half precision"
)
NO_CAST_FULL = (
    "it would cast the weights that are trained to half precision, which must stay in fp32: set mixed_precision: 'no' in the "
    "launcher's file and leave --bf16 and --fp16 out; or train with DDP, where --bf16 computes in bfloat16 on fp32 weights: "
    "accelerate launch --config_file accelerate_config.yaml"
)
# FSDP's settings: the value that is verified (also the one where it is not set), and the advice for any other.
FSDP_SETTINGS: dict[str, tuple[str, str, str]] = {
    "FSDP_VERSION": ("2", "1", f"FSDP 1 is {NOT_EXACT}: set fsdp_version: 2 in the launcher's file"),
    "FSDP_AUTO_WRAP_POLICY": (
        "TRANSFORMER_BASED_WRAP",
        "TRANSFORMER_BASED_WRAP",
        "with FSDP only fsdp_auto_wrap_policy: TRANSFORMER_BASED_WRAP is verified: set it in the launcher's file",
    ),
    "FSDP_STATE_DICT_TYPE": (
        "FULL_STATE_DICT",
        "FULL_STATE_DICT",
        "checkpoints hold whole tensors: set fsdp_state_dict_type: FULL_STATE_DICT in the launcher's file",
    ),
}


def check_launcher(environment: Environment, values: Values, *, has_accelerator: bool) -> None:
    """Refuse an engine, or an option of one, whose gradient is not the joined batch's.

    Args:
        environment: of the process.
        values: the flags that are set.
        has_accelerator: whether a GPU is visible.

    Raises:
        UserError: with the reason.
    """
    if environment.get("ACCELERATE_MIXED_PRECISION", "no") == "fp8":
        raise UserError("mixed_precision: fp8 is not verified here: set bf16 or 'no' in the launcher's file")
    if is_on(environment, "ACCELERATE_USE_FSDP"):
        _check_engine("FSDP", environment, values, has_accelerator=has_accelerator)
        _check_fsdp(environment)
    if is_on(environment, "ACCELERATE_USE_DEEPSPEED"):
        _check_engine("DeepSpeed", environment, values, has_accelerator=has_accelerator)
        _check_deepspeed(environment, values)
    if is_on(environment, "ACCELERATE_USE_MEGATRON_LM"):
        raise UserError(f"Megatron-LM is {NOT_EXACT}. {USE_DDP}")
    for name, size in environment.items():
        if re.fullmatch(r"PARALLELISM_CONFIG_\w*(TP|CP|SP|REPLICATE)_SIZE", name) and size not in ("", "1"):
            raise UserError(
                f"tensor, context and sequence parallelism and replicated shards ({name}) are {NOT_EXACT}. {USE_DDP}"
            )
    if environment.get("ACCELERATE_DYNAMO_BACKEND", "no").lower() not in ("no", ""):
        raise UserError(
            f"torch.compile of the launcher's file (dynamo_backend) is {NOT_EXACT} with gradient caching and checkpointing: "
            "set dynamo_backend: 'no'"
        )


def is_on(environment: Environment, name: str) -> bool:
    """Whether the launcher has switched a setting on."""
    return environment.get(name, "false").lower() in ("true", "1")


def _check_engine(engine: str, environment: Environment, values: Values, *, has_accelerator: bool) -> None:
    """Refuse what neither FSDP nor DeepSpeed does exactly."""
    if not has_accelerator:
        raise UserError(
            f"{engine} needs GPUs, and none is visible here; accelerate would run something else without a word. On the "
            "CPU: accelerate launch --config_file configs/accelerate/cpu.yaml"
        )
    launched = environment.get("ACCELERATE_MIXED_PRECISION", "no") != "no"
    if launched or values.get("bf16") or values.get("fp16"):
        advice = NO_CAST_FULL if values.get("train") == "full" else NO_CAST
        raise UserError(f"{engine} with mixed precision cannot be honoured: {advice}")
    if values.get("load_in_4bit") or values.get("load_in_8bit"):
        raise UserError(f"{engine} with a quantised base LLM is {NOT_EXACT}. {USE_DDP}")


def _check_fsdp(environment: Environment) -> None:
    for name, (verified, default, advice) in FSDP_SETTINGS.items():
        if environment.get(name, default) != verified:
            raise UserError(advice)
    for name in ("FSDP_OFFLOAD_PARAMS", "FSDP_CPU_RAM_EFFICIENT_LOADING"):
        if is_on(environment, name):
            raise UserError(f"{name.lower()} is not verified with this trainer: set it to false in the launcher's file")
    if is_on(environment, "FSDP_ACTIVATION_CHECKPOINTING"):
        raise UserError(
            "fsdp_activation_checkpointing does not draw the dropout of the forward pass again, and the gradient would be of "
            "another loss: set it to false in the launcher's file, and give --gradient_checkpointing"
        )


def _check_deepspeed(environment: Environment, values: Values) -> None:
    if find_spec("deepspeed") is None:
        raise UserError(f"DeepSpeed is not installed: pip install deepspeed. Or leave it: {USE_DDP}")
    path = environment.get("ACCELERATE_DEEPSPEED_CONFIG_FILE")
    if path:
        stage, offload = _read_deepspeed_file(path)
    else:
        stage = environment.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", "2")
        names = ("ACCELERATE_DEEPSPEED_OFFLOAD_OPTIMIZER_DEVICE", "ACCELERATE_DEEPSPEED_OFFLOAD_PARAM_DEVICE")
        offload = {environment.get(name, "none") for name in names}
    if stage != "2":
        raise UserError(f"DeepSpeed ZeRO stage {stage} is {NOT_EXACT}: set zero_stage: 2. {USE_DDP}")
    if offload != {"none"}:
        raise UserError("DeepSpeed's offloading brings its own optimizer, which is not verified here: set it to none")
    if int(values.get("gradient_accumulation_steps") or 1) > 1:
        raise UserError(
            f"--gradient_accumulation_steps with DeepSpeed is {NOT_EXACT}: raise --per_device_train_batch_size instead and "
            "bound memory by --chunk_tokens, which also adds negatives"
        )


def _read_deepspeed_file(path: str) -> tuple[str, set[str]]:
    """Return the ZeRO stage of a DeepSpeed file, and the devices that it offloads to (``none`` for nowhere).

    Raises:
        UserError: it cannot be read, or would clip, or choose the optimizer or the schedule, in place of the flags.
    """
    try:
        config = parse_json(read_bytes(Path(path)))
        zero = config.get("zero_optimization", {})
        offload = {zero.get(name, {}).get("device", "none") for name in ("offload_optimizer", "offload_param")}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise UserError(f"the DeepSpeed file {path} cannot be read: {json_fault(error)}") from error
    if "gradient_clipping" not in config:
        raise UserError(
            f'{path} has no "gradient_clipping", and DeepSpeed would clip to 1.0: write "gradient_clipping": "auto"'
        )
    for key, flag in (("optimizer", "--optim"), ("scheduler", "--lr_scheduler_type")):
        if key in config:
            raise UserError(
                f'{path} has "{key}", which would take the place of that of the flags: leave it out, and give {flag}'
            )
    return str(zero.get("stage", 0)), offload


def check_processes(world_size: int, environment: Environment) -> None:
    """Refuse to train alone where the launcher meant several processes.

    ``accelerate launch --cpu --num_processes 2`` starts one process and says nothing: it sets MASTER_ADDR, as for several,
    and no WORLD_SIZE. Each would train on its own batch, with a part of the negatives.
    """
    for name in ("WORLD_SIZE", "SLURM_STEP_NUM_TASKS"):
        size = int(environment.get(name) or 1)
        if size > world_size:
            raise UserError(
                f"the environment says {size} processes ({name}), but accelerate sees {world_size}. On the CPU start with "
                "accelerate launch --config_file configs/accelerate/cpu.yaml --num_processes N."
            )
    launched = "ACCELERATE_MIXED_PRECISION" in environment
    if launched and world_size == 1 and "MASTER_ADDR" in environment and "WORLD_SIZE" not in environment:
        raise UserError(
            "accelerate was told to launch several processes and started only one (as it does for --cpu without "
            "--multi_gpu). Start with accelerate launch --config_file configs/accelerate/cpu.yaml --num_processes N."
        )


def check_gpus(visible: int) -> None:
    """Refuse one process for several GPUs: Trainer would wrap the model in DataParallel."""
    if visible > 1:
        raise UserError(
            f"{visible} GPUs are visible and one process would drive them all, which is slow and not exact. Start one "
            "process a GPU (accelerate launch --config_file accelerate_config.yaml ...), or choose one: CUDA_VISIBLE_DEVICES=0"
        )
