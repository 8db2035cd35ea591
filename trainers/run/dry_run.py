"""``--dry_run``: two steps on the longest batch, save, load, encode and compare, before a run takes its hours.

Two steps leave LoRA at nearly zero, where a fault in saving or loading it would not be noticed: it is shifted at random before
it is saved.

Nothing is left behind: the files go to a directory beside ``--output_dir``, or beside the first of its parents that does not
exist yet, and are removed at the end.
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
import peft
import torch
from torch import nn

from common.errors import UserError
from common.words import duration, gigabytes
from model_loaders import load_design
from model_loaders.embed_model import EmbedModel
from model_loaders.encoding import is_sharded
from model_loaders.fingerprints import FACTOR, as_loaded
from model_loaders.layouts import tensors
from model_loaders.layouts.manifest import MANIFEST, read_manifest
from trainers.checkpoints.output_dir import check_output_dir
from trainers.checkpoints.write import save_final
from trainers.flags.train_config import TrainConfig
from trainers.memory.live_bytes import LiveBytes
from trainers.memory.longest_batch import longest_batch
from trainers.memory.plan import plan_or_reason, size_of
from trainers.monitor.progress import show_progress
from trainers.run.build import build_trainer, steps_of, steps_of_epoch
from trainers.run.trainer import ContrastiveTrainer
from trainers.scoring.evaluation import evaluations_of
from trainers.step.batch import TripletBatch
from trainers.step.distributed import from_first

if TYPE_CHECKING:
    from transformers import TrainingArguments

STEPS = 2  # the optimizer's state comes with the first, so that the second one has the peak of a long run
TEXTS = 8  # encoded by the trained model and by the loaded one
TOLERANCE = 1e-5  # of their unit vectors' values
LORA_SHIFT = 0.02  # standard deviation of the noise that is added to LoRA's B: as large as B after some thousand steps


@dataclass(frozen=True)
class Trial:
    """Result of a short training.

    Attributes:
        report: lines for the user.
        texts: some texts of the longest batch.
        vectors: ``(texts, dim)`` of the trained model, computed as by the loaded one.
        tolerance: greatest difference of a loaded adapter's vectors.
    """

    report: list[str]
    texts: list[str]
    vectors: np.ndarray
    tolerance: float


def dry_run(config: TrainConfig) -> None:
    """Go once through everything that a run does, on the longest batch that it can have.

    A stage that begins on another one's weights is tried on the base LLM: memory, time and files are the same.

    Raises:
        UserError: a run would stop with it; or the adapter encodes differently once it is loaded.
    """
    training = config.training
    output_dir = Path(training.output_dir).resolve()
    check_output_dir(output_dir, config.record(), resume=training.resume_from_checkpoint)
    scratch = from_first(lambda: scratch_beside(output_dir))
    try:
        trainer = build_trainer(replace(config, training=shortened(training, scratch)))
        trial = try_out(trainer, scratch)
        trial.report.extend(scoring_cost(trainer, config))
        is_first = trainer.is_world_process_zero()
        trainer.accelerator.free_memory()
        del trainer  # or the base model would be on the device twice
        gc.collect()
        if is_first:
            error = difference(config, scratch, trial)
            adapter = f"adapter         saved, loaded, encoded again: vectors equal within {error:.0e}"
            print("\n".join([*trial.report, adapter]), flush=True)
    finally:
        if training.process_index == 0:
            shutil.rmtree(scratch, ignore_errors=True)


def try_out(trainer: ContrastiveTrainer, scratch: Path) -> Trial:
    """Train on the longest batch, save the adapter and encode some texts."""
    model: EmbedModel = trainer.model
    batch = longest_batch(trainer.train_dataset, trainer.data_collator, trainer.args.per_device_train_batch_size)
    planned = plan_or_reason(trainer, batch)
    loader: Any = Repeated(batch, STEPS * trainer.args.gradient_accumulation_steps)
    trainer.get_train_dataloader = lambda: loader  # type: ignore[method-assign]
    show_progress(trainer)
    with measured(model) as peak:
        trainer.train()
    shift_lora(model)
    save_final(trainer, scratch)
    texts = batch.texts[:TEXTS]
    with as_loaded(model):
        vectors = model.encode(texts, "query")
    longest_text = max(map(len, batch.ids))
    report = [
        f"dry run         {STEPS} steps on the {batch.queries} longest rows: {batch.tokens:,} tokens, the longest text "
        f"{longest_text:,}; {peak.seconds / STEPS:.1f} s a step",
        f"memory          peak {gigabytes(peak.size)} measured ({peak.method}); planned {planned}",
    ]
    return Trial(report, texts, vectors, tolerance_of(model, scratch))


def scoring_cost(trainer: ContrastiveTrainer, config: TrainConfig) -> list[str]:
    """Score the tasks once, and say what a run's evaluations cost; called on every process."""
    if trainer.task_scores is None:
        return []
    began = time.monotonic()
    trainer.task_scores.score(trainer.model, STEPS, may_stop=False)
    seconds = time.monotonic() - began
    rows = trainer.train_dataset
    count = evaluations_of(config.training, steps_of(config, rows), steps_of_epoch(config, rows))
    tasks = len(trainer.task_scores.names)
    times = f"{count} times in this run" if count > 1 else "once in this run"
    return [f"evaluation      {tasks} task{'s' * (tasks > 1)} scored in {seconds:.1f} s; {times}: {duration(count * seconds)}"]


