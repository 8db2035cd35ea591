"""Dropout of the attention weights, and whether a model has any dropout at all."""

from __future__ import annotations

from torch import nn

from common.errors import UserError
from model_loaders.backbone.states import decoder_layers


def set_attention_dropout(backbone: nn.Module, share: float) -> None:
    """Let every attention layer drop a share of its weights in training.

    Raises:
        UserError: not every decoder layer has such a dropout.
    """
    changed = 0
    for module in backbone.modules():
        inner = getattr(module, "attn_dropout", None)
        if isinstance(getattr(module, "attention_dropout", None), float):
            setattr(module, "attention_dropout", share)  # noqa: B010  # a plain attribute of some families' layers
            changed += 1
        elif isinstance(inner, nn.Dropout):
            inner.p = share
            changed += 1
    layers = len(decoder_layers(backbone))
    if changed < layers:
        raise UserError(
            f"--attention_dropout: of the {layers} layers of this base model {changed} have a dropout of attention weights: "
            "leave it out, and give --lora_dropout"
        )


def has_dropout(backbone: nn.Module) -> bool:
    """Whether anything of a backbone is dropped at random in training, LoRA included."""
    for module in backbone.modules():
        if isinstance(module, nn.Dropout) and module.p > 0:
            return True
        if (getattr(module, "attention_dropout", None) or 0.0) > 0.0:
            return True
    return False
