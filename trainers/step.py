"""One contrastive step: vectors of all texts, the loss over all processes, and its exact gradient.

The gradient goes in two parts. First the loss's gradient with respect to this process's vectors: all processes gather
all vectors, each computes the same loss, and keeps the rows of the gradient that are its own. Then from the vectors into
the parameters, by a backward pass through the wrapped model, so that DDP averages over the processes; multiplying the
vectors' gradient by their number cancels that mean. The result is the gradient of the joined batch.

With a token budget (gradient caching, arXiv 2101.06983) the texts are encoded twice, in chunks: without a graph to get the
vectors, and with one, chunk by chunk and with the same dropout, to send the vectors' gradient back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from model_loaders.tokenising import Batch, TextTokenizer
from trainers.batching import TripletBatch, plan_chunks
from trainers.loss import contrastive_loss, false_negatives

# Without a budget the whole graph stays in memory anyway; texts are still encoded in groups of similar length, which
# saves padding. Groups smaller than this would keep no processor busy.
GROUP_TOKENS = 4096


@dataclass(frozen=True)
class StepResult:
    """What one step found, over all processes.

    Attributes:
        loss: scalar.
        accuracy: share of queries whose positive scores highest.
        excluded: share of query-document pairs that were left out as false negatives.
        candidates: documents that a query is compared with.
    """

    loss: Tensor
    accuracy: Tensor
    excluded: Tensor
    candidates: int


@dataclass(frozen=True)
class ContrastiveStep:
    """Computes loss and gradients of one batch.

    Attributes:
        tokenizer: pads the chunks.
        scale: 1 / temperature.
        mask_duplicates: leave texts equal to the query or its positive out of the negatives.
        chunk_tokens: padded tokens of one forward pass (gradient caching), or ``None``.
        processes: how many processes share the batch.
        rank: this process among them.
    """

    tokenizer: TextTokenizer
    scale: float = 20.0
    mask_duplicates: bool = True
    chunk_tokens: int | None = None
    processes: int = 1
    rank: int = 0

    def __call__(
        self,
        model: nn.Module,
        batch: TripletBatch,
        backward: Callable[[Tensor], None],
        no_sync: Callable[[], AbstractContextManager[Any]] = nullcontext,
        weight: float = 1.0,
    ) -> StepResult:
        """Run forward and backward.

        Args:
            model: the wrapped model (DDP), so that its gradients are synchronised.
            batch: this process's share; may be empty where there are several processes.
            backward: called with a scalar to differentiate, once a chunk; adds into the parameters' gradients.
            no_sync: makes a context in which gradients are not synchronised; all chunks but the last run in it.
            weight: the loss's weight, 1 / number of accumulated batches.
        """
        device = next(model.parameters()).device
        ids = batch.ids or [[self.tokenizer.end_token_id]]  # an empty share still takes part in the synchronisation
        inputs, order = self.chunks(ids, device)

        # Every process takes the same way, also one whose share fits one chunk: the first forward through DDP and the
        # gathers are collectives, and must come in the same order everywhere.
        if self.chunk_tokens is not None:
            vectors, states = encode_without_graph(unwrapped(model), inputs)
            result, gradient = self.vector_gradient(restore(vectors, order)[: len(batch)], batch)
            gradient = weight * padded_to(gradient, len(ids))[order]
            parts = gradient.split([len(chunk.input_ids) for chunk in inputs])
            for number, (chunk_input, part, state) in enumerate(zip(inputs, parts, states, strict=True)):
                with nullcontext() if number == len(inputs) - 1 else no_sync(), random_state(state, device):
                    backward((call(model, chunk_input) * part).sum())
            return result

        groups = []
        for number, chunk_input in enumerate(inputs):
            with nullcontext() if number == len(inputs) - 1 else no_sync():
                groups.append(call(model, chunk_input))
        vectors = restore(torch.cat(groups), order)
        result, gradient = self.vector_gradient(vectors.detach()[: len(batch)], batch)
        backward((vectors * (weight * padded_to(gradient, len(ids)))).sum())
        return result

    def encode(self, model: nn.Module, batch: TripletBatch) -> Tensor:
        """Encode a batch without a graph, in chunks; returns ``(texts, dim)`` in the order of ``batch.ids``."""
        inputs, order = self.chunks(batch.ids, next(model.parameters()).device)
        return restore(encode_without_graph(model, inputs)[0], order)

    def chunks(self, ids: list[list[int]], device: torch.device) -> tuple[list[Batch], Tensor]:
        """Pad texts of similar length together; returns the chunks, and which text each of their rows is."""
        groups = plan_chunks([len(row) for row in ids], self.chunk_tokens or GROUP_TOKENS)
        inputs = [self.tokenizer.pad([ids[index] for index in group]).to(device) for group in groups]
        return inputs, torch.tensor([index for group in groups for index in group], device=device)

    def vector_gradient(self, vectors: Tensor, batch: TripletBatch) -> tuple[StepResult, Tensor]:
        """Return the loss over all processes and its gradient for this process's vectors.

        Args:
            vectors: ``(texts, dim)`` fp32, without graph, in the order of ``batch.ids``.
            batch: this process's share.

        Returns:
            The result, and the gradient ``(texts, dim)`` times the number of processes.
        """
        own = vectors.clone().requires_grad_(True)
        hashes = batch.hashes.to(own.device)
        counts = gather_counts(batch.queries, len(batch), own.device, self.processes)
        blocks = gather_blocks(own, [total for _, total in counts], self.rank)
        hash_blocks = gather_blocks(hashes, [total for _, total in counts], self.rank)
        queries, documents = split_roles(blocks, [count for count, _ in counts])
        query_hashes, document_hashes = split_roles(hash_blocks, [count for count, _ in counts])
        excluded = false_negatives(query_hashes, document_hashes) if self.mask_duplicates else None
        loss, accuracy = contrastive_loss(queries, documents, excluded, self.scale)
        (gradient,) = torch.autograd.grad(loss, own)
        share = torch.zeros_like(loss) if excluded is None else excluded.float().mean()
        return StepResult(loss.detach(), accuracy, share, len(documents)), gradient * self.processes


def call(model: nn.Module, batch: Batch) -> Tensor:
    """Encode one padded chunk."""
    vectors: Tensor = model(batch.input_ids, batch.attention_mask, batch.pool_mask)
    return vectors


@torch.no_grad()
def encode_without_graph(model: nn.Module, inputs: Sequence[Batch]) -> tuple[Tensor, list[tuple[Tensor, ...]]]:
    """Encode chunks; returns their vectors in the chunks' order and the random state before each chunk."""
    vectors, states = [], []
    for chunk in inputs:
        states.append(get_random_state(chunk.input_ids.device))
        vectors.append(call(model, chunk))
    return torch.cat(vectors), states


