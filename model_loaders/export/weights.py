"""The weights of an exported folder: LoRA merged in float32, the config that says which attention they have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from common.files import read_json, write_json
from model_loaders.embed_model import EmbedModel
from model_loaders.export.limits import is_bidirectional
from model_loaders.export.request import Request
from model_loaders.layouts.exported import CONFIG, WEIGHTS
from model_loaders.layouts.tensors import whole, write_tensors
from model_loaders.options import quiet

# Families for which servers other than transformers read ``use_bidirectional_attention``, and transformers does not. For
# Gemma it does, and changes the attention window by it.
SAYS_BIDIRECTIONAL = ("mistral", "llama", "qwen3")


def write_merged(request: Request, folder: Path) -> None:
    """Write the decoder with LoRA merged into it, and ``config.json``; the model is not usable afterwards."""
    model = request.model
    backbone: Any = model.backbone
    merged: Any = backbone.merge_and_unload() if model.has_lora else backbone
    merged.to("cpu", getattr(torch, request.dtype))
    merged.config._name_or_path = ""
    with quiet():
        merged.save_pretrained(str(folder))
    config = read_json(folder / CONFIG)
    config.pop("_name_or_path", None)
    config |= {"is_causal": not is_bidirectional(model), "dtype": request.dtype}
    if is_bidirectional(model) and config.get("model_type") in SAYS_BIDIRECTIONAL:
        config["use_bidirectional_attention"] = True
    if model.design.layers == "all":
        config["output_hidden_states"] = True
    write_json(config, folder / CONFIG)
    (folder / "generation_config.json").unlink(missing_ok=True)


def pooling_config(model: EmbedModel) -> dict[str, Any]:
    """Return the arguments of ``trainable_pooling.StatePooling``."""
    assert model.pooling is not None
    sizes = {name: value for name, value in model.pooling.config.to_dict().items() if value is not None}
    return {
        "kind": model.pooling.config.kind,
        "layers": model.design.layers,
        "tokens": model.design.tokens,
        "sizes": sizes,
        "unpooled_token_ids": list(model.recipe.unpooled_token_ids),
    }


def write_pooling(model: EmbedModel, folder: Path) -> None:
    """Write sizes and float32 weights of the trainable pooling."""
    assert isinstance(model.pooling, nn.Module)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(pooling_config(model), folder / CONFIG)
    tensors = {name: whole(tensor).float() for name, tensor in model.pooling.state_dict().items()}
    write_tensors(tensors, folder / WEIGHTS)
