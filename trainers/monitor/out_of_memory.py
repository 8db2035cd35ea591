"""The message for a step that does not fit the device: the flags to change, and to which values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from common.files import first_line
from model_loaders.backbone.load import trains_weights
from model_loaders.embed_model import EmbedModel
from trainers.memory.plan import checkpoints_activations
from trainers.step.batch import TripletBatch
from trainers.step.chunks import padded_sizes
from trainers.step.contrastive import ContrastiveStep

if TYPE_CHECKING:
    from transformers import TrainingArguments


def out_of_memory(
    error: BaseException, batch: TripletBatch, *, number: int, step: ContrastiveStep, args: TrainingArguments
) -> str:
    """Return the message for a step that ran out of memory.

    Args:
        error: PyTorch's.
        batch: this process's share.
        number: of the step.
        step: the code that ran.
        args: of the run.
    """
    lengths = [len(ids) for ids in batch.ids] or [1]
    kept = kept_tokens(lengths, step)
    advice = "; ".join(remedies(batch, step=step, args=args))
    return (
        f"step {number} does not fit the memory of the device: {len(batch)} texts of {sum(lengths):,} tokens, the longest "
        f"{max(lengths):,}, {kept:,} tokens with padding kept at once ({first_line(error)}). In this order: "
        f"{advice}. --dry_run tries the longest batch beforehand. A run with checkpoints goes on only as it was: begin a new "
        "one in another --output_dir, from the weights of its last checkpoint with --peft_model_name_or_path."
    )


def kept_tokens(lengths: Sequence[int], step: ContrastiveStep) -> int:
    """Return the padded tokens whose graph is kept at once.

    Those of the whole batch; of the largest chunk with gradient caching, and where each chunk's graph is freed before the next.
    """
    groups = step.groups(lengths)
    sizes = padded_sizes(lengths, groups)
    return max(sizes) if step.frees_each_chunk or step.chunker.needs_caching(lengths, groups) else sum(sizes)


def remedies(batch: TripletBatch, *, step: ContrastiveStep, args: TrainingArguments) -> list[str]:
    """Return the flags to change, and to which values, the harmless ones first."""
    lengths = [len(ids) for ids in batch.ids] or [1]
    half, longest = max(kept_tokens(lengths, step) // 2, 1), max(lengths)
    advice = []
    if half >= longest:
        advice.append(f"--chunk_tokens {half}, the same gradient for more time")
    if not checkpoints_activations(args):
        advice.append("--gradient_checkpointing, the same gradient for about a third more time")
    if longest > 2:
        advice.append(f"--max_seq_length {longest // 2}, which cuts texts")
    if args.per_device_train_batch_size > 1:
        advice.append(f"--per_device_train_batch_size {args.per_device_train_batch_size // 2}, which means fewer negatives")
    return advice


def fewer_weights(model: EmbedModel) -> list[str]:
    """Return what to train instead where the gradients and the optimizer's state do not fit, whatever the batch."""
    advice = []
    if trains_weights(model.backbone):
        advice += ["--train lora", "--last_layers with a small number, which trains the last layers alone"]
    if model.has_lora:
        advice.append("a smaller --lora_r")
    if model.pooling is not None:
        advice.append("a smaller pooling (--pooling_latents, --pooling_heads, --pooling_head_dim), or a design without weights")
    if model.device.type == "cuda":
        advice.append("FSDP2, which splits them among GPUs (configs/accelerate/fsdp2.yaml)")
    return advice
