"""The mean over latents of a gated feed-forward's inner layer, in blocks that are never all there at once.

For the latents' normalised states y_n, ``mean over n of a_n * gelu(b_n)`` with ``[a_n, b_n] = W y_n + c`` needs one block of
``[a, b]`` at a time; the backward pass computes each block again. So neither pass holds ``(texts, latents, 2 * wide)``. The
weights' gradients are summed in fp32 over the blocks, whatever the compute dtype. Nothing here can be differentiated twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

# Elements of one block of [a, b] on a CPU: matrix products want many rows, as each reads the whole weight; where there is no
# product, a block wants to stay in the cache, but many small ones would wait for threads on a busy machine.
BLOCK_OF_PRODUCT, BLOCK_OF_SUM = 2**23, 2**21
BLOCK_ON_A_GPU = 2**27


def blocks(texts: int, latents: int, rows: int) -> Iterator[tuple[slice, slice]]:
    """Cut ``(texts, latents)`` into rectangles of about ``rows`` rows: whole texts if one fits, else parts of one text."""
    texts_each, latents_each = max(1, rows // latents), max(1, min(latents, rows))
    for text in range(0, texts, texts_each):
        for latent in range(0, latents, latents_each):
            yield slice(text, text + texts_each), slice(latent, latent + latents_each)


def rows_of_product(weight: Tensor) -> int:
    """Return how many rows of ``[a, b]`` one matrix product makes."""
    return max(512, (BLOCK_OF_PRODUCT if weight.device.type == "cpu" else BLOCK_ON_A_GPU) // len(weight))


def rows_of_sum(wide: Tensor) -> int:
    """Return how many rows of ``[a, b]`` are made at once where no product is needed."""
    return max(1, (BLOCK_OF_SUM if wide.device.type == "cpu" else BLOCK_ON_A_GPU) // wide.shape[-1])


def accumulator(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype that sums of ``dtype`` are kept in: fp32, or float64 for float64."""
    return torch.promote_types(dtype, torch.float32)


def gated(pair: Tensor) -> Tensor:
    """Return ``a * gelu(b)`` of ``pair = [a, b]``."""
    value, gate = pair.chunk(2, dim=-1)
    return F.gelu(gate).mul_(value)


def gated_backward(pair: Tensor, gradient: Tensor) -> Tensor:
    """Return the gradient of ``[a, b]`` from that of ``a * gelu(b)``, which may be broadcast, in the place of ``pair``."""
    value, gate = pair.chunk(2, dim=-1)
    by_gate = torch.ops.aten.gelu_backward(value * gradient, gate)
    torch.mul(F.gelu(gate), gradient, out=value)
    gate.copy_(by_gate)
    return pair


