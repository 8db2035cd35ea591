"""Operations of matrix products and of attention, counted while they run; torch's own counter passes over a CPU's attention."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.utils.flop_counter import FlopCounterMode

Shape = Sequence[int]


def attention(query: Shape, key: Shape, causal: bool) -> int:
    """Return the operations of scores and values, ``query`` and ``key`` being ``(texts, heads, tokens, head)``.

    Where no token sees a later one they are those of half of the square and its diagonal, which is what the kernels compute.
    """
    texts, heads, rows, head_dim = query
    pairs = rows * (rows + 1) // 2 if causal else rows * key[2]
    return 4 * texts * heads * pairs * head_dim


def forward(query: Shape, key: Shape, value: Shape, dropout: float = 0.0, causal: bool = False, **_: object) -> int:
    """Count ``scaled_dot_product_attention`` of a CPU."""
    return attention(query, key, causal)


def backward(
    gradient: Shape, query: Shape, key: Shape, value: Shape, out: Shape, sums: Shape, dropout: float, causal: bool, **_: object
) -> int:
    """Count its backward pass: the scores once more, and four products."""
    return attention(query, key, causal) * 5 // 2


def counted_operations() -> FlopCounterMode:
    """Return a counter for a ``with`` block, whose ``get_total_flops()`` takes a multiplication and an addition as two."""
    kernel = torch.ops.aten
    mapping = {
        kernel._scaled_dot_product_flash_attention_for_cpu: forward,
        kernel._scaled_dot_product_flash_attention_for_cpu_backward: backward,
    }
    return FlopCounterMode(display=False, custom_mapping=mapping)
