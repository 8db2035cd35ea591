"""Masks of attention in a pass over tensors without memory: those that a real batch has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

NAME = "find_packed_sequence_indices"


@contextmanager
def masks_of_real_batches() -> Iterator[None]:
    """Let transformers take a batch without values for what it is: every row a text of its own.

    transformers looks at positions for several texts in a row. Where they have no values it cannot tell, and makes a mask for
    causal attention, the square of the tokens, that no real batch of ours has: a causal pass then seems to need memory and
    operations that grow with the square of the length.
    """
    from transformers import masking_utils

    before = getattr(masking_utils, NAME, None)
    if before is None:  # another version, which may do without
        yield
        return
    setattr(masking_utils, NAME, lambda *_, **__: None)
    try:
        yield
    finally:
        setattr(masking_utils, NAME, before)
