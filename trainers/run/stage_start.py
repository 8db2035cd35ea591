"""The start of a stage on the weights of the one before, and what is forgotten between two runs of one process."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from accelerate.state import AcceleratorState

from common.errors import UserError
from model_loaders.create import create
from model_loaders.layouts.manifest import read_manifest
from model_loaders.layouts.merged_base import merge_adapter
from model_loaders.options import LoadOptions
from trainers.step.distributed import from_first

if TYPE_CHECKING:
    from trainers.flags.train_config import TrainConfig

NEAREST = 0.999  # cosine of a probe text's vectors with and without merging


def begin_on_merged(config: TrainConfig) -> None:
    """Merge the adapter of the stage before into the base LLM that this one begins on; called on every process.

    Raises:
        UserError: it cannot be merged, or the merged base gives other vectors.
    """
    if config.merges is not None:
        adapter, target = map(Path, config.merges)
        from_first(lambda: merge_and_check(adapter, target, config.model.cache_dir))


def merge_and_check(adapter: Path, target: Path, cache_dir: str | None) -> None:
    """Merge an adapter on this process, and compare the probe texts' vectors once the folder is made."""
    if not (adapter / "embedder.json").is_file():
        raise UserError(f"{adapter} holds no finished adapter to merge: the stage before has not ended")
    made = not target.is_dir()
    merge_adapter(adapter, target, cache_dir)
    if not made:
        return
    manifest = read_manifest(adapter)
    options = LoadOptions(cache_dir=cache_dir, dtype=manifest.dtype, attn_implementation=manifest.attn_implementation or None)
    model = create(manifest.design, target, lora=None, recipe=manifest.recipe, options=options).eval()
    cosines = (model.fingerprints() * np.array(manifest.fingerprints)).sum(axis=1)
    if not (cosines >= NEAREST).all():
        raise UserError(
            f"{target}: merging {adapter} changed its vectors (cosine {cosines.min():.4f} at the least): this base LLM cannot "
            "be merged tensor by tensor; continue the adapter instead (start: continued)"
        )
    print(f"merged {adapter} into {target}")


def forget_run() -> None:
    """Free a run's memory, and let the next one choose its precision."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    AcceleratorState._reset_state()
