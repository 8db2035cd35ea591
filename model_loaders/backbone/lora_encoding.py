"""LoRA without its overhead while texts are encoded: one or two products where peft has three and two passes.

peft computes ``x W^T + s (x A^T) B^T`` as it stands: two narrow products, one scaling and one addition of the whole output
for each linear layer. Without a gradient there are two shorter ways::

    x (W + s B A)^T             where a batch has so many tokens that making the weight is cheaper than two products
    x W^T += s (x A^T) B^T      else: scaling and addition are part of the second product

The first one's weight is made for a batch and dropped, or kept for the block where the model is small: the model's own weights
never change. It is for fp32 and wider alone, as in bf16 a small update would be lost in the rounding of the large weight.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MERGED_DTYPES = (torch.float32, torch.float64)
# Merged weights that are kept for the block: those of a small model, whose batches are small too.
KEPT_BYTES = 2**25

Kept = dict[nn.Module, Tensor]


@contextmanager
def merged_lora(backbone: nn.Module, enabled: bool = True) -> Iterator[None]:
    """Let plain LoRA layers of ``backbone`` take the short way inside the block; others (DoRA, quantised) stay peft's.

    Args:
        backbone: a decoder, with peft's LoRA or without.
        enabled: otherwise nothing is changed.
    """
    layers: list[Any] = (
        [layer for layer in backbone.modules() if is_plain(layer) and of_one_dtype(layer)]
        if enabled and hasattr(backbone, "peft_config")
        else []
    )
    kept: Kept | None = {} if sum(layer.base_layer.weight.nbytes for layer in layers) <= KEPT_BYTES else None
    for layer in layers:
        layer.forward = partial(forward, layer, kept)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward  # the class's is seen again


def is_plain(layer: Any) -> bool:
    """Whether a module is a LoRA layer of one adapter on a plain, frozen linear layer, without variants."""
    from peft.tuners.lora.layer import Linear

    if type(layer) is not Linear or type(base := layer.base_layer) is not nn.Linear:
        return False
    # Whoever hooks or replaces a layer's forward, as offloading does, must still be asked.
    if "forward" in vars(layer) or "forward" in vars(base) or base._forward_hooks or base._forward_pre_hooks:
        return False
    active = [name for name in layer.active_adapters if name in layer.lora_A]
    if len(active) != 1 or layer.disable_adapters or layer.merged or layer.lora_variant or layer.fan_in_fan_out:
        return False
    return layer.lora_B[active[0]].bias is None and not base.weight.requires_grad


def of_one_dtype(layer: Any) -> bool:
    """Whether a plain LoRA layer computes in the one dtype of all its weights."""
    (active,) = [name for name in layer.active_adapters if name in layer.lora_A]
    weights = [layer.base_layer.weight, layer.lora_A[active].weight, layer.lora_B[active].weight]
    same = len({(weight.dtype, weight.device) for weight in weights}) == 1
    return same and not torch.is_autocast_enabled(weights[0].device.type)


def forward(layer: Any, kept: Kept | None, x: Tensor) -> Tensor:
    """Compute a plain LoRA layer without gradient: ``(…, in)`` to ``(…, out)``."""
    base: nn.Linear = layer.base_layer
    if kept is not None and layer in kept:
        return F.linear(x, kept[layer], base.bias)
    (name,) = [name for name in layer.active_adapters if name in layer.lora_A]
    down, up, scale = layer.lora_A[name].weight, layer.lora_B[name].weight, layer.scaling[name]
    inputs, outputs = base.in_features, base.out_features
    tokens = x.numel() // inputs
    if base.weight.dtype in MERGED_DTYPES and tokens * (inputs + outputs) > inputs * outputs:  # multiplications, over the rank
        weight = torch.addmm(base.weight, up, down, alpha=scale)
        if kept is not None:
            kept[layer] = weight
        return F.linear(x, weight, base.bias)
    result = F.linear(x, base.weight, base.bias)
    result.view(-1, outputs).addmm_(F.linear(x, down).flatten(0, -2), up.T, alpha=scale)
    return result
