"""Mean over token states that all have one size: no token with a massive activation decides it (arXiv 2402.17762)."""

from __future__ import annotations

from torch import Tensor

from pooling.mean import masked_mean

SMALLEST = 1e-6  # a state without a larger number counts as none: it has no direction


def normalised_mean(hidden: Tensor, mask: Tensor) -> Tensor:
    """Scale each token's state to a root mean square of 1, then average over the attended tokens, in fp32.

    In the inner layers of many LLMs a token or two have states a hundred times as large as the others', and these states hardly
    depend on the text. A plain mean of such a layer is mostly those tokens.

    Args:
        hidden: ``(batch, tokens, hidden)``.
        mask: ``(batch, tokens)``, non-zero where a token counts.

    Returns:
        ``(batch, hidden)`` in fp32; zeros for a row without tokens.
    """
    # masked_fill before the division: inf / inf at a padded position would be NaN, and its gradient too.
    states = hidden.float().masked_fill(~mask.bool().unsqueeze(-1), 0.0)
    largest = states.abs().amax(dim=-1, keepdim=True).clamp(min=SMALLEST)
    states = states / largest.detach()  # squares of large states would be infinite in fp32
    size = states.pow(2).mean(dim=-1, keepdim=True).clamp(min=SMALLEST).sqrt()
    return masked_mean(states / size, mask)
