"""Tiny checkpoints in layouts of others, made from code: tensors of a tiny base LLM under the names that they have there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from model_loaders.layouts.nv_embed import NAMES
from pooling.latent_attention import LatentAttentionConfig, LatentAttentionPooling
from tests.tiny import SIZES, write_tokenizer

LATENTS = LatentAttentionConfig(hidden_size=SIZES["hidden_size"], latents=6, heads=2, head_dim=4)
PROOF = "it_ran"  # a file that the code of a checkpoint writes when it is run
LINEAR = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.down_proj")


def write_code(directory: Path, name: str) -> None:
    """Write a Python file that leaves a trace when it is run."""
    (directory / f"{name}.py").write_text(f"import pathlib\npathlib.Path({str(directory / PROOF)!r}).touch()\n")


def edit_tensors(path: Path, change: Callable[[dict[str, Tensor]], Any]) -> None:
    """Change the tensors of a safetensors file."""
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def edit_json(path: Path, **changes: Any) -> None:
    """Change keys of a JSON file; ``None`` takes one out."""
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def latent_pooling() -> LatentAttentionPooling:
    """The latent attention of the tiny NV-Embed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        pooling = LatentAttentionPooling(LATENTS)
        for parameter in pooling.parameters():
            parameter.data += 0.3 * torch.randn(parameter.shape)
    return pooling


def write_nv_embed(directory: Path, base: Path) -> Path:
    """Write an NV-Embed whose decoder has the weights of ``base``."""
    directory.mkdir(parents=True)
    tensors = {}
    for name, tensor in load_file(base / "model.safetensors").items():
        if name.startswith("model."):
            tensors[name.replace("model.", "embedding_model.", 1)] = tensor
    published = {ours: theirs for theirs, ours in NAMES.items()}
    for name, tensor in latent_pooling().state_dict().items():
        tensors[f"latent_attention_model.{published[name]}"] = tensor
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    code = {"AutoConfig": "configuration_nvembed.NVEmbedConfig", "AutoModel": "modeling_nvembed.NVEmbedModel"}
    decoder = json.loads((base / "config.json").read_text()) | {"model_type": "bidir_mistral", "sliding_window": 4}
    latents = {
        "num_latents_value": LATENTS.latents,
        "num_cross_heads": LATENTS.heads,
        "cross_dim_head": LATENTS.head_dim,
        "hidden_dim": LATENTS.hidden_size,
        "latent_dim": LATENTS.hidden_size,
        "model_type": "latent_attention",
    }
    content = {
        "model_type": "nvembed",
        "architectures": ["NVEmbedModel"],
        "auto_map": code,
        "text_config": decoder | {"auto_map": code},
        "latent_attention_config": latents,
        "mask_type": "b",
        "padding_side": "right",
    }
    (directory / "config.json").write_text(json.dumps(content))
    write_tokenizer(directory)
    for name in ("modeling_nvembed", "configuration_nvembed"):
        write_code(directory, name)
    return directory


def lora_tensors(base: Path, rank: int, seed: int, modules: tuple[str, ...] = LINEAR) -> dict[str, Tensor]:
    """Draw LoRA of some linear maps in every layer of ``base``."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, tensor in load_file(base / "model.safetensors").items():
        module = name.removeprefix("model.").removesuffix(".weight")
        if module.endswith(modules):
            outputs, inputs = tensor.shape
            tensors[f"base_model.model.{module}.lora_A.weight"] = 0.3 * torch.randn(rank, inputs, generator=generator)
            tensors[f"base_model.model.{module}.lora_B.weight"] = 0.3 * torch.randn(outputs, rank, generator=generator)
    return tensors


def mapping_of(family: str) -> dict[str, str]:
    """The class of a base LLM of a family, as peft writes it."""
    names = {"mistral": "Mistral", "llama": "Llama", "gemma": "Gemma", "qwen2": "Qwen2"}
    return {"base_model_class": f"{names[family]}BiModel", "parent_library": f"llm2vec.models.bidirectional_{family}"}


def write_lora(directory: Path, tensors: dict[str, Tensor], base_name: str = "base", **config: Any) -> Path:
    """Write an adapter as LLM2Vec's trainers do."""
    directory.mkdir(parents=True)
    save_file(tensors, directory / "adapter_model.safetensors", metadata={"format": "pt"})
    modules = sorted({name.split(".")[-3] for name in tensors})
    content = {
        "peft_type": "LORA",
        "task_type": None,
        "auto_mapping": mapping_of("mistral"),
        "base_model_name_or_path": base_name,
        "r": 4,
        "lora_alpha": 8,
        "lora_dropout": 0.05,
        "target_modules": modules,
        "bias": "none",
    }
    (directory / "adapter_config.json").write_text(json.dumps(content | config))
    return directory


def write_first(directory: Path, base: Path, *, tensors: dict[str, Tensor] | None = None, **config: Any) -> Path:
    """Write a first adapter (MNTP): with the config of its base LLM, code beside it, and a tokenizer."""
    write_lora(directory, lora_tensors(base, 4, 11) if tensors is None else tensors, str(base), **config)
    content = json.loads((base / "config.json").read_text())
    code = {"AutoModel": "modeling_mistral_encoder.MistralEncoderModel"}
    (directory / "config.json").write_text(
        json.dumps(content | {"architectures": ["MistralEncoderModel"], "auto_map": code, "_name_or_path": "tiny/mistral"})
    )
    write_code(directory, "modeling_mistral_encoder")
    write_tokenizer(directory)
    return directory


def write_second(
    directory: Path,
    base: Path,
    *,
    tensors: dict[str, Tensor] | None = None,
    settings: dict[str, Any] | None = None,
    **config: Any,
) -> Path:
    """Write a second adapter, as LLM2Vec saves it."""
    write_lora(directory, lora_tensors(base, 4, 12) if tensors is None else tensors, str(base), **config)
    content = {"pooling_mode": "mean", "max_length": 512, "doc_max_length": 400, "skip_instruction": True}
    (directory / "llm2vec_config.json").write_text(json.dumps(content | (settings or {})))
    return directory


def write_merged(directory: Path, base: Path, *adapters: tuple[dict[str, Tensor], float], prefix: str = "") -> Path:
    """Write a checkpoint with adapters merged: ``W += scale B A`` of each, with the scale beside its tensors."""
    directory.mkdir(parents=True)
    tensors = {}
    for name, tensor in load_file(base / "model.safetensors").items():
        if not name.startswith("model."):
            continue
        module = name.removeprefix("model.").removesuffix(".weight")
        for lora, scale in adapters:
            down, up = (lora.get(f"base_model.model.{module}.lora_{side}.weight") for side in "AB")
            if down is not None and up is not None:
                tensor = (tensor.double() + scale * up.double() @ down.double()).float()
        tensors[name.replace("model.", prefix, 1)] = tensor
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    content = json.loads((base / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(content | {"architectures": ["MistralBiModel"]}))
    write_tokenizer(directory)
    return directory
