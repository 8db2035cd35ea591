"""Vectors of all processes, gathered so that their gradients flow back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from trainers.step.batch import TripletBatch
from trainers.step.loss import LossBatch, LossResult


@dataclass(frozen=True)
class ProcessGroup:
    """The processes that share a batch.

    Attributes:
        count: number of processes.
        rank: this process among them.
        share_negatives: whether the texts of every process are negatives for every other one.
    """

    count: int = 1
    rank: int = 0
    share_negatives: bool = True


@dataclass(frozen=True)
class BatchShare:
    """Sizes of one process's share of a batch, known to every process.

    Attributes:
        queries: number of queries.
        texts: number of texts.
        chunks: number of chunks that its texts are cut into.
        cached: 1 if its texts exceed the budget.
        without_in_batch: number of queries that are compared with their own documents alone.
    """

    queries: int
    texts: int
    chunks: int
    cached: int
    without_in_batch: int


def gather_shares(batch: TripletBatch, chunks: int, cached: bool, device: torch.device, processes: int) -> list[BatchShare]:
    """Return the sizes of every process's share, by rank."""
    own = [batch.queries, len(batch), chunks, int(cached), int((~batch.in_batch).sum())]
    if processes == 1:
        return [BatchShare(*own)]
    sizes = torch.tensor(own, device=device)
    gathered = [torch.empty_like(sizes) for _ in range(processes)]
    dist.all_gather(gathered, sizes)
    return [BatchShare(*row) for row in torch.stack(gathered).tolist()]


def mean_over_processes(own: LossResult, part: float) -> LossResult:
    """Average results over the queries of all processes; this process has the share ``part`` of them."""
    values = part * torch.stack([own.loss.detach(), own.accuracy, own.excluded])
    dist.all_reduce(values)
    return LossResult(*values)


def join_batch(own: Tensor, batch: TripletBatch, shares: Sequence[BatchShare], rank: int) -> LossBatch:
    """Gather what the loss is computed from; the own vectors keep their graph.

    Args:
        own: ``(texts, dim)`` of this process, in the order of ``batch.ids``.
        batch: this process's share.
        shares: of the processes to gather from, by rank; this one's alone makes the batch of this process.
        rank: this process among ``shares``.
    """
    texts = [share.texts for share in shares]
    queries = [share.queries for share in shares]
    hashes = batch.hashes.to(own.device)
    facts = torch.stack([batch.negatives, batch.in_batch.long()], dim=1).to(own.device)  # (queries, 2)

    vectors, documents = split_roles(gather_blocks(own, texts, rank), queries)
    query_hashes, document_hashes = split_roles(gather_blocks(hashes, texts, rank), queries)
    negatives, in_batch = torch.cat(gather_blocks(facts, queries, rank)).unbind(dim=1)

    number = torch.arange(len(vectors), device=own.device)
    hard_negatives = len(documents) - len(vectors)
    owners = torch.cat([number, number.repeat_interleave(negatives, output_size=hard_negatives)])
    scores = None
    if batch.scores is not None:
        aligned = torch.cat([torch.zeros(batch.queries), batch.scores]).to(own.device)  # by text, as the hashes
        scores = split_roles(gather_blocks(aligned, texts, rank), queries)[1]
    restricted = any(share.without_in_batch for share in shares)
    return LossBatch(vectors, documents, query_hashes, document_hashes, owners, in_batch.bool() if restricted else None, scores)


def gather_blocks(own: Tensor, rows: Sequence[int], rank: int) -> list[Tensor]:
    """Return every process's rows by rank; the own block is ``own`` itself, so that a gradient reaches it.

    Args:
        own: this process's ``(rows[rank], …)`` rows; the trailing sizes agree on all processes.
        rows: number of rows of each process; they may differ.
        rank: this process.
    """
    if len(rows) == 1:
        return [own]
    longest = max(rows)
    padded = own.new_zeros((longest, *own.shape[1:]))
    padded[: len(own)] = own.detach()
    gathered = [torch.empty_like(padded) for _ in rows]
    dist.all_gather(gathered, padded)
    blocks = [block[:count] for block, count in zip(gathered, rows, strict=True)]
    blocks[rank] = own
    return blocks


def split_roles(blocks: Sequence[Tensor], queries: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Split every process's rows into queries and documents: all queries; all positives, then all negatives."""
    query_rows, positives, negatives = [], [], []
    for block, count in zip(blocks, queries, strict=True):
        query_rows.append(block[:count])
        positives.append(block[count : 2 * count])
        negatives.append(block[2 * count :])
    return torch.cat(query_rows), torch.cat([*positives, *negatives])
