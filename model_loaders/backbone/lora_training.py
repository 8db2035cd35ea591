"""LoRA in training with two passes less over the activations, each way, than peft makes.

peft adds to ``x W^T`` what it computes beside it, ``s (x A^T) B^T``: a scaling and an addition of the whole output forward, a
scaling of its gradient and an addition of the input's backward. Here the second product adds itself to the first one's
result, and the narrow product, of as many columns as the rank, is what is scaled::

    y = x W^T;  y += s (x A^T) B^T
    dn = s dy B;  dx = dy W;  dx += dn A;  dA = dn^T x;  dB = s dy^T (x A^T)

The base's weights are frozen and have no gradient (a bias may have one). With dropout, ``x A^T`` reads an ``x`` of its own,
which gets ``dn A``. Where base and LoRA have different dtypes without autocast, peft's way is taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from model_loaders.backbone.lora_encoding import is_plain


@contextmanager
def trained_lora(model: nn.Module) -> Iterator[None]:
    """Let plain LoRA layers of ``model`` take the short way inside the block, which must hold the backward pass too.

    Others (DoRA, quantised, compiled) stay peft's.
    """
    compiled = any(module._compiled_call_impl is not None for module in model.modules())
    layers: list[Any] = [] if compiled else [layer for layer in model.modules() if is_plain(layer)]
    for layer in layers:
        layer.forward = partial(forward, layer)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward  # the class's is seen again


def forward(layer: Any, x: Tensor) -> Tensor:
    """Compute a plain LoRA layer: ``(…, in)`` to ``(…, out)``, in autocast's dtype where it is on."""
    base: nn.Linear = layer.base_layer
    (name,) = [name for name in layer.active_adapters if name in layer.lora_A]
    down, up = layer.lora_A[name].weight, layer.lora_B[name].weight
    device = x.device.type
    if torch.is_autocast_enabled(device):
        x = x.to(torch.get_autocast_dtype(device))
    elif not x.dtype == base.weight.dtype == down.dtype:  # peft decides which one counts
        peft_forward: Tensor = type(layer).forward(layer, x)
        return peft_forward
    dropped = layer.lora_dropout[name](x)
    result: Tensor = LowRankLinear.apply(x, dropped, base.weight, base.bias, down, up, layer.scaling[name])
    return result


class LowRankLinear(torch.autograd.Function):
    """``x W^T + b + s (x' A^T) B^T`` with a frozen ``W``; see the module's docstring."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, dropped: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, scale: float
    ) -> Tensor:
        """Compute in the dtype of ``x``.

        Args:
            ctx: of autograd.
            x: ``(…, in)``.
            dropped: ``x`` after dropout, or ``x`` itself.
            weight: ``(out, in)``.
            bias: ``(out,)``.
            down: ``(rank, in)``.
            up: ``(out, rank)``.
            scale: of the low-rank part.
        """
        dtype = x.dtype
        with torch.autocast(x.device.type, enabled=False):  # it would not cast for the addition in place
            narrow = F.linear(dropped, down.to(dtype)).flatten(0, -2)  # (tokens, rank)
            result = F.linear(x, weight.to(dtype), None if bias is None else bias.to(dtype))
            result.view(-1, result.shape[-1]).addmm_(narrow, up.to(dtype).T, alpha=scale)
        ctx.save_for_backward(dropped, weight, down, up, narrow)
        ctx.scale, ctx.same, ctx.bias_dtype = scale, dropped is x, None if bias is None else bias.dtype
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of ``x``, ``dropped``, ``bias``, ``down`` and ``up``."""
        dropped, weight, down, up, narrow = ctx.saved_tensors
        rows, read = gradient.flatten(0, -2), dropped.flatten(0, -2)
        dtype = rows.dtype
        to_narrow = (rows @ up.to(dtype)).mul_(ctx.scale)  # (tokens, rank)
        to_x = to_dropped = None
        if ctx.needs_input_grad[0]:
            to_x = rows @ weight.to(dtype)  # (tokens, in)
            if ctx.same:
                to_x.addmm_(to_narrow, down.to(dtype))
            to_x = to_x.view_as(dropped)
        if not ctx.same and ctx.needs_input_grad[1]:
            to_dropped = (to_narrow @ down.to(dtype)).view_as(dropped)
        to_down = (to_narrow.T @ read).to(down.dtype)
        to_up = (rows.T @ narrow).mul_(ctx.scale).to(up.dtype)
        to_bias = rows.sum(dim=0, dtype=ctx.bias_dtype) if ctx.needs_input_grad[3] else None
        return to_x, to_dropped, None, to_bias, to_down, to_up, None
