"""What is checked before a run starts: processes, devices, and whether there is something to learn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from common.errors import UserError

if TYPE_CHECKING:
    from triplets.dataset import TripletRows


def check_processes(world_size: int, environment: Mapping[str, str]) -> None:
    """Refuse to train alone where the launcher meant several processes.

    ``accelerate launch --cpu --num_processes 2`` starts one process and says nothing: it sets MASTER_ADDR, as for several,
    and no WORLD_SIZE. Each would train on its own batch, with a part of the negatives.
    """
    for name in ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS"):
        meant = int(environment.get(name) or 1)
        if meant > world_size:
            raise UserError(
                f"the environment says {meant} processes ({name}), but accelerate sees {world_size}. On the CPU start with "
                "accelerate launch --config_file configs/accelerate/cpu.yaml --num_processes N."
            )
    launched = "ACCELERATE_MIXED_PRECISION" in environment
    if launched and world_size == 1 and "MASTER_ADDR" in environment and "WORLD_SIZE" not in environment:
        raise UserError(
            "accelerate was told to launch several processes and started only one (as it does for --cpu without "
            "--multi_gpu). Start with accelerate launch --config_file configs/accelerate/cpu.yaml --num_processes N."
        )


def check_gpus(visible: int) -> None:
    """Refuse one process for several GPUs: Trainer would wrap the model in DataParallel."""
    if visible > 1:
        raise UserError(
            f"{visible} GPUs are visible and one process would drive them all, which is slow and not exact. Start one "
            "process a GPU (accelerate launch --config_file accelerate_config.yaml ...), or choose one: CUDA_VISIBLE_DEVICES=0"
        )


def check_negatives(rows: TripletRows, queries: int, *, homogeneous: bool) -> None:
    """Refuse batches of one query whose rows have no negatives: there is nothing to tell the positive from.

    Args:
        rows: the triplets.
        queries: of a batch that are compared with each other's documents.
        homogeneous: whether all batches are of one data set.
    """
    for part, share in zip(rows.parts, rows.shares, strict=True):
        largest = min(queries, share.taken) if homogeneous or len(rows.parts) == 1 else queries
        if largest == 1 and not part.has_negatives():
            raise UserError(
                f"{part.label}: every batch has one query and no negatives, so its loss is always 0: raise "
                "--per_device_train_batch_size, give the rows negatives, or mix small data sets with --batching blended"
            )


def check_positions(model: Any) -> str:
    """Compare the longest text with the base model's positions.

    Returns:
        What a run should say of itself: texts may be longer than those that a base model with computed positions (rotary,
        ALiBi) has learned from; it encodes them, less well. Empty if they are not.

    Raises:
        UserError: the base model has a table of positions, and longer texts would end in an index error when they come.
    """
    longest, known = max(model.recipe.length("query"), model.recipe.length("document")), positions(model)
    if known is None or longest <= known:
        return ""
    told = f"texts of up to {longest} tokens, {model.base_model.name_or_path} knows {known} positions"
    tables = ("wpe", "embed_positions", "position_embeddings")
    if any(name.endswith(tables) and hasattr(module, "num_embeddings") for name, module in model.backbone.named_modules()):
        raise UserError(f"{told}: lower --max_seq_length and --query_max_length to {known} at most")
    return f"{told}: what it makes of later ones is not what it has learned"


def positions(model: Any) -> int | None:
    """Return how many positions the base model was made for, or None where its config has no such number."""
    number: int | None = getattr(model.backbone.config, "max_position_embeddings", None)
    return number
