"""Options of loading that do not depend on the design: where to find a base LLM and how to compute with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class LoadOptions:
    """How a base LLM is loaded.

    Attributes:
        cache_dir: hub cache; ``None`` for the default one.
        dtype: of the base LLM; ``None`` for that of the adapter's manifest, else bfloat16 on a GPU and float32 on the CPU.
        attn_implementation: attention kernel; ``None`` for the adapter's where it computes here, else the base LLM's best.
        device: ``None`` for the GPU where there is one.
        quantisation: of a base LLM for a new adapter: ``4bit`` or ``8bit``. A saved adapter says it itself.
    """

    cache_dir: str | Path | None = None
    dtype: str | torch.dtype | None = None
    attn_implementation: str | None = None
    device: str | torch.device | None = None
    quantisation: str = ""
