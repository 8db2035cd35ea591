"""First-token pooling: the state of the first attended token (BOS), wherever the padding is."""

from __future__ import annotations

import torch
from torch import Tensor


def first_token(hidden: Tensor, mask: Tensor) -> Tensor:
    """Pick the first attended token's state. With causal attention it is the same for all texts that begin alike.

    Args:
        hidden: ``(batch, tokens, hidden)``.
        mask: ``(batch, tokens)``, non-zero where a token may be read. A row without any gives position 0.

    Returns:
        ``(batch, hidden)`` in fp32.
    """
    rows = torch.arange(hidden.shape[0], device=hidden.device)
    return hidden[rows, mask.bool().to(torch.int32).argmax(dim=1)].float()
