"""One contrastive step: vectors of all texts, the loss over all processes, and its exact gradient.

Where the texts of every process fit the token budget, or there is none, they are encoded once:

1. Encode all texts with a graph.
2. Gather the vectors of all processes, compute the same loss on each of them, and take its gradient with respect to this
   process's own vectors. No graph of the model takes part in this.
3. Send that gradient through the graph into the parameters.

Where the texts of any process exceed the budget, they are encoded twice (gradient caching, arXiv 2101.06983), so that memory
holds the graph of one chunk only:

1. Encode the chunks without a graph, and keep the random state from before each of them.
2. Gather the vectors and take the loss's gradient with respect to the own ones, as above. This gradient is what is cached.
3. Encode each chunk again, now with a graph and from its kept random state, so that it draws the same dropout; send its rows
   of the cached gradient through the graph, which is freed before the next chunk.

The backward passes go through the wrapped model, whose engine averages gradients over the processes. Step 2 multiplies the
vectors' gradient by the number of processes, which cancels that mean: the result is the gradient of the joined batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model_loaders.backbone.launch_cost import launch_tokens
from model_loaders.backbone.lora_training import trained_lora
from model_loaders.backbone.packing import longest_packed
from model_loaders.embed_model import EmbedModel
from model_loaders.text.batch import Batch
from trainers.step.batch import TripletBatch
from trainers.step.chunks import CPU_GROUPING, Chunker, PaddedChunks, gpu_grouping, with_zero_rows
from trainers.step.engines import Engine
from trainers.step.gather import BatchShare, ProcessGroup, gather_shares, join_batch, mean_over_processes
from trainers.step.loss import ContrastiveLoss, LossBatch, LossResult, VectorLoss
from trainers.step.random_state import get_random_state, random_state

SAMPLE = 256  # vectors that a step's result shows


@dataclass(frozen=True)
class StepResult:
    """Loss and figures of one step, over all processes.

    Attributes:
        loss: scalar.
        accuracy: share of queries whose positive scores highest.
        excluded: share of pairs of a query and a negative that were left out as false negatives.
        candidates: documents that a query is compared with.
        queries: fp32 ``(at most 256, dim)``: unit vectors of the batch's first queries.
        positives: unit vectors of their positives.
        vectors: fp32 ``(texts, dim)`` of this process, in the order of its ``TripletBatch.ids``.
    """

    loss: Tensor
    accuracy: Tensor
    excluded: Tensor
    candidates: int
    queries: Tensor
    positives: Tensor
    vectors: Tensor


@dataclass(frozen=True)
class PreparedBatch:
    """A batch, ready for the forward passes.

    Attributes:
        batch: this process's share.
        shares: sizes of every process's share, by rank.
        padded: the texts of ``batch`` as chunks.
    """

    batch: TripletBatch
    shares: list[BatchShare]
    padded: PaddedChunks


@dataclass(frozen=True)
class ContrastiveStep:
    """Computes loss and gradients of one batch.

    Attributes:
        chunker: cuts the texts into chunks.
        engine: reduces the gradients.
        loss: of all vectors.
        processes: share the batch.
    """

    chunker: Chunker
    engine: Engine
    loss: VectorLoss = field(default_factory=ContrastiveLoss)
    processes: ProcessGroup = field(default_factory=ProcessGroup)

    frees_each_chunk: ClassVar[bool] = False  # whether a chunk's graph is gone before the next one is encoded

    @classmethod
    def of(
        cls,
        model: EmbedModel,
        engine: Engine,
        device: torch.device | str | None = None,
        *,
        chunk_tokens: int | None = None,
        loss: VectorLoss | None = None,
        processes: ProcessGroup | None = None,
        packing: bool = False,
    ) -> ContrastiveStep:
        """Make the step of a model.

        Args:
            model: to be trained.
            engine: of the launcher.
            device: the model will run there; None for the one that it is on.
            chunk_tokens: see `Chunker`.
            loss: None for the contrastive one with its defaults.
            processes: None for one.
            packing: let the base LLM compute real tokens alone, where that can be done.
        """
        on_cpu = torch.device(device or model.device).type == "cpu"
        grouping = CPU_GROUPING if on_cpu else gpu_grouping(launch_tokens(model.backbone))
        causal = model.design.attention == "causal"
        up_to = longest_packed(model.backbone, causal) if packing else 0
        # A trainable pooling that reads tokens computes what is padded, so that its texts stay in groups of similar length.
        row_tokens = grouping.tokens if up_to and model.design.tokens != "all" else 0
        chunker = Chunker(model.tokenizer, chunk_tokens, causal, grouping, up_to, row_tokens)
        return cls(chunker, engine, loss or ContrastiveLoss(), processes or ProcessGroup())

    def __call__(self, model: nn.Module, batch: TripletBatch, weight: float = 1.0) -> StepResult:
        """Run forward and backward; adds into the parameters' gradients.

        Args:
            model: the wrapped model, so that its gradients are synchronised.
            batch: this process's share; may be empty where there are several processes.
            weight: the loss's weight, 1 / number of accumulated batches.
        """
        prepared = self.prepare(batch, next(model.parameters()).device)
        # Every process takes the same branch, also one whose share fits the budget: the first forward pass through DDP and
        # the gathers are collectives, and must come in the same order everywhere.
        cached = any(share.cached for share in prepared.shares)
        with trained_lora(model):
            if cached:
                return self.encode_twice(model, prepared, weight)
            return self.encode_once(model, prepared, weight)

    def prepare(self, batch: TripletBatch, device: torch.device) -> PreparedBatch:
        """Cut a batch into padded chunks, and exchange the sizes of all shares."""
        lengths = [len(ids) for ids in batch.ids]
        groups = self.groups(lengths)
        cached = self.chunker.needs_caching(lengths, groups)
        shares = gather_shares(batch, len(groups), cached, device, self.processes.count)
        # An empty share still takes part in the synchronisation, and with FSDP2 every forward pass is one.
        at_least = max(share.chunks for share in shares) if self.engine.forward_is_collective else 1
        return PreparedBatch(batch, shares, self.chunker.pad(batch.ids, groups, device, pooled=batch.pooled, at_least=at_least))

    def encode_once(self, model: nn.Module, prepared: PreparedBatch, weight: float) -> StepResult:
        """Encode with a graph, and send the vectors' gradient back through all of it."""
        batch, padded = prepared.batch, prepared.padded
        outputs = []
        for number, chunk in enumerate(padded.chunks):
            with self.engine.chunk(model, last=number == len(padded.chunks) - 1):
                outputs.append(encode_chunk(model, chunk))
        vectors = padded.restore(torch.cat(outputs))
        result, gradient = self.vector_gradient(vectors.detach()[: len(batch)], prepared)
        with self.engine.step(model):
            self.engine.backward(model, (vectors * with_zero_rows(weight * gradient, len(vectors))).sum())
        return result

    def encode_twice(self, model: nn.Module, prepared: PreparedBatch, weight: float) -> StepResult:
        """Encode without a graph, and again chunk by chunk with one (gradient caching)."""
        batch, padded = prepared.batch, prepared.padded
        rows, states = encode_without_graph(self.engine.without_graph(model), padded.chunks)
        result, gradient = self.vector_gradient(padded.restore(rows)[: len(batch)], prepared)
        parts = padded.split(weight * gradient)
        with self.engine.step(model):
            for number, (chunk, part, state) in enumerate(zip(padded.chunks, parts, states, strict=True)):
                last = number == len(padded.chunks) - 1
                with self.engine.chunk(model, last=last), random_state(state, chunk.input_ids.device):
                    self.engine.backward(model, (encode_chunk(model, chunk) * part).sum())
        return result

    def groups(self, lengths: Sequence[int]) -> list[list[int]]:
        """Group texts of these lengths for the forward passes: lists of indices, longest texts first."""
        return self.chunker.groups(lengths, costly_passes=self.engine.forward_is_collective)

    def encode(self, model: nn.Module, batch: TripletBatch) -> Tensor:
        """Encode a batch without a graph, in chunks; returns ``(texts, dim)`` in the order of ``batch.ids``."""
        groups = self.groups([len(ids) for ids in batch.ids])
        padded = self.chunker.pad(batch.ids, groups, next(model.parameters()).device, pooled=batch.pooled)
        return padded.restore(encode_without_graph(model, padded.chunks)[0])

    @torch.no_grad()
    def evaluate(self, model: nn.Module, batch: TripletBatch) -> LossResult:
        """Return the loss of a batch of this process alone, without a gradient."""
        vectors = self.encode(model, batch)
        shares = gather_shares(batch, 1, False, vectors.device, processes=1)
        return self.loss(join_batch(vectors, batch, shares, rank=0))

    def vector_gradient(self, vectors: Tensor, prepared: PreparedBatch) -> tuple[StepResult, Tensor]:
        """Return the loss over all processes and its gradient for this process's vectors.

        Args:
            vectors: ``(texts, dim)`` fp32, without graph, in the order of the batch's ids.
            prepared: this process's batch, and the sizes of all.

        Returns:
            The result, and the gradient ``(texts, dim)`` times the number of processes.
        """
        own = vectors.clone().requires_grad_(True)
        joined = self.join(own, prepared)
        result = self.loss(joined)
        # Each process's queries have their own loss where negatives are not shared; the mean is over all queries.
        part = 1.0
        if not self.processes.share_negatives:
            part = len(joined.queries) / sum(share.queries for share in prepared.shares)
        (gradient,) = torch.autograd.grad(result.loss * part, own)
        if not self.processes.share_negatives and self.processes.count > 1:
            result = mean_over_processes(result, part)
        return step_result(result, joined, vectors), gradient * self.processes.count

    def join(self, own: Tensor, prepared: PreparedBatch) -> LossBatch:
        """Join the own vectors with those of all processes, or take them alone where negatives are not shared."""
        shares, rank = prepared.shares, self.processes.rank
        if len(shares) == 1 or not self.processes.share_negatives:
            shares, rank = [shares[rank if len(shares) > 1 else 0]], 0
        return join_batch(own, prepared.batch, shares, rank)


