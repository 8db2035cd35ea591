"""The base LLM without its language-model head, with the design's attention, and LoRA on top of it."""

from __future__ import annotations

import logging
import pickle
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from common.errors import UserError
from common.files import first_line, listing
from model_loaders.backbone.attention import probe_attention, set_attention
from model_loaders.backbone.base_config import read_config, text_config
from model_loaders.backbone.base_files import loaded_files
from model_loaders.backbone.rope import separate_rows
from model_loaders.backbone.states import decoder_layers
from model_loaders.backbone.wrapped import wrapped_in
from model_loaders.designs import Design
from model_loaders.hub import OWN_CODE, needs_own_code
from model_loaders.options import quiet

logger = logging.getLogger(__name__)

BUFFERS = ("inv_freq", "masked_bias", "attn.bias", "attention.bias")  # that older files hold, and models compute
FINAL_NORM = re.compile(r"(^|\.)(\w*norm\w*|ln_f)$")  # the norm behind the last layer, by its name
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
    whole = read_config(directory)
    config = text_config(whole)
    config.return_dict = True  # some configs say false, and states are taken by name
    set_attention(config, design.attention)
    kernel = choose_kernel(attn_implementation, dtype, device)
    options: dict[str, Any] = {"config": whole, "dtype": dtype, "attn_implementation": kernel}
    if quantisation:
        options |= {"quantization_config": quantisation_config(quantisation, dtype), "device_map": {"": device}}
    backbone, missing = read_weights(directory, options)
    if config is not whole:
        backbone, missing = text_decoder(backbone, directory), [key for key in missing if "language_model." in key]
    if missing:  # transformers would go on with random weights
        raise UserError(
            f"the weights in {directory} lack {len(missing)} tensors that a {config.model_type!r} model of the sizes in its "
            f"config.json has, such as {missing[0]}; files: {listing(directory)}. Give weights and config.json of one model."
        )
    if not quantisation:
        backbone = backbone.to(device)
    backbone.requires_grad_(False)
    separate_rows(backbone)
    probe_attention(backbone, design)
    return backbone


def read_weights(directory: Path, options: dict[str, Any]) -> tuple[nn.Module, list[str]]:
    """Load the model that a config describes; returns it and the names of tensors that its files lack."""
    from transformers import AutoModel

    wrapped = wrapped_in(directory)
    if wrapped is not None:
        options = options | {"key_mapping": wrapped.key_mapping}
    with loaded_files(directory) as files:
        try:
            with quiet():
                model, report = AutoModel.from_pretrained(
                    str(files), output_loading_info=True, trust_remote_code=False, ignore_mismatched_sizes=True, **options
                )
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # odd values in a config.json fail wherever a family first uses them
            reason = OWN_CODE if needs_own_code(error) else reason_of(error).replace(str(files), str(directory))
            if "does not support an attention implementation" in reason:
                wanted = options["attn_implementation"]
                reason = f"transformers has no {wanted} for it: leave attn_implementation out, or give 'eager'"
            raise UserError(f"the base model in {directory} ({listing(directory)}) cannot be loaded: {reason}") from error
    check_shapes(report["mismatched_keys"], directory)
    say_unused([key for key in report["unexpected_keys"] if wrapped is None or not key.startswith(wrapped.beside)], directory)
    model.name_or_path = model.config._name_or_path = str(directory)
    return model, sorted(str(key) for key in report["missing_keys"])


def check_shapes(mismatched: Collection[tuple[str, Sequence[int], Sequence[int]]], directory: Path) -> None:
    """Raise a UserError if weights have other shapes than the config describes; transformers would draw them at random."""
    for name, in_file, described in sorted(mismatched):
        raise UserError(
            f"the weights in {directory} do not fit its config.json: {name} is {tuple(in_file)}, by the config it is "
            f"{tuple(described)} ({len(mismatched)} tensors differ). Give weights and config.json of one model."
        )


def say_unused(unexpected: Collection[str], directory: Path) -> None:
    """Log tensors of decoder layers that the config does not describe, such as layers beyond ``num_hidden_layers``."""
    names = sorted(str(name) for name in unexpected if re.search(r"\.\d+\.", str(name)) and not str(name).endswith(BUFFERS))
    if names:
        logger.warning(
            "%s: %d tensors of layers are not used, since its config.json describes none such: %s, …",
            directory,
            len(names),
            names[0],
        )


def reason_of(error: Exception) -> str:
    """Return why weights could not be loaded."""
    if isinstance(error, pickle.UnpicklingError):
        return "its .bin files hold other things than tensors, which would run code: convert them to safetensors"
    if isinstance(error, OSError | ValueError | ImportError | RuntimeError):
        return str(error)
    return first_line(error)


def train_weights(backbone: nn.Module, last_layers: int | None = None) -> None:
    """Let training change a backbone's own weights.

    Args:
        backbone: without LoRA, its weights in fp32.
        last_layers: only this number of decoder layers, the last ones, and the norm behind them; ``None`` for all weights.

    Raises:
        UserError: the backbone has fewer layers.
    """
    if last_layers is None:
        backbone.requires_grad_(True)
        return
    layers = decoder_layers(backbone)
    if last_layers > len(layers):
        raise UserError(f"--last_layers {last_layers}: this base model has {len(layers)} layers")
    of_layers = set(layers.modules())
    for name, module in backbone.named_modules():
        behind = FINAL_NORM.search(name) is not None and module not in of_layers and "embed" not in name
        if behind or module in set(layers[-last_layers:]):
            module.requires_grad_(True)


def trains_weights(backbone: nn.Module) -> bool:
    """Whether training changes weights of a backbone itself, LoRA not counted."""
    return not hasattr(backbone, "peft_config") and any(parameter.requires_grad for parameter in backbone.parameters())


def embedding_rows(backbone: nn.Module) -> int:
    """Return how many token ids a backbone's embedding has a row for."""
    embedding: nn.Module = backbone.get_input_embeddings()  # type: ignore[operator]
    weight: Any = embedding.weight
    return int(weight.shape[0])


def text_decoder(model: nn.Module, directory: Path) -> nn.Module:
    """Return the text decoder inside a model of several modalities."""
    decoder = getattr(model, "language_model", None)
    if not isinstance(decoder, nn.Module):
        raise UserError(
            f"the base model in {directory} ({type(model).__name__}) is of several modalities, and has no part "
            "'language_model' that could be taken out: give its text decoder alone"
        )
    config: Any = decoder.config
    config._name_or_path = str(directory)  # saving reads the config of its folder again
    return decoder


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
