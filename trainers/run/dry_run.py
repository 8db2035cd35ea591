"""``--dry_run``: two steps on the longest batch, save, load, encode and compare, before a run takes its hours.

Two steps leave LoRA at nearly zero, where nothing that happens to it is seen: before it is saved it is moved at random.

Nothing is left behind: what is written goes to a directory beside ``--output_dir``, or beside the first of its parents that
does not exist yet, and is removed at the end.
"""

from __future__ import annotations

import copy
import gc
import math
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from common.errors import UserError
from common.words import gigabytes
from model_loaders.encoding import is_sharded
from model_loaders.fingerprints import FACTOR, as_loaded
from model_loaders.layouts import tensors
from model_loaders.layouts.manifest import MANIFEST, read_manifest
from trainers.memory.live_bytes import LiveBytes
from trainers.memory.longest_batch import longest_batch
from trainers.memory.plan import plan_or_reason, size_of
from trainers.step.batch import TripletBatch
from trainers.step.distributed import from_first

if TYPE_CHECKING:
    from trainers.flags.train_config import TrainConfig

STEPS = 2  # the optimizer's state comes with the first, so that the second one has the peak of a long run
TEXTS = 8  # encoded by the trained model and by the loaded one
TOLERANCE = 1e-5  # of their unit vectors' values
MOVED = 0.02  # standard deviation of what is added to LoRA's B: as large as after some thousand steps


def dry_run(config: TrainConfig) -> None:
    """Go once through everything that a run does, on the longest batch that it can have.

    Raises:
        UserError: what a run would stop with, or an adapter that encodes differently once it is loaded.
    """
    from trainers.checkpoints.resuming import check_output_dir
    from trainers.run.build import build_trainer, recorded
    from trainers.run.progress import show_progress

    beside = Path(config.training.output_dir).resolve()
    check_output_dir(beside, recorded(config), resume=config.training.resume_from_checkpoint)
    scratch = from_first(lambda: scratch_beside(beside))
    try:
        trainer = build_trainer(replace(config, training=shortened(config.training, scratch)))
        batch = longest_batch(trainer.train_dataset, trainer.data_collator, trainer.args.per_device_train_batch_size)
        planned = plan_or_reason(trainer, batch)
        loader: Any = Longest(batch, STEPS * trainer.args.gradient_accumulation_steps)
        trainer.get_train_dataloader = lambda: loader  # type: ignore[method-assign]
        show_progress(trainer)
        with measured(trainer.model) as peak:
            trainer.train()
        move_lora(trainer.model)
        trainer.save_final(scratch)
        texts = batch.texts[:TEXTS]
        with as_loaded(trainer.model):
            vectors = trainer.model.encode(texts, "query")
        tolerance = tolerance_of(trainer.model, scratch)
        told = [
            f"dry run         {STEPS} steps on the {batch.queries} longest rows: {batch.tokens:,} tokens, the longest text "
            f"{max(map(len, batch.ids)):,}; {peak.seconds / STEPS:.1f} s a step",
            f"memory          peak {gigabytes(peak.size)} measured ({peak.how}); planned {planned}",
        ]
        first = trainer.accelerator.is_main_process
        trainer.accelerator.free_memory()
        del trainer  # or the base model would be on the device twice
        gc.collect()
        if first:
            off = difference(config, scratch, texts, vectors, tolerance)
            told.append(f"adapter         saved, loaded, encoded again: vectors equal within {off:.0e}")
            print("\n".join(told), flush=True)
    finally:
        if config.training.process_index == 0:
            shutil.rmtree(scratch, ignore_errors=True)


def scratch_beside(output_dir: Path) -> Path:
    """Make an empty directory on the file system of ``output_dir``, of which no parent need exist: none is made."""
    parent = next(parent for parent in output_dir.parents if parent.is_dir())
    try:
        return Path(tempfile.mkdtemp(prefix=f".{output_dir.name}-dry_run-", dir=parent))
    except OSError as error:  # as a UserError it reaches all processes
        raise UserError(f"--dry_run cannot write to {parent}: {error.strerror or error}; give another --output_dir") from error


