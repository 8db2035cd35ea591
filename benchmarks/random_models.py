"""Models of known shapes with random weights, made without a file of them: speed and memory do not depend on their values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from model_loaders.backbone.attention import set_attention
from model_loaders.backbone.lora import add_lora
from model_loaders.create import fresh_pooling
from model_loaders.designs import get_design
from model_loaders.embed_model import EmbedModel
from model_loaders.layouts.manifest import BaseModel
from model_loaders.text.recipe import Recipe
from model_loaders.text.tokenizer import TextTokenizer, load_tokenizer

ROOT = Path(__file__).resolve().parents[1]
TINY_BASE = ROOT / "quickstart" / "base"  # its tokenizer serves every shape

# By name: transformers' model type, and what differs from its defaults.
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "tiny": ("mistral", {"vocab_size": 8192, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
                         "num_attention_heads": 4, "num_key_value_heads": 2}),
    "small": ("mistral", {"vocab_size": 8192, "hidden_size": 256, "intermediate_size": 896, "num_hidden_layers": 4,
                          "num_attention_heads": 4, "num_key_value_heads": 1}),
    "medium": ("mistral", {"vocab_size": 8192, "hidden_size": 768, "intermediate_size": 2688, "num_hidden_layers": 12,
                           "num_attention_heads": 12, "num_key_value_heads": 3}),
    "qwen2-0.5b": ("qwen2", {"vocab_size": 151936, "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24,
                             "num_attention_heads": 14, "num_key_value_heads": 2}),
    "mistral-7b": ("mistral", {"vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
                               "num_attention_heads": 32, "num_key_value_heads": 8}),
}  # fmt: skip


def random_model(
    design: str,
    shape: str,
    *,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    dropout: float = 0.0,
    pooling_sizes: dict[str, int] | None = None,
    max_length: int = 512,
    attn_implementation: str | None = "sdpa",
    **changed: int,
) -> EmbedModel:
    """Make a model for training: a frozen base of ``dtype``, LoRA of ``configs/lora.json`` and pooling in fp32.

    Args:
        design: row of the table of designs.
        shape: key of ``SHAPES``.
        device: where its weights are made.
        dtype: of the base.
        dropout: of LoRA.
        pooling_sizes: ``latents``, ``heads``, ``head_dim``; None for the published sizes.
        max_length: tokens a text at most.
        attn_implementation: attention kernel.
        changed: other values of the base's config, such as ``num_hidden_layers``.
    """
    from transformers import AutoConfig, AutoModel

    row, (family, sizes) = get_design(design), SHAPES[shape]
    config = AutoConfig.for_model(family, **(sizes | changed), max_position_embeddings=32768, sliding_window=None)
    config.pad_token_id = 0
    set_attention(config, row.attention)
    about = BaseModel(shape, family, config.hidden_size, config.num_hidden_layers)
    lora = json.loads((ROOT / "configs" / "lora.json").read_text(encoding="utf-8")) | {"lora_dropout": dropout}
    torch.manual_seed(0)
    with torch.device(device):
        backbone = AutoModel.from_config(config, dtype=dtype, attn_implementation=attn_implementation, trust_remote_code=False)
        backbone.requires_grad_(False)
        backbone = add_lora(backbone, lora, trainable=True)
        pooling = fresh_pooling(row, about, pooling_sizes or {})
    for name, parameter in backbone.named_parameters():
        if "lora_B" in name:  # it starts at 0, and half of all gradients with it
            torch.nn.init.normal_(parameter, std=0.01)
    recipe = Recipe(max_length=max_length)
    return EmbedModel(design, backbone, pooling, TextTokenizer(load_tokenizer(TINY_BASE)), recipe, about)
