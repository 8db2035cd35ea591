"""The loader of a run's batches: rows of a plan, tokenised by worker processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader

from trainers.run.stopping import leave_signals_to_the_parent
from trainers.step.batch import TripletCollator
from triplets.batch_plan import BatchPlan
from triplets.dataset import TripletRows

if TYPE_CHECKING:
    from transformers import TrainingArguments


def triplet_loader(rows: TripletRows, plan: BatchPlan, collator: TripletCollator, args: TrainingArguments) -> DataLoader[Any]:
    """Return a loader of ``TripletBatch``es.

    Args:
        rows: triplets.
        plan: numbers of the rows of each batch.
        collator: tokenises a batch.
        args: number and options of the workers.
    """
    workers = args.dataloader_num_workers
    return DataLoader(
        rows,
        batch_sampler=plan,
        collate_fn=collator,
        num_workers=workers,
        worker_init_fn=leave_signals_to_the_parent,
        generator=torch.Generator(),  # or starting a loader would draw from the random state that dropout draws from
        prefetch_factor=args.dataloader_prefetch_factor if workers else None,
        persistent_workers=args.dataloader_persistent_workers if workers else False,
    )
