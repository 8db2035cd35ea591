"""The tensors of an adapter directory: LoRA and the trainable pooling, read strictly and written whole."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from common.errors import UserError
from common.files import first_line, listing
from model_loaders.backbone.load import trains_weights
from pooling import Pooling

LORA_CONFIG, LORA_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
FLOATS = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
BASE_WEIGHTS = "model.safetensors"  # of the base LLM's own decoder, where training changes it
POOLING_WEIGHTS, PUBLISHED_POOLING = "pooling.safetensors", "attn_pool.pt"


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file and refuse tensors that are not finite."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise UserError(f"{path.parent} has no {path.name}; it holds: {listing(path.parent)}")
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path} is no readable safetensors file ({first_line(error)}); take a fresh copy") from error
    check_kinds(tensors, path)
    check_finite(tensors, path)
    return tensors


def read_pickled_tensors(path: Path) -> dict[str, Tensor]:
    """Read a published ``attn_pool.pt`` as data only: a pickle that holds anything but tensors is refused."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle fails in as many ways as there are kinds of values
        raise UserError(
            f"{path} is no state dict that can be read safely (as data, without running code); take a fresh copy"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()) or not state:
        raise UserError(f"{path} is no state dict of tensors (found {type(state).__name__}); expected the published pooling")
    check_kinds(state, path)
    check_finite(state, path)
    return state


