"""Token ids and masks of the texts of one forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Row:
    """How the real tokens of a batch stand in one row, where the base LLM is to compute these alone (``backbone.packing``).

    Attributes:
        lengths: real tokens of each text.
        sizes: the number of texts in each part; those of a part stand together and attend padded to the longest of them.
    """

    lengths: tuple[int, ...]
    sizes: tuple[int, ...]


@dataclass(frozen=True)
class Batch:
    """Token ids and masks of one forward pass, each ``(batch, tokens)``.

    Attributes:
        input_ids: int64.
        attention_mask: 1 where attention may look, or ``None`` where it may look everywhere.
        pool_mask: 1 where pooling may look.
        row: its real tokens alone; ``None`` where the base LLM is to compute the padding, too.
    """

    input_ids: Tensor
    attention_mask: Tensor | None
    pool_mask: Tensor
    row: Row | None = None

    def packed(self, lengths: Sequence[int], sizes: Sequence[int] = ()) -> Batch:
        """Let the base LLM compute real tokens alone.

        Args:
            lengths: real tokens of each text, at its left. The mask says the same, but has no values where a step is
                planned without memory.
            sizes: of `Row`; empty for one part.
        """
        return replace(self, row=Row(tuple(lengths), tuple(sizes) or (len(lengths),)))

    def lean(self, causal: bool) -> Batch:
        """Leave out an attention mask that hides nothing: attention kernels are faster without.

        Padding is on the right, so with causal attention no token of a text sees it, whether it is masked or not. The pooled
        tokens say then how long a text is (``backbone.rope.rows_of``), so that its last one must be among them.
        """
        assert self.attention_mask is not None
        hides = not causal and not bool(self.attention_mask.all())
        same = self.pool_mask is self.attention_mask
        needed = hides or not (same or bool((last_places(self.pool_mask) == last_places(self.attention_mask)).all()))
        return self if needed else replace(self, attention_mask=None)

    def to(self, device: torch.device | str) -> Batch:
        """Copy to ``device``; to a GPU from pinned memory, so that nothing waits for the copy."""
        same = self.pool_mask is self.attention_mask
        ids, pool_mask = (move(one, device) for one in (self.input_ids, self.pool_mask))
        mask = pool_mask if same else None if self.attention_mask is None else move(self.attention_mask, device)
        return Batch(ids, mask, pool_mask, self.row)


def last_places(mask: Tensor) -> Tensor:
    """Return the position behind the last token of each row of a mask ``(batch, tokens)``, int64 ``(batch,)``."""
    return (mask.bool() * torch.arange(1, mask.shape[1] + 1)).amax(dim=1)


def move(tensor: Tensor, device: torch.device | str) -> Tensor:
    """Copy from the CPU to ``device``; to a GPU from pinned memory."""
    return tensor.pin_memory().to(device, non_blocking=True) if torch.device(device).type == "cuda" else tensor.to(device)