def step_result(result: LossResult, joined: LossBatch, vectors: Tensor) -> StepResult:
    """Return the loss with its figures, and unit vectors of the first queries and their positives."""
    count = min(SAMPLE, len(joined.queries))
    return StepResult(
        loss=result.loss.detach(),
        accuracy=result.accuracy,
        excluded=result.excluded,
        candidates=len(joined.documents),
        queries=F.normalize(joined.queries[:count].detach(), dim=-1),
        positives=F.normalize(joined.documents[:count].detach(), dim=-1),
        vectors=vectors,
    )


def encode_chunk(model: nn.Module, chunk: Batch) -> Tensor:
    """Encode one padded chunk; returns ``(texts, dim)``."""
    vectors: Tensor = model(chunk.input_ids, chunk.attention_mask, chunk.pool_mask, chunk.row)
    return vectors


@torch.no_grad()
def encode_without_graph(model: nn.Module, chunks: Sequence[Batch]) -> tuple[Tensor, list[tuple[Tensor, ...]]]:
    """Encode chunks; returns their vectors in the chunks' order and the random state before each chunk."""
    vectors, states = [], []
    for chunk in chunks:
        states.append(get_random_state(chunk.input_ids.device))
        vectors.append(encode_chunk(model, chunk))
    return torch.cat(vectors), states