def check_kinds(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Raise a UserError that names the first tensor that is not a dense one of 16 to 64 bits, with values."""
    for name, tensor in tensors.items():
        if tensor.is_meta or tensor.layout is not torch.strided:
            kind = "has no values (device meta)" if tensor.is_meta else f"is sparse ({tensor.layout})"
            raise UserError(f"{path}: tensor {name} {kind}; expected a dense tensor with values")
        if tensor.dtype not in FLOATS:
            expected = ", ".join(str(dtype).removeprefix("torch.") for dtype in FLOATS)
            raise UserError(f"{path}: tensor {name} is of dtype {found_dtype(tensor)}; expected {expected}")
        if tensor.dim() == 0:
            raise UserError(f"{path}: tensor {name} is a single {found_dtype(tensor)} number; expected a vector or more")


def found_dtype(tensor: Tensor) -> str:
    """Return the name of a tensor's dtype, such as ``float32``."""
    return str(tensor.dtype).removeprefix("torch.")


def check_finite(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Raise a UserError that names the first tensor with NaN or infinity."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            bad = int((~torch.isfinite(tensor)).sum())
            raise UserError(f"{path}: tensor {name} has {bad} values that are NaN or infinite; the run that wrote it diverged")


def check_tensors(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: Path, hint: str = "") -> None:
    """Raise a UserError unless ``found`` has exactly the names and shapes of ``expected``."""
    missing, unused = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    differences = (("missing", missing), ("unused", unused))
    if missing or unused:
        parts = [f"{len(names)} {kind}, such as {names[0]}" for kind, names in differences if names]
        raise UserError(f"{path} does not fit this model: of {len(expected)} tensors, {'; '.join(parts)}. {hint}".rstrip())
    for name, tensor in expected.items():
        if found[name].shape != tensor.shape:
            raise UserError(
                f"{path} does not fit this model: {name} is {tuple(found[name].shape)}, the model needs {tuple(tensor.shape)}: "
                "the adapter belongs to a base model of another size, or its LoRA rank or pooling sizes differ. " + hint
            )


def load_lora(backbone: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Copy LoRA tensors into a peft model, all of them and nothing else.

    Raises:
        UserError: names or shapes differ. peft alone would only warn, and the base model's own vectors would come out.
    """
    import peft

    expected = peft.get_peft_model_state_dict(backbone, save_embedding_layers=False)
    wrapped = [name for name in tensors if name.startswith("base_model.model.model.")]
    named = [name for name in tensors if re.search(r"\.lora_\w+\.[^.]+\.weight$", name)]
    hint = (
        f"Its keys ({named[0]}) carry the name of a peft adapter, as model.state_dict() has them; files of peft's "
        "save_pretrained do not. Save it with save_pretrained, or rename '.default.weight' to '.weight'."
        if named
        else f"Its keys ({wrapped[0]}) are those of a model with a language-model head (…ForCausalLM); the designs train the "
        "bare decoder. Rename 'base_model.model.model.' to 'base_model.model.' if it was trained as an embedder."
        if wrapped
        else "Give the base model that it was trained on."
    )
    check_tensors(tensors, expected, path, hint)
    copy_into(expected, tensors)


def lora_tensors(backbone: nn.Module) -> dict[str, Tensor]:
    """Return the LoRA tensors of a peft model on the CPU, under the names of peft's own files."""
    import peft

    state = peft.get_peft_model_state_dict(backbone, save_embedding_layers=False)
    return {name: whole(tensor) for name, tensor in state.items()}


def whole(tensor: Any) -> Tensor:
    """Copy a tensor to the CPU; one that is sharded (FSDP2) is gathered first, in which every process must take part."""
    gathered = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    copy: Tensor = gathered.detach().to("cpu", copy=True).contiguous()
    return copy


@torch.no_grad()
def copy_into(targets: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    """Copy values into the tensors of the same names; of a sharded one (FSDP2) each process takes its part."""
    for name, target in targets.items():
        value = values[name]
        if hasattr(target, "full_tensor"):
            from torch.distributed.tensor import distribute_tensor

            sharded: Any = target
            value = distribute_tensor(value.to(target.device), sharded.device_mesh, sharded.placements, src_data_rank=None)
        target.copy_(value)


def lora_config_dict(backbone: nn.Module) -> dict[str, Any]:
    """Return the LoRA config of a peft model as JSON-able values; in a file, an adapter is always one for inference."""
    config = backbone.peft_config["default"].to_dict()  # type: ignore[index,union-attr,operator]
    return {key: plain(value) for key, value in config.items()} | {"inference_mode": True}


def plain(value: Any) -> Any:
    """Turn the sets and enumerations of a peft config into JSON values."""
    if isinstance(value, set | frozenset):
        return sorted(value)
    return getattr(value, "value", value)


def write_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write a safetensors file and read its table back, so that an empty or cut file is noticed now.

    Raises:
        UserError: a tensor is empty or not finite, or the file does not read back.
        OSError: the disk is full, or the file cannot be written.
    """
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import save_file

    check_finite(tensors, path)
    empty = [name for name, tensor in tensors.items() if tensor.numel() == 0]
    if empty:
        raise UserError(f"refusing to save {path}: {len(empty)} tensors are empty, such as {empty[0]}")
    try:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata={"format": "pt"})
    except SafetensorError as error:  # it says a full disk or a missing permission in its own words
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise OSError(f"{path} cannot be written: {first_line(error)}") from error
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error
    path.chmod(0o644)  # safetensors writes files that only their owner can read
    with safe_open(path, framework="pt") as stream:
        if set(stream.keys()) != set(tensors):
            raise UserError(f"{path} does not read back with the tensors that were written")


def trained_tensors(backbone: nn.Module, pooling: Pooling | None) -> dict[str, dict[str, Tensor]]:
    """Return what training changes, by file name and under the names in the files, on the CPU.

    Where training changes weights of the base LLM itself, it is the whole decoder, also what stays as it is.
    Where the parameters are sharded (FSDP2) every process must call this.
    """
    state = {}
    if hasattr(backbone, "peft_config"):
        state[LORA_WEIGHTS] = lora_tensors(backbone)
    elif trains_weights(backbone):
        state[BASE_WEIGHTS] = {name: whole(tensor) for name, tensor in backbone.state_dict().items()}
    if pooling is not None:
        state[POOLING_WEIGHTS] = {name: whole(tensor) for name, tensor in pooling.state_dict().items()}
    return state
