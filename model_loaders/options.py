"""Loading that does not depend on the design: where to find a base LLM, how to compute with it, and silence meanwhile."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def quiet() -> Iterator[None]:
    """Silence what transformers and peft say while they load: what matters of it is checked and raised by us."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    with warnings.catch_warnings():
        # peft 0.21 still asks transformers 5.23 for a property under its old name.
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
        try:
            yield
        finally:
            logging.set_verbosity(verbosity)
            if bars:
                logging.enable_progress_bar()
