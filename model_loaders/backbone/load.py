"""The base LLM without its language-model head, with the design's attention, and LoRA on top of it."""

from __future__ import annotations

import hashlib
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from common.errors import UserError
from common.files import first_line, listing
from model_loaders.backbone.attention import probe_attention, set_attention
from model_loaders.designs import Design

logger = logging.getLogger(__name__)

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def choose_device(device: str | torch.device | None) -> torch.device:
    """Return ``device``, or the GPU where there is one, else the CPU.

    Raises:
        UserError: there is no such device.
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise UserError(f"there is no device {device!r}: give cpu, cuda, cuda:1, …") from error
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise UserError(f"there is no device {device!r}: torch sees {torch.cuda.device_count()} GPUs here")
    return chosen


def choose_dtype(dtype: str | torch.dtype | None, device: torch.device) -> torch.dtype:
    """Return a torch dtype; ``None`` and ``auto`` are bfloat16 on a GPU that has it, else float32."""
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype in (None, "auto"):
        return torch.bfloat16 if device.type == "cuda" and torch.cuda.is_bf16_supported() else torch.float32
    if dtype not in DTYPES:
        raise UserError(f"there is no dtype {dtype!r}; choose one of: auto, {', '.join(DTYPES)}")
    return DTYPES[str(dtype)]


def rounds_by_batch(kernel: str | None, dtype: torch.dtype, device: torch.device) -> bool:
    """Whether an attention kernel gives a text another vector with other texts in its batch: sdpa in half precision on a CPU.

    A cosine of 0.998 was found there for the last token's state of a real LLM. Eager's vectors are equal, and as fast.
    """
    return kernel == "sdpa" and device.type == "cpu" and dtype in (torch.bfloat16, torch.float16)


def choose_kernel(kernel: str | None, dtype: torch.dtype, device: torch.device) -> str | None:
    """Return the attention kernel to load a base LLM with; ``None`` for the one that transformers takes (sdpa, as a rule).

    Where sdpa ``rounds_by_batch`` it is eager; if sdpa was asked for by name, a line says so.
    """
    if not rounds_by_batch(kernel or "sdpa", dtype, device):
        return kernel
    if kernel is not None:
        name = str(dtype).removeprefix("torch.")
        logger.warning("attention is computed by eager, not by %s as asked: in %s on a CPU that gives a text another vector "
                       "with other texts in its batch", kernel, name)  # fmt: skip
    return "eager"


def load_config(directory: Path) -> Any:
    """Read a base model's config (its text part, for a model of several modalities)."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(str(directory)).get_text_config(decoder=True)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{directory / 'config.json'} describes no model that transformers knows: {first_line(error)}"
        ) from error


def load_backbone(
    directory: Path,
    design: Design,
    *,
    dtype: torch.dtype,
    device: torch.device,
    attn_implementation: str | None = None,
    quantisation: str | None = None,
) -> nn.Module:
    """Load a base LLM's decoder with the design's attention, and check by a probe that it has it.

    Args:
        directory: ``config.json`` and safetensors weights.
        design: its attention is set before the model is built.
        dtype: of the weights.
        device: where the model goes.
        attn_implementation: ``sdpa``, ``eager``, ``flash_attention_2``, …; see ``choose_kernel``.
        quantisation: ``4bit`` or ``8bit`` with bitsandbytes.

    Raises:
        UserError: unknown model type, missing weights, or attention that is not the design's.
    """
    from transformers import AutoModel

    config = load_config(directory)
    set_attention(config, design.attention)
    kernel = choose_kernel(attn_implementation, dtype, device)
    options: dict[str, Any] = {"config": config, "dtype": dtype, "attn_implementation": kernel}
    if quantisation:
        options |= {"quantization_config": quantisation_config(quantisation, dtype), "device_map": {"": device}}
    try:
        with quiet():
            backbone, report = AutoModel.from_pretrained(str(directory), output_loading_info=True, **options)
    except (OSError, ValueError, ImportError, KeyError, RuntimeError) as error:
        raise UserError(f"the base model in {directory} ({listing(directory)}) cannot be loaded: {error}") from error
    missing = sorted(str(key) for key in report["missing_keys"])
    if missing:  # transformers would go on with random weights
        raise UserError(
            f"the weights in {directory} lack {len(missing)} tensors that {config.model_type!r} needs, such as {missing[0]}. "
            "They belong to another model than config.json, or the download is incomplete."
        )
    if not quantisation:
        backbone = backbone.to(device)
    backbone.requires_grad_(False)
    probe_attention(backbone, design)
    return backbone  # type: ignore[no-any-return]


