"""A step that does not fit the device ends with what to turn, and by how much."""

from __future__ import annotations

from typing import Any

from common.files import first_line
from trainers.step.batch import TripletBatch
from trainers.step.contrastive import ContrastiveStep


def out_of_memory(error: BaseException, batch: TripletBatch, *, number: int, step: ContrastiveStep, args: Any) -> str:
    """Return the message for a step that ran out of memory.

    Args:
        error: PyTorch's.
        batch: this process's share.
        number: the step's.
        step: what ran.
        args: ``TrainingArguments``.
    """
    lengths = [len(ids) for ids in batch.ids] or [1]
    chunks = step.groups(lengths)
    # The graph of the whole batch is kept; beyond a budget, that of its largest chunk.
    kept = [max(lengths[index] for index in chunk) * len(chunk) for chunk in chunks]
    padded = max(kept) if step.is_cached(lengths, chunks) else sum(kept)
    half, longest = max(padded // 2, 1), max(lengths)
    ways = [f"--chunk_tokens {half}, the same gradient for more time"] if half >= longest else []
    if not (getattr(args, "activation_checkpointing", False) or getattr(args, "gradient_checkpointing", False)):
        ways.append("--gradient_checkpointing, the same gradient for about a third more time")
    if longest > 2:
        ways.append(f"--max_seq_length {longest // 2}, which cuts texts")
    if args.per_device_train_batch_size > 1:
        ways.append(f"--per_device_train_batch_size {args.per_device_train_batch_size // 2}, which means fewer negatives")
    return (
        f"step {number} does not fit the memory of the device: {len(batch)} texts of {sum(lengths):,} tokens, the longest "
        f"{longest:,}, {padded:,} tokens with padding kept at once ({first_line(error)}). In this order: {'; '.join(ways)}. "
        "--dry_run tries the longest batch beforehand."
    )
