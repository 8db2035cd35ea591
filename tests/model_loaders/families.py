"""Tiny models of every family that the loaders promise, with windows far shorter than the tests' texts."""

from __future__ import annotations

from typing import Any

import pytest
import torch

WINDOW = 6
TOKENS = 28  # more than three layers of windows on either side let through
# name: (model type, changes of its config)
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "mistral": ("mistral", {"sliding_window": None}),
    "mistral with window": ("mistral", {"sliding_window": WINDOW}),
    "llama": ("llama", {}),
    "qwen2": ("qwen2", {}),
    "qwen2 with window": ("qwen2", {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 0}),
    "qwen3": ("qwen3", {}),
    "gemma2": ("gemma2", {"sliding_window": WINDOW}),
    "gemma3": ("gemma3_text", {"sliding_window": WINDOW}),
    "phi3": ("phi3", {}),
    "phi3 with window": ("phi3", {"sliding_window": WINDOW}),
}
KERNELS = [(family, kernel) for family in FAMILIES for kernel in ("sdpa", "eager") if (family, kernel) != ("gemma2", "sdpa")]
every_kernel = pytest.mark.parametrize(("family", "kernel"), KERNELS)


def a_batch(padding: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask of two texts of 28 and, unless ``none``, of 28 and 9 tokens with ``left`` or ``right`` padding."""
    ids = torch.randint(4, 54, (2, TOKENS), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    if padding == "left":
        mask[1, :-9] = 0
    elif padding == "right":
        mask[1, 9:] = 0
    return ids, mask
