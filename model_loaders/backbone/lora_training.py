"""LoRA in training with two passes less over the activations, each way, than peft makes.

peft adds to ``x W^T`` what it computes beside it, ``s (x A^T) B^T``: a scaling and an addition of the whole output forward, a
scaling of its gradient and an addition of the input's backward. Here the second product adds itself to the first one's
result, and the narrow product, of as many columns as the rank, is what is scaled::

    y = x W^T;  y += s (x A^T) B^T
    dn = s dy B;  dx = dy W;  dx += dn A;  dA = dn^T x;  dB = s dy^T (x A^T)

The base's weights are frozen and have no gradient (a bias may have one). Where base and LoRA have different dtypes without
autocast, peft's way is taken.

With dropout, ``x A^T`` reads an ``x`` of its own, which gets ``dn A``. On a CPU the mask ``m`` is drawn by `draw_mask`, and its
scaling is the narrow product's::

    y = x W^T;  y += s' ((x m) A^T) B^T,  s' = s / (1 - p)
    dn = s' dy B;  dx = dy W;  dx += m (dn A);  dA = dn^T (x m)

``x m`` and ``m (dn A)`` are made in blocks of rows that stay in the cache: whole, each would be fresh memory from the system.
Backward makes ``x m`` again, so that a layer keeps two bytes an element (torch: mask and result, each as large as ``x``).
Masks of different layers are independent, as peft's are. Elsewhere, and inside `torch_masks`, the mask is torch's.
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

from model_loaders.backbone.dropout import apply_mask, apply_mask_, draw_mask, rounded_share
from model_loaders.backbone.lora_encoding import is_plain

BLOCK_BYTES = 2**19  # of a masked input

_fast_masks = [True]


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


@contextmanager
def torch_masks(enabled: bool = True) -> Iterator[None]:
    """Let torch draw the masks of dropout inside the block, as on a GPU; with ``enabled`` off nothing is changed."""
    _fast_masks.append(_fast_masks[-1] and not enabled)
    try:
        yield
    finally:
        _fast_masks.pop()


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
    dropout, scale = layer.lora_dropout[name], layer.scaling[name]
    result: Tensor
    if _fast_masks[-1] and has_fast_mask(dropout, x):
        mask, share = draw_mask(x.shape, dropout.p), rounded_share(dropout.p)
        result = DroppedLowRankLinear.apply(x, mask, base.weight, base.bias, down, up, scale / (1.0 - share))
    else:
        result = LowRankLinear.apply(x, dropout(x), base.weight, base.bias, down, up, scale)
    return result


def has_fast_mask(dropout: nn.Module, x: Tensor) -> bool:
    """Whether a dropout acts on ``x`` now, on a CPU, with a share that `draw_mask` does not round to 0 or 1."""
    if type(dropout) is not nn.Dropout or not dropout.training or x.device.type != "cpu":
        return False
    return 0.0 < rounded_share(dropout.p) < 1.0


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
        with torch.autocast(x.device.type, enabled=False):  # it would not cast for the addition in place
            narrow = F.linear(dropped, down.to(x.dtype)).flatten(0, -2)  # (tokens, rank)
            result = wide(x, narrow, weight, bias, up, scale)
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


class DroppedLowRankLinear(torch.autograd.Function):
    """``x W^T + b + s' ((x m) A^T) B^T`` with a frozen ``W`` and a mask of `draw_mask`; see the module's docstring."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, mask: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, scale: float
    ) -> Tensor:
        """Compute in the dtype of ``x``.

        Args:
            ctx: of autograd.
            x: ``(…, in)``.
            mask: int16 ``(…, in)``.
            weight: ``(out, in)``.
            bias: ``(out,)``.
            down: ``(rank, in)``.
            up: ``(out, rank)``.
            scale: of the low-rank part, with the mask's.
        """
        rows, kept = x.flatten(0, -2), mask.flatten(0, -2)
        with torch.autocast(x.device.type, enabled=False):
            columns = down.to(x.dtype).T
            narrow = rows.new_empty(len(rows), len(down))
            for part in blocks(rows):
                torch.mm(apply_mask(rows[part], kept[part]), columns, out=narrow[part])
            result = wide(x, narrow, weight, bias, up, scale)
        ctx.save_for_backward(x, mask, weight, down, up, narrow)
        ctx.scale, ctx.bias_dtype = scale, None if bias is None else bias.dtype
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of ``x``, ``bias``, ``down`` and ``up``."""
        x, mask, weight, down, up, narrow = ctx.saved_tensors
        rows, read, kept = gradient.flatten(0, -2), x.flatten(0, -2), mask.flatten(0, -2)
        dtype = rows.dtype
        to_narrow = (rows @ up.to(dtype)).mul_(ctx.scale)  # (tokens, rank)
        to_x = rows @ weight.to(dtype) if ctx.needs_input_grad[0] else None  # (tokens, in)
        cast = down.to(dtype)
        to_down = torch.zeros_like(down)
        for part in blocks(read):
            to_down += to_narrow[part].T @ apply_mask(read[part], kept[part])
            if to_x is not None:
                to_x[part].add_(apply_mask_(to_narrow[part] @ cast, kept[part]))  # += would copy the block once more
        to_up = (rows.T @ narrow).mul_(ctx.scale).to(up.dtype)
        to_bias = rows.sum(dim=0, dtype=ctx.bias_dtype) if ctx.needs_input_grad[3] else None
        return None if to_x is None else to_x.view_as(x), None, None, to_bias, to_down, to_up, None


def wide(x: Tensor, narrow: Tensor, weight: Tensor, bias: Tensor | None, up: Tensor, scale: float) -> Tensor:
    """Return ``x W^T + b + s n B^T``, ``(…, out)``, for the narrow product ``n`` ``(tokens, rank)``."""
    dtype = x.dtype
    result = F.linear(x, weight.to(dtype), None if bias is None else bias.to(dtype))
    result.view(-1, result.shape[-1]).addmm_(narrow, up.to(dtype).T, alpha=scale)
    return result


def blocks(rows: Tensor) -> Iterator[slice]:
    """Cut ``(tokens, in)`` into blocks of at most ``BLOCK_BYTES``, or of one token."""
    size = max(1, BLOCK_BYTES // (rows.shape[1] * rows.element_size()))
    for begin in range(0, len(rows), size):
        yield slice(begin, begin + size)