def quantisation_config(bits: str, dtype: torch.dtype) -> Any:
    """Return the bitsandbytes config for a ``4bit`` (NF4, double quantisation) or ``8bit`` base model."""
    try:
        import bitsandbytes  # noqa: F401
    except ImportError as error:
        raise UserError("4- and 8-bit base models need bitsandbytes: pip install -e '.[quantised]'") from error
    from transformers import BitsAndBytesConfig

    if bits == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )


def add_lora(backbone: nn.Module, lora: dict[str, Any], *, trainable: bool) -> nn.Module:
    """Put LoRA on the backbone with peft; trainable adapters stay in fp32, whatever the base's dtype.

    Args:
        backbone: the bare decoder.
        lora: the content of a peft ``adapter_config.json`` or of ``configs/lora.json``.
        trainable: whether the adapter will be trained.

    Raises:
        UserError: a config that is not LoRA, or whose target modules this model does not have.
    """
    import peft

    family: Any = backbone.config
    try:
        config = lora_config(lora, trainable=trainable)
        with quiet():
            model = peft.get_peft_model(backbone, config, autocast_adapter_dtype=trainable)
    except (ValueError, TypeError) as error:
        raise UserError(f"this LoRA config does not fit a {family.model_type!r} model: {error}") from error
    return model  # type: ignore[no-any-return]


def lora_config(lora: dict[str, Any], *, trainable: bool) -> Any:
    """Return the ``peft.LoraConfig`` of the content of an ``adapter_config.json``."""
    import peft

    kind = lora.get("peft_type", "LORA")
    if str(getattr(kind, "value", kind)) != "LORA":
        raise UserError(f"the adapter is of type {kind!r}; only LoRA adapters are supported")
    known = set(peft.LoraConfig.__dataclass_fields__)
    # Files of older and newer peft versions carry keys that this one does not have; the tensors decide in the end.
    options = {key: value for key, value in lora.items() if key in known and key not in ("task_type", "peft_type")}
    options |= {"inference_mode": not trainable, "base_model_name_or_path": None}
    return peft.LoraConfig(task_type="FEATURE_EXTRACTION", **options)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence what transformers and peft say while they load: what matters of it is checked and raised by us."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    with warnings.catch_warnings():
        # peft 0.21 still asks transformers 5.23 for a property under its old name.
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
        try:
            yield
        finally:
            logging.set_verbosity(verbosity)
            if bars:
                logging.enable_progress_bar()


def weights_hash(directory: Path) -> str:
    """Return a hash of a base model's weights that does not depend on how they are sharded.

    Of every tensor it covers name, dtype, shape and four pages of its bytes: enough to tell two models apart in
    milliseconds, where a hash of all bytes would read 14 GB for a 7 B model. Empty when there are no safetensors.

    Raises:
        UserError: a file is cut or broken.
    """
    from safetensors import SafetensorError, safe_open

    entries: list[tuple[str, str]] = []
    for file in sorted(directory.glob("*.safetensors")):
        try:
            with safe_open(file, framework="pt"):  # checks the header against the file's size
                pass
        except (SafetensorError, OSError) as error:
            raise UserError(f"{file} is no readable safetensors file ({first_line(error)}); take a fresh copy") from error
        with file.open("rb") as stream:
            size = int.from_bytes(stream.read(8), "little")
            header: dict[str, Any] = json.loads(stream.read(size))
            for name, tensor in header.items():
                if name == "__metadata__":
                    continue
                start, end = tensor["data_offsets"]
                digest = hashlib.sha256(json.dumps([name, tensor["dtype"], tensor["shape"]]).encode())
                for quarter in range(4):
                    stream.seek(8 + size + start + (end - start) * quarter // 4)
                    digest.update(stream.read(min(4096, end - start)))
                entries.append((name, digest.hexdigest()))
    return hashlib.sha256(json.dumps(sorted(entries)).encode()).hexdigest() if entries else ""
