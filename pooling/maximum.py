"""Max pooling: each dimension's largest value over the attended tokens (Sentence-BERT, arXiv 1908.10084, section 3)."""

from __future__ import annotations

import math

from torch import Tensor


def masked_max(hidden: Tensor, mask: Tensor) -> Tensor:
    """Take the largest value of each dimension over the attended tokens.

    Args:
        hidden: ``(batch, tokens, hidden)``.
        mask: ``(batch, tokens)``, non-zero where a token counts.

    Returns:
        ``(batch, hidden)`` in fp32; zeros for a row without tokens.
    """
    kept = mask.bool()
    largest = hidden.float().masked_fill(~kept[:, :, None], -math.inf).amax(dim=1)
    return largest.masked_fill(~kept.any(dim=1, keepdim=True), 0.0)
