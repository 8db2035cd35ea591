"""Last-token pooling: the state of the last attended token (EOS), wherever the padding is."""

from __future__ import annotations

import torch
from torch import Tensor


def last_token_index(mask: Tensor) -> Tensor:
    """Return the position of each row's last attended token.

    Args:
        mask: ``(batch, tokens)``, non-zero where a token is real. Padding may be on either side.

    Returns:
        ``(batch,)`` int64 positions. A row without any real token gives the last position.
    """
    tokens = mask.shape[1]
    return tokens - 1 - mask.flip(1).to(torch.int32).argmax(dim=1)


def last_token(hidden: Tensor, mask: Tensor) -> Tensor:
    """Pick the last attended token's state.

    Args:
        hidden: ``(batch, tokens, hidden)``.
        mask: ``(batch, tokens)``.

    Returns:
        ``(batch, hidden)`` in fp32.
    """
    rows = torch.arange(hidden.shape[0], device=hidden.device)
    return hidden[rows, last_token_index(mask)].float()
