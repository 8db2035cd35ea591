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
from model_loaders.fingerprints import CEILING, FACTOR, farthest
from model_loaders.layouts.manifest import read_manifest
from model_loaders.layouts.merged_base import merge_adapter
from model_loaders.options import LoadOptions
from trainers.step.distributed import from_first

if TYPE_CHECKING:
    from trainers.flags.train_config import TrainConfig

FARTHEST = 1e-3  # 1 - cosine of a probe text's vectors with and without merging, where rounding explains no more


def begin_on_merged(config: TrainConfig) -> None:
    """Merge the adapter of the stage before into the base LLM that this one begins on; called on every process.

    Raises:
        UserError: it cannot be merged, or the merged base gives other vectors.
    """
    if config.merges is not None:
        adapter, target = map(Path, config.merges)
        from_first(lambda: merge_and_check(adapter, target, config.model.cache_dir))


def merge_and_check(adapter: Path, target: Path, cache_dir: str | None) -> None:
    """Merge an adapter on this process, and compare the probe texts' vectors before the folder gets its name."""
    if not (adapter / "embedder.json").is_file():
        raise UserError(f"{adapter} holds no finished adapter to merge: the stage before has not ended")

    def check(merged: Path) -> None:
        check_vectors(merged, adapter, cache_dir)

    if merge_adapter(adapter, target, cache_dir, check):
        print(f"merged {adapter} into {target}")


def check_vectors(merged: Path, adapter: Path, cache_dir: str | None) -> None:
    """Compare the probe texts' vectors of a merged base LLM with those of the adapter.

    As loading does, it allows a multiple of the rounding noise that the adapter was saved with.

    Raises:
        UserError: they differ by more.
    """
    manifest = read_manifest(adapter)
    options = LoadOptions(cache_dir=cache_dir, dtype=manifest.dtype, attn_implementation=manifest.attn_implementation or None)
    model = create(manifest.design, merged, lora=None, recipe=manifest.recipe, options=options).eval()
    off = farthest(model.fingerprints(), np.asarray(manifest.fingerprints, dtype=np.float32))
    allowed = min(max(FARTHEST, FACTOR * (manifest.noise or 0.0)), CEILING)
    if not off <= allowed:  # also true for NaN
        raise UserError(
            f"merging {adapter} changed its vectors (1 - cosine is {off:.2g}, rounding explains {allowed:.2g}): this base LLM "
            "cannot be merged tensor by tensor; continue the adapter instead (start: continued)"
        )


def forget_run() -> None:
    """Free a run's memory, and let the next one choose its precision."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    AcceleratorState._reset_state()