def shortened(training: Any, output_dir: Path) -> Any:
    """Return ``TrainingArguments`` for a few steps in another directory, of which nothing is reported or evaluated."""
    short = copy.copy(training)
    for name in ("save_strategy", "eval_strategy", "logging_strategy"):
        setattr(short, name, type(getattr(training, name))("no"))
    short.output_dir, short.report_to, short.resume_from_checkpoint = str(output_dir), [], None
    short.max_steps, short.warmup_steps, short.disable_tqdm = STEPS, 0, True
    short.eval_on_start = False  # is no matter of eval_strategy
    # Later batches of an optimizer step find gradients in memory: two show that, as well as all would.
    short.gradient_accumulation_steps = min(2, training.gradient_accumulation_steps)
    return short


class Longest:
    """A loader that gives the same batch again and again."""

    def __init__(self, batch: TripletBatch, batches: int) -> None:
        self.batch, self.batches = batch, batches
        self.batch_sampler = SimpleNamespace(rows=batch.queries * batches)

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[TripletBatch]:
        return iter([self.batch] * self.batches)


@dataclass
class Peak:
    """What a block of code took.

    Attributes:
        size: most bytes in use at once, the model's weights included.
        how: who counted.
        seconds: of the block.
    """

    size: int = 0
    how: str = ""
    seconds: float = 0.0


@contextmanager
def measured(model: nn.Module) -> Iterator[Peak]:
    """Measure memory and time of the block: by PyTorch's allocator on a GPU, by the tensors that are alive elsewhere."""
    found, start = Peak(), time.monotonic()
    if next(model.parameters()).device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        yield found
        torch.cuda.synchronize()
        found.size, found.how = torch.cuda.max_memory_allocated(), "torch.cuda.max_memory_allocated"
    else:
        weights = [*model.parameters(), *model.buffers()]
        with LiveBytes(weights) as live:
            yield found
        found.size, found.how = live.peak + sum(map(size_of, weights)), "tensors alive"
    found.seconds = time.monotonic() - start


@torch.no_grad()
def move_lora(model: Any) -> None:
    """Add to LoRA's B, which two steps leave at nearly zero, so much that an adapter which is lost or rounded is noticed."""
    if not model.has_lora:
        return
    import peft

    found = peft.get_peft_model_state_dict(model.backbone, save_embedding_layers=False)
    generator = torch.Generator().manual_seed(0)
    targets = {name: tensor for name, tensor in found.items() if "lora_B" in name or "lora_embedding_B" in name}
    values = {name: tensors.whole(tensor) for name, tensor in targets.items()}
    moved = {name: value + MOVED * torch.randn(value.shape, generator=generator) for name, value in values.items()}
    tensors.copy_into(targets, {name: value.to(values[name].dtype) for name, value in moved.items()})


def tolerance_of(model: Any, directory: Path) -> float:
    """Return how far the loaded adapter's vectors may be off.

    They are equal where ``as_loaded`` casts as the loader does. Sharded parameters are rounded only: their vectors are off by
    the rounding noise, whose cosine is that of a distance between unit vectors.
    """
    noise = read_manifest(directory).noise if is_sharded(model) and (directory / MANIFEST).is_file() else None
    return max(TOLERANCE, math.sqrt(2 * FACTOR * (noise or 0.0)))


def difference(config: TrainConfig, directory: Path, texts: list[str], vectors: np.ndarray, tolerance: float) -> float:
    """Load the saved adapter as its user will, and return how far its vectors are from the trained model's."""
    from model_loaders.loading import load_design

    model = config.model
    loaded = load_design(
        config.design,
        model.model_name_or_path,
        directory,
        model.cache_dir,
        device=config.training.device,
    )
    off: float = float(np.abs(loaded.encode(texts, "query") - vectors).max())
    if not off <= tolerance:
        raise UserError(
            f"the adapter that was saved encodes {len(texts)} texts differently once it is loaded: values of unit vectors "
            f"differ by up to {off:.2g}. Do not train with this installation: its runs could not be used."
        )
    return off