def scratch_beside(output_dir: Path) -> Path:
    """Make an empty directory beside ``output_dir``, or beside the first of its parents that does not exist; none is made."""
    parent = next(parent for parent in output_dir.parents if parent.is_dir())
    try:
        return Path(tempfile.mkdtemp(prefix=f".{output_dir.name}-dry_run-", dir=parent))
    except OSError as error:  # as a UserError it reaches all processes
        raise UserError(f"--dry_run cannot write to {parent}: {error.strerror or error}; give another --output_dir") from error


def shortened(training: TrainingArguments, output_dir: Path) -> TrainingArguments:
    """Return the arguments of a few steps in another directory, without reports and evaluations."""
    short = copy.copy(training)
    for name in ("save_strategy", "eval_strategy", "logging_strategy"):
        setattr(short, name, type(getattr(training, name))("no"))
    short.output_dir, short.report_to, short.resume_from_checkpoint = str(output_dir), [], None
    short.max_steps, short.warmup_steps, short.disable_tqdm = STEPS, 0, True
    short.eval_on_start = False  # is no matter of eval_strategy
    # Later batches of an optimizer step find gradients in memory: two show that as well as all would.
    short.gradient_accumulation_steps = min(2, training.gradient_accumulation_steps)
    return short


class Repeated:
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
    """Memory and time of a block of code.

    Attributes:
        size: most bytes in use at once, the model's weights included.
        method: of counting.
        seconds: of the block.
    """

    size: int = 0
    method: str = ""
    seconds: float = 0.0


@contextmanager
def measured(model: nn.Module) -> Iterator[Peak]:
    """Measure memory and time of the block: by PyTorch's allocator on a GPU, by the tensors that are alive elsewhere."""
    peak, start = Peak(), time.monotonic()
    if next(model.parameters()).device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        yield peak
        torch.cuda.synchronize()
        peak.size, peak.method = torch.cuda.max_memory_allocated(), "torch.cuda.max_memory_allocated"
    else:
        weights = [*model.parameters(), *model.buffers()]
        with LiveBytes(weights) as live:
            yield peak
        peak.size, peak.method = live.peak + sum(map(size_of, weights)), "tensors alive"
    peak.seconds = time.monotonic() - start


@torch.no_grad()
def shift_lora(model: EmbedModel) -> None:
    """Add noise to LoRA's B, which two steps leave at nearly zero, so that an adapter that is lost or rounded is noticed."""
    if not model.has_lora:
        return
    lora = peft.get_peft_model_state_dict(model.backbone, save_embedding_layers=False)
    generator = torch.Generator().manual_seed(0)
    targets, shifted = {}, {}
    for name, tensor in lora.items():
        if "lora_B" in name or "lora_embedding_B" in name:
            value = tensors.whole(tensor)
            noise = LORA_SHIFT * torch.randn(value.shape, generator=generator)
            targets[name] = tensor
            shifted[name] = (value + noise).to(value.dtype)
    tensors.copy_into(targets, shifted)


def tolerance_of(model: EmbedModel, directory: Path) -> float:
    """Return the greatest difference of the loaded adapter's vectors.

    They are equal where ``as_loaded`` casts as the loader does. Sharded parameters are rounded only: their vectors are off by
    the rounding noise, whose cosine is that of a distance between unit vectors.
    """
    noise = None
    if is_sharded(model) and (directory / MANIFEST).is_file():
        noise = read_manifest(directory).noise
    return max(TOLERANCE, math.sqrt(2 * FACTOR * (noise or 0.0)))


def difference(config: TrainConfig, directory: Path, trial: Trial) -> float:
    """Load the saved adapter as its user will, and return the greatest difference of its vectors from the trained model's."""
    model = config.model
    loaded = load_design(
        config.design,
        None if model.train == "full" else model.model_name_or_path,
        directory,
        model.cache_dir,
        device=config.training.device,
    )
    error = float(np.abs(loaded.encode(trial.texts, "query") - trial.vectors).max())
    if not error <= trial.tolerance:
        raise UserError(
            f"the adapter that was saved encodes {len(trial.texts)} texts differently once it is loaded: values of unit "
            f"vectors differ by up to {error:.2g}. Do not train with this installation: its runs could not be used."
        )
    return error
