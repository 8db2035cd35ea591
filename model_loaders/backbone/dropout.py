"""Dropout of the attention weights, whether a model has any dropout at all, and a mask of dropout that is quick to draw.

On a CPU torch draws a mask element by element, which takes longer than some of the products that read the result. Here a
generator's whole 64 bits are drawn at once and read as four numbers of 16 bits: an element is dropped where its number is among
the lowest ``p * 65,536``. So each element is dropped independently, with ``p`` rounded to a multiple of 1 / 65,536
(`rounded_share`), and the scaling by ``1 / (1 - p)`` takes the rounded ``p``: the mean is exact.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from common.errors import UserError
from model_loaders.backbone.states import decoder_layers

STEPS = 2**16  # of the share that is dropped
LOWEST = -(2**15)  # int16
INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}  # by bytes


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


def rounded_share(share: float) -> float:
    """Return the share of elements that `draw_mask` drops when it is asked for ``share``; it is below 1, too."""
    return min(round(share * STEPS), STEPS - 1) / STEPS


def draw_mask(shape: torch.Size, share: float) -> Tensor:
    """Draw a mask of dropout with torch's generator of the CPU: int16, all bits set where an element is kept, else 0.

    Args:
        shape: of the mask.
        share: of elements to drop, in [0, 1); see `rounded_share`.
    """
    words = torch.empty(-(-shape.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    numbers = words.view(torch.int16)[: shape.numel()].view(shape)
    dropped = int(rounded_share(share) * STEPS)
    return numbers.ge_(LOWEST + dropped).neg_()


def apply_mask(values: Tensor, mask: Tensor) -> Tensor:
    """Return a copy of ``values`` with zeros where a mask of `draw_mask` drops; the rest is not scaled."""
    return (values.view(INTEGERS[values.element_size()]) & mask).view(values.dtype)


def apply_mask_(values: Tensor, mask: Tensor) -> Tensor:
    """Do the same in place."""
    values.view(INTEGERS[values.element_size()]).bitwise_and_(mask)
    return values