def get_random_state(device: torch.device) -> tuple[Tensor, ...]:
    """Return the generators' states that dropout draws from: the CPU's and the device's."""
    cpu = torch.get_rng_state()
    return (cpu, torch.cuda.get_rng_state(device)) if device.type == "cuda" else (cpu,)


@contextmanager
def random_state(state: tuple[Tensor, ...], device: torch.device) -> Iterator[None]:
    """Replay dropout from ``state`` inside the block; afterwards the generators go on where they were."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.set_rng_state(state[0])
        if device.type == "cuda":
            torch.cuda.set_rng_state(state[1], device)
        yield


def restore(sorted_rows: Tensor, order: Tensor) -> Tensor:
    """Undo a sort: row ``i`` of ``sorted_rows`` goes to row ``order[i]``."""
    return sorted_rows[torch.argsort(order)]


def padded_to(gradient: Tensor, rows: int) -> Tensor:
    """Append zero rows: the dummy text of an empty share gets no gradient."""
    return torch.cat([gradient, gradient.new_zeros(rows - len(gradient), gradient.shape[1])])


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the module inside DDP: a pass without graph needs no synchronisation."""
    inner = model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model
    return inner  # type: ignore[no-any-return]


def gather_counts(queries: int, texts: int, device: torch.device, processes: int) -> list[tuple[int, int]]:
    """Return every process's numbers of queries and of texts, by rank."""
    own = torch.tensor([queries, texts], device=device)
    if processes == 1:
        return [(queries, texts)]
    counts = [torch.empty_like(own) for _ in range(processes)]
    dist.all_gather(counts, own)
    return [(int(count[0]), int(count[1])) for count in counts]


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
