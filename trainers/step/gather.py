"""Vectors of all processes, gathered so that their gradients flow back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from trainers.step.batch import TripletBatch
from trainers.step.loss import LossResult


@dataclass(frozen=True)
class Share:
    """What every process knows of another one's part of the batch: how many of each there are."""

    queries: int
    texts: int
    chunks: int
    cached: int  # 1 where its texts exceed the budget
    alone: int  # queries that other queries' documents are no negatives of


def gather_shares(batch: TripletBatch, chunks: int, cached: bool, device: torch.device, processes: int) -> list[Share]:
    """Return what every process's part of the batch holds, by rank."""
    own = [batch.queries, len(batch), chunks, int(cached), int((~batch.in_batch).sum())]
    if processes == 1:
        return [Share(*own)]
    facts = torch.tensor(own, device=device)
    everyone = [torch.empty_like(facts) for _ in range(processes)]
    dist.all_gather(everyone, facts)
    return [Share(*row) for row in torch.stack(everyone).tolist()]


def mean_over_processes(own: LossResult, part: float) -> LossResult:
    """Average results over the queries of all processes; ``part`` of them are this process's."""
    values = part * torch.stack([own.loss.detach(), own.accuracy, own.excluded])
    dist.all_reduce(values)
    return LossResult(*values)


def gather_blocks(own: Tensor, rows: Sequence[int], rank: int) -> list[Tensor]:
    """Return every process's rows by rank; the own block is ``own`` itself, so that a gradient reaches it.

    Args:
        own: this process's ``(rows[rank], …)`` rows; the trailing sizes agree on all processes.
        rows: rows of each process; they may differ.
        rank: this process.
    """
    if len(rows) == 1:
        return [own]
    longest = max(rows)
    padded = own.new_zeros((longest, *own.shape[1:]))
    padded[: len(own)] = own.detach()
    blocks = [torch.empty_like(padded) for _ in rows]
    dist.all_gather(blocks, padded)
    return [own if number == rank else block[:count] for number, (block, count) in enumerate(zip(blocks, rows, strict=True))]


def split_roles(blocks: Sequence[Tensor], queries: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Split every process's rows into queries and documents: all queries; all positives, then all negatives."""
    parts = [
        (block[:count], block[count : 2 * count], block[2 * count :]) for block, count in zip(blocks, queries, strict=True)
    ]
    return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts] + [part[2] for part in parts])
