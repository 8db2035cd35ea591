"""Mean pooling over the attended tokens."""

from __future__ import annotations

from torch import Tensor


def masked_mean(hidden: Tensor, mask: Tensor) -> Tensor:
    """Average the states of the attended tokens, accumulated in fp32.

    Args:
        hidden: ``(batch, tokens, hidden)``.
        mask: ``(batch, tokens)``, non-zero where a token counts.

    Returns:
        ``(batch, hidden)`` in fp32; zeros for a row without tokens.
    """
    kept = mask.bool().unsqueeze(-1)  # (batch, tokens, 1)
    # masked_fill and not a product: 0 * inf at a padded position would be NaN.
    total = hidden.float().masked_fill(~kept, 0.0).sum(dim=1)
    return total / kept.sum(dim=1).clamp(min=1)
