"""The language-model head of a base LLM: states to scores of tokens. Embedders load without it, masked training needs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn import functional as F

from common.errors import UserError
from model_loaders.backbone.base_files import weight_files

NAMES = ("lm_head", "embed_out", "language_model.lm_head")  # of the head in files of weights
UNKNOWN_SCALES = ("logit_scale", "logits_scaling", "lm_head_multiplier")  # of scores, in configs of some families


class LanguageModelHead(nn.Module):
    """Scores of all tokens from states, frozen.

    Attributes:
        weight: ``(vocabulary, hidden)``; the embedding itself where the base LLM ties them.
        bias: ``(vocabulary,)``, or ``None``.
        softcap: scores become ``softcap * tanh(scores / softcap)``; ``None`` for none.
    """

    def __init__(self, weight: nn.Parameter, bias: Tensor | None = None, softcap: float | None = None) -> None:
        super().__init__()
        self.weight = weight
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)
        self.softcap = softcap

    def forward(self, states: Tensor) -> Tensor:
        """Return fp32 scores ``(items, vocabulary)`` of states ``(items, hidden)``."""
        scores = F.linear(states.to(self.weight.dtype), self.weight, self.bias).float()
        return scores if self.softcap is None else self.softcap * torch.tanh(scores / self.softcap)


def load_head(directory: Path, backbone: nn.Module) -> LanguageModelHead:
    """Read the head that lies beside a backbone's weights.

    Args:
        directory: of the base LLM.
        backbone: the decoder, loaded from there; its embedding is the head where they are tied.

    Raises:
        UserError: there is no head, or its scores are scaled in a way that is not known here.
    """
    config: Any = backbone.config
    config = config.get_text_config(decoder=True)
    for name in UNKNOWN_SCALES:
        if getattr(config, name, None) not in (None, 1, 1.0):
            raise UserError(f"{directory}: its config scales scores of tokens ({name}), which masked training does not know")
    softcap: float | None = getattr(config, "final_logit_softcapping", None)
    embedding: nn.Parameter = backbone.get_input_embeddings().weight  # type: ignore[operator]
    tensors = head_tensors(directory)
    if not tensors and getattr(config, "tie_word_embeddings", False):
        return LanguageModelHead(embedding, softcap=softcap)
    if "weight" not in tensors:
        raise UserError(
            f"{directory} has no language-model head ({', '.join(NAMES)}) in safetensors, and its config ties none to the "
            "embedding: masked training needs the base LLM as a language model"
        )
    weight = tensors["weight"].to(embedding.device, embedding.dtype)
    if weight.shape != embedding.shape:
        raise UserError(f"{directory}: the head has the shape {tuple(weight.shape)}, the embedding {tuple(embedding.shape)}")
    bias = tensors.get("bias")
    moved = None if bias is None else bias.to(embedding.device, embedding.dtype)
    return LanguageModelHead(nn.Parameter(weight, requires_grad=False), moved, softcap)


def head_tensors(directory: Path) -> dict[str, Tensor]:
    """Return ``weight`` and ``bias`` of the head in a folder's safetensors; empty where they are not there."""
    tensors = {}
    for file in weight_files(directory):
        if file.suffix != ".safetensors":
            continue
        with safe_open(str(file), framework="pt") as opened:
            present = set(opened.keys())
            for name in NAMES:
                for kind in ("weight", "bias"):
                    if f"{name}.{kind}" in present:
                        tensors[kind] = opened.get_tensor(f"{name}.{kind}")
    return tensors