def mean_gated_linear(normed: Tensor, weight: Tensor, bias: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the mean over latents of ``a * gelu(b)``, ``[a, b] = normed @ weight.T + bias``.

    Args:
        normed: ``(texts, latents, hidden)``.
        weight: ``(2 * wide, hidden)``.
        bias: ``(2 * wide,)``.
        dtype: of the matrix products and of what lies between them; sums are kept in fp32.

    Returns:
        ``(texts, wide)`` in fp32, or in float64 for float64.
    """
    mean: Tensor = MeanGatedLinear.apply(normed.to(dtype), weight, bias, dtype)
    return mean


class MeanGatedLinear(torch.autograd.Function):
    """See ``mean_gated_linear``."""

    @staticmethod
    def forward(ctx: Any, normed: Tensor, weight: Tensor, bias: Tensor, dtype: torch.dtype) -> Tensor:
        """Keep the inputs, not what is computed from them."""
        ctx.save_for_backward(normed, weight, bias)
        texts, latents, _ = normed.shape
        total = normed.new_zeros(texts, len(weight) // 2, dtype=accumulator(dtype))
        weight, bias = weight.to(dtype), bias.to(dtype)
        with torch.autocast(normed.device.type, enabled=False):
            for text, latent in blocks(texts, latents, rows_of_product(weight)):
                total[text] += gated(F.linear(normed[text, latent], weight, bias)).sum(dim=1, dtype=total.dtype)
        return total.div_(latents)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        """Return the gradients of the inputs."""
        normed, weight, bias = ctx.saved_tensors
        dtype, (texts, latents, hidden) = normed.dtype, normed.shape
        by_normed = torch.empty_like(normed)
        by_weight = torch.zeros_like(weight, dtype=accumulator(dtype))
        by_bias = torch.zeros_like(bias, dtype=accumulator(dtype))
        cast, shift = weight.to(dtype), bias.to(dtype)
        gradient = (gradient / latents).to(dtype)[:, None]  # (texts, 1, wide)
        with torch.autocast(normed.device.type, enabled=False):
            for text, latent in blocks(texts, latents, rows_of_product(weight)):
                pair = gated_backward(F.linear(normed[text, latent], cast, shift), gradient[text])
                by_normed[text, latent] = pair @ cast
                pair, rows = pair.flatten(0, 1), normed[text, latent].reshape(-1, hidden)
                if dtype == by_weight.dtype:
                    by_weight.addmm_(pair.T, rows)
                else:
                    by_weight += pair.T @ rows
                by_bias += pair.sum(dim=0, dtype=by_bias.dtype)
        return by_normed, by_weight.to(weight.dtype), by_bias.to(bias.dtype), None


class MeanGatedSum(torch.autograd.Function):
    """Mean over latents n of ``a * gelu(b)``, ``[a, b] = scale_tn * (by_latent_n + by_text_t) + shift``: nothing to multiply.

    Takes ``by_latent`` ``(latents, 2 * wide)``, ``by_text`` ``(texts, 2 * wide)``, ``scale`` ``(texts, latents)`` and ``shift``
    ``(2 * wide,)``, all fp32; returns ``(texts, wide)`` in fp32.
    """

    @staticmethod
    def forward(ctx: Any, by_latent: Tensor, by_text: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        """Keep the inputs, not what is computed from them."""
        ctx.save_for_backward(by_latent, by_text, scale, shift)
        total = by_text.new_zeros(len(by_text), len(shift) // 2)
        for text, latent in blocks(len(by_text), len(by_latent), rows_of_sum(by_text)):
            pair = by_latent[latent] + by_text[text, None]
            total[text] += gated(pair.mul_(scale[text, latent, None]).add_(shift)).sum(dim=1)
        return total.div_(len(by_latent))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the gradients of the inputs."""
        by_latent, by_text, scale, shift = ctx.saved_tensors
        found = tuple(torch.zeros_like(tensor) for tensor in ctx.saved_tensors)
        to_latent, to_text, to_scale, to_shift = found
        gradient = (gradient / len(by_latent))[:, None]  # (texts, 1, wide)
        for text, latent in blocks(len(by_text), len(by_latent), rows_of_sum(by_text)):
            both, times = by_latent[latent] + by_text[text, None], scale[text, latent, None]
            pair = gated_backward(torch.addcmul(shift, both, times), gradient[text])
            to_scale[text, latent] = both.mul_(pair).sum(dim=-1)
            to_shift += pair.sum(dim=(0, 1))
            pair.mul_(times)
            to_latent[latent] += pair.sum(dim=0)
            to_text[text] += pair.sum(dim=1)
        return to_latent, to_text, to_scale, to_shift


class ZeroGradients(torch.autograd.Function):
    """Return ``x`` as it is, and give ``parameters`` gradients of zeros: they are in the formula and do nothing to ``x``.

    Zeros and not ``None``, so that weight decay and averages over processes treat them as they do any other parameter.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, *parameters: Tensor) -> Tensor:
        """Keep the inputs, not what is computed from them."""
        ctx.save_for_backward(*parameters)
        return x.view_as(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        """Return the gradients of the inputs."""
        return gradient, *(torch.zeros_like(parameter) for parameter in ctx.saved_tensors)


def without_effect(x: Tensor, *parameters: Tensor) -> Tensor:
    """Return ``x``; in the backward pass ``parameters`` get gradients of zeros."""
    same: Tensor = ZeroGradients.apply(x, *parameters)
    return same


def mean_gated_rows(rows: Tensor, weight: Tensor, bias: Tensor, text_of: Tensor, counts: Tensor, dtype: torch.dtype) -> Tensor:
    """Return each text's mean of ``a * gelu(b)`` over its rows, ``[a, b] = rows @ weight.T + bias``.

    Args:
        rows: ``(rows, hidden)``: tokens of all texts, of each text as many as it has.
        weight: ``(2 * wide, hidden)``.
        bias: ``(2 * wide,)``.
        text_of: ``(rows,)`` int64; the text of each row.
        counts: ``(texts,)``; rows of each text, at least 1.
        dtype: of the matrix products and of what lies between them; sums are kept in fp32.

    Returns:
        ``(texts, wide)`` in fp32, or in float64 for float64.
    """
    mean: Tensor = MeanGatedRows.apply(rows.to(dtype), weight, bias, text_of, counts, dtype)
    return mean


class MeanGatedRows(torch.autograd.Function):
    """See ``mean_gated_rows``."""

    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor, text_of: Tensor, counts: Tensor, dtype: torch.dtype
    ) -> Tensor:
        """Keep the inputs, not what is computed from them."""
        ctx.save_for_backward(rows, weight, bias, text_of, counts)
        total = rows.new_zeros(len(counts), len(weight) // 2, dtype=accumulator(dtype))
        weight, bias = weight.to(dtype), bias.to(dtype)
        with torch.autocast(rows.device.type, enabled=False):
            for block in row_blocks(len(rows), rows_of_product(weight)):
                inner = gated(F.linear(rows[block], weight, bias))
                total.index_add_(0, text_of[block], inner.to(total.dtype))
        return total.div_(counts[:, None])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None, None]:
        """Return the gradients of the inputs."""
        rows, weight, bias, text_of, counts = ctx.saved_tensors
        dtype = rows.dtype
        by_rows = torch.empty_like(rows)
        by_weight = torch.zeros_like(weight, dtype=accumulator(dtype))
        by_bias = torch.zeros_like(bias, dtype=accumulator(dtype))
        cast, shift = weight.to(dtype), bias.to(dtype)
        gradient = (gradient / counts[:, None]).to(dtype)  # (texts, wide)
        with torch.autocast(rows.device.type, enabled=False):
            for block in row_blocks(len(rows), rows_of_product(weight)):
                pair = gated_backward(F.linear(rows[block], cast, shift), gradient[text_of[block]])
                by_rows[block] = pair @ cast
                if dtype == by_weight.dtype:
                    by_weight.addmm_(pair.T, rows[block])
                else:
                    by_weight += pair.T @ rows[block]
                by_bias += pair.sum(dim=0, dtype=by_bias.dtype)
        return by_rows, by_weight.to(weight.dtype), by_bias.to(bias.dtype), None, None, None


def row_blocks(rows: int, each: int) -> Iterator[slice]:
    """Cut ``rows`` rows into blocks of at most ``each``."""
    for start in range(0, rows, each):
        yield slice(start, min(start + each, rows))
