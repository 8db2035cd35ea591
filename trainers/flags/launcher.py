"""What ``accelerate launch`` asked for, read from the environment that it makes, and refused where it would not be exact.

Checked when the arguments are parsed: some of it accelerate ignores without a word (FSDP on the CPU is DDP), some would train
another loss or in another precision.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from common.errors import UserError

USE_DDP = "LoRA and the pooling fit DDP: accelerate launch --config_file accelerate_config.yaml"
# Half precision is autocast on DDP; these two cast the modules themselves.
NO_CAST = (
    "it would cast LoRA, the pooling's norms and softmax and the vectors to half precision, which must stay in fp32: set "
    "mixed_precision: 'no' in the launcher's file and leave --bf16 and --fp16 out; --torch_dtype bfloat16 keeps the frozen "
    "base LLM in half precision"
)


def check_launcher(environment: Mapping[str, str], values: Mapping[str, Any], *, has_accelerator: bool) -> None:
    """Refuse an engine, or an option of one, with which the gradient is not the joined batch's.

    Args:
        environment: of the process.
        values: the flags that were given.
        has_accelerator: whether a GPU is visible.

    Raises:
        UserError: with the reason.
    """

    def asked(name: str) -> bool:
        return environment.get(name, "false").lower() in ("true", "1")

    if environment.get("ACCELERATE_MIXED_PRECISION", "no") == "fp8":
        raise UserError("mixed_precision: fp8 is not verified here: set bf16 or 'no' in the launcher's file")
    half = environment.get("ACCELERATE_MIXED_PRECISION", "no") != "no" or values.get("bf16") or values.get("fp16")
    for name, engine in (("ACCELERATE_USE_FSDP", "FSDP"), ("ACCELERATE_USE_DEEPSPEED", "DeepSpeed")):
        if not asked(name):
            continue
        if not has_accelerator:
            raise UserError(
                f"{engine} needs GPUs, and none is visible here; accelerate would run something else without a word. On the "
                "CPU: accelerate launch --config_file configs/accelerate/cpu.yaml"
            )
        if half:
            raise UserError(f"{engine} with mixed precision cannot be honoured: {NO_CAST}")
        if values.get("load_in_4bit") or values.get("load_in_8bit"):
            raise UserError(f"{engine} with a quantised base LLM is not verified to give the exact gradient. {USE_DDP}")
    if asked("ACCELERATE_USE_FSDP"):
        _check_fsdp(environment, asked)
    if asked("ACCELERATE_USE_DEEPSPEED"):
        _check_deepspeed(environment, values)
    if asked("ACCELERATE_USE_MEGATRON_LM"):
        raise UserError(f"Megatron-LM is not verified to give the exact gradient. {USE_DDP}")
    parallel = [
        name
        for name, size in environment.items()
        if re.fullmatch(r"PARALLELISM_CONFIG_\w*(TP|CP|SP|REPLICATE)_SIZE", name) and size not in ("", "1")
    ]
    if parallel:
        raise UserError(
            f"tensor, context and sequence parallelism and replicated shards ({parallel[0]}) are not verified to give the "
            f"exact gradient. {USE_DDP}"
        )
    if environment.get("ACCELERATE_DYNAMO_BACKEND", "no").lower() not in ("no", ""):
        raise UserError(
            "torch.compile of the launcher's file (dynamo_backend) is not verified to give the exact gradient with gradient "
            "caching and checkpointing: set dynamo_backend: 'no'"
        )


def _check_fsdp(environment: Mapping[str, str], asked: Any) -> None:
    if environment.get("FSDP_VERSION", "1") != "2":
        raise UserError("FSDP 1 is not verified to give the exact gradient: set fsdp_version: 2 in the launcher's file")
    if environment.get("FSDP_AUTO_WRAP_POLICY", "TRANSFORMER_BASED_WRAP") != "TRANSFORMER_BASED_WRAP":
        raise UserError(
            "with FSDP only fsdp_auto_wrap_policy: TRANSFORMER_BASED_WRAP is verified: set it in the launcher's file"
        )
    if environment.get("FSDP_STATE_DICT_TYPE", "FULL_STATE_DICT") != "FULL_STATE_DICT":
        raise UserError("checkpoints hold whole tensors: set fsdp_state_dict_type: FULL_STATE_DICT in the launcher's file")
    for name in ("FSDP_OFFLOAD_PARAMS", "FSDP_CPU_RAM_EFFICIENT_LOADING"):
        if asked(name):
            raise UserError(f"{name.lower()} is not verified with this trainer: set it to false in the launcher's file")


def _check_deepspeed(environment: Mapping[str, str], values: Mapping[str, Any]) -> None:
    if find_spec("deepspeed") is None:
        raise UserError(f"DeepSpeed is not installed: pip install deepspeed. Or leave it: {USE_DDP}")
    stage: Any = environment.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", "2")
    offload = [environment.get(f"ACCELERATE_DEEPSPEED_OFFLOAD_{what}_DEVICE", "none") for what in ("OPTIMIZER", "PARAM")]
    path = environment.get("ACCELERATE_DEEPSPEED_CONFIG_FILE")
    if path:
        try:
            config = json.loads(Path(path).read_text(encoding="utf-8"))
            zero = config.get("zero_optimization", {})
            stage = zero.get("stage", 0)
            offload = [zero.get(f"offload_{what}", {}).get("device", "none") for what in ("optimizer", "param")]
        except (OSError, ValueError, AttributeError) as error:
            raise UserError(f"the DeepSpeed file {path} cannot be read: {error}") from error
        if "gradient_clipping" not in config:
            raise UserError(
                f'{path} has no "gradient_clipping", and DeepSpeed would clip to 1.0: write "gradient_clipping": "auto"'
            )
    if str(stage) != "2":
        raise UserError(
            f"DeepSpeed ZeRO stage {stage} is not verified to give the exact gradient: set zero_stage: 2. {USE_DDP}"
        )
    if set(offload) - {"none"}:
        raise UserError("DeepSpeed's offloading brings its own optimizer, which is not verified here: set it to none")
    if int(values.get("gradient_accumulation_steps") or 1) > 1:
        raise UserError(
            "--gradient_accumulation_steps with DeepSpeed is not verified to give the exact gradient: raise "
            "--per_device_train_batch_size instead and bound memory by --chunk_tokens, which also adds negatives"
        )
