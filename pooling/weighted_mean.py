"""Position-weighted mean pooling (SGPT, arXiv 2202.08904, its bi-encoder): later tokens have seen more of the text."""

from __future__ import annotations

from torch import Tensor


def weighted_mean(hidden: Tensor, mask: Tensor) -> Tensor:
    """Average the states of the attended tokens with weights 1, 2, …, n, accumulated in fp32.

    The weights count attended tokens only, so that a text's vector does not depend on padding.

    Args:
        hidden: ``(batch, tokens, hidden)``.
        mask: ``(batch, tokens)``, non-zero where a token counts.

    Returns:
        ``(batch, hidden)`` in fp32; zeros for a row without tokens.
    """
    kept = mask.bool()
    weights = (kept.long().cumsum(dim=1) * kept).float()  # (batch, tokens): 1..n at attended tokens, else 0
    # masked_fill and not the weight 0 alone: 0 * inf at a padded position would be NaN.
    states = hidden.float().masked_fill(~kept[:, :, None], 0.0)
    total = (states * weights[:, :, None]).sum(dim=1)
    return total / weights.sum(dim=1, keepdim=True).clamp(min=1)
