"""One contrastive step: vectors of all texts, the loss over all processes, and its exact gradient.

The gradient goes in two parts. First the loss's gradient with respect to this process's vectors: all processes gather
all vectors, each computes the same loss, and keeps the rows of the gradient that are its own. Then from the vectors into
the parameters, by backward passes through the wrapped model, so that its engine averages over the processes; multiplying the
vectors' gradient by their number cancels that mean. The result is the gradient of the joined batch.

With a token budget (gradient caching, arXiv 2101.06983) the texts are encoded twice, in chunks: without a graph to get the
vectors, and with one, chunk by chunk and with the same dropout, to send the vectors' gradient back. Where the texts of no
process exceed the budget, once is enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model_loaders.backbone.launch_cost import launch_tokens
from model_loaders.backbone.lora_training import trained_lora
from model_loaders.embed_model import EmbedModel
from model_loaders.text.tokenizer import Batch, TextTokenizer
from trainers.step.batch import TripletBatch
from trainers.step.chunks import CPU_GROUPING, Grouping, gpu_grouping, plan_chunks
from trainers.step.engines import Engine
from trainers.step.gather import Share, gather_blocks, gather_shares, mean_over_processes, split_roles
from trainers.step.loss import ContrastiveLoss, LossBatch
from trainers.step.random_state import get_random_state, random_state

SAMPLE = 256  # vectors that a step shows of itself


@dataclass(frozen=True)
class StepResult:
    """What one step found, over all processes.

    Attributes:
        loss: scalar.
        accuracy: share of queries whose positive scores highest.
        excluded: share of pairs of a query and a negative that were left out as false negatives.
        candidates: documents that a query is compared with.
        queries: fp32 ``(at most 256, dim)``: unit vectors of the batch's first queries.
        positives: those of their positives.
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
class ContrastiveStep:
    """Computes loss and gradients of one batch.

    Attributes:
        tokenizer: pads the chunks.
        engine: reduces the gradients.
        loss: of all vectors.
        chunk_tokens: padded tokens whose graph is kept at once (gradient caching), or ``None`` for all.
        causal: whether attention is, so that padding needs no mask.
        grouping: of the texts.
        across_processes: whether the texts of every process are negatives for every other one.
        processes: how many processes share the batch.
        rank: this process among them.
    """

    tokenizer: TextTokenizer
    engine: Engine
    loss: ContrastiveLoss = field(default_factory=ContrastiveLoss)
    chunk_tokens: int | None = None
    causal: bool = False
    grouping: Grouping = CPU_GROUPING
    across_processes: bool = True
    processes: int = 1
    rank: int = 0

    @classmethod
    def of(cls, model: EmbedModel, engine: Engine, device: torch.device | str | None = None, **options: Any) -> ContrastiveStep:
        """Make the step of a model on the device that it will run on (by default where it is)."""
        on_cpu = torch.device(device or model.device).type == "cpu"
        grouping = CPU_GROUPING if on_cpu else gpu_grouping(launch_tokens(model.backbone))
        return cls(model.tokenizer, engine, causal=model.design.attention == "causal", grouping=grouping, **options)

    def __call__(self, model: nn.Module, batch: TripletBatch, weight: float = 1.0) -> StepResult:
        """Run forward and backward; adds into the parameters' gradients.

        Args:
            model: the wrapped model, so that its gradients are synchronised.
            batch: this process's share; may be empty where there are several processes.
            weight: the loss's weight, 1 / number of accumulated batches.
        """
        device, engine = next(model.parameters()).device, self.engine
        lengths = [len(row) for row in batch.ids]
        groups = self.groups(lengths)
        shares = gather_shares(batch, len(groups), self.is_cached(lengths, groups), device, self.processes)
        most = max(share.chunks for share in shares)
        # An empty share still takes part in the synchronisation, and with FSDP2 every forward pass is one.
        inputs, order = self.pad(batch.ids, groups, device, at_least=most if engine.forward_is_collective else 1)

        # Every process takes the same way, also one whose share fits the budget: the first forward pass through DDP and the
        # gathers are collectives, and must come in the same order everywhere.
        way = self.twice if any(share.cached for share in shares) else self.once
        with trained_lora(model):
            return way(model, batch, shares, inputs, order, weight)

    def once(
        self, model: nn.Module, batch: TripletBatch, shares: Sequence[Share], inputs: list[Batch], order: Tensor, weight: float
    ) -> StepResult:
        """Encode with a graph, and send the vectors' gradient back through all of it."""
        outputs = []
        for number, chunk in enumerate(inputs):
            with self.engine.chunk(model, last=number == len(inputs) - 1):
                outputs.append(call(model, chunk))
        vectors = restore(torch.cat(outputs), order)
        result, gradient = self.vector_gradient(vectors.detach()[: len(batch)], batch, shares)
        with self.engine.step(model):
            self.engine.backward(model, (vectors * padded_to(weight * gradient, len(order))).sum())
        return result

    def twice(
        self, model: nn.Module, batch: TripletBatch, shares: Sequence[Share], inputs: list[Batch], order: Tensor, weight: float
    ) -> StepResult:
        """Encode without a graph, and again chunk by chunk with one (gradient caching)."""
        vectors, states = encode_without_graph(self.engine.without_graph(model), inputs)
        result, gradient = self.vector_gradient(restore(vectors, order)[: len(batch)], batch, shares)
        parts = padded_to(weight * gradient, len(order))[order].split([len(chunk.input_ids) for chunk in inputs])
        with self.engine.step(model):
            for number, (chunk, part, state) in enumerate(zip(inputs, parts, states, strict=True)):
                last = number == len(inputs) - 1
                with self.engine.chunk(model, last=last), random_state(state, chunk.input_ids.device):
                    self.engine.backward(model, (call(model, chunk) * part).sum())
        return result

    def encode(self, model: nn.Module, batch: TripletBatch) -> Tensor:
        """Encode a batch without a graph, in chunks; returns ``(texts, dim)`` in the order of ``batch.ids``."""
        groups = self.groups([len(row) for row in batch.ids])
        inputs, order = self.pad(batch.ids, groups, next(model.parameters()).device)
        return restore(encode_without_graph(model, inputs)[0], order)

    def groups(self, lengths: Sequence[int]) -> list[list[int]]:
        """Group texts of these lengths for the forward passes: lists of indices, longest texts first."""
        budget = self.chunk_tokens or self.grouping.tokens
        # A pass that gathers the parameters first is dear: few groups.
        groups = plan_chunks(lengths, budget, budget if self.engine.forward_is_collective else self.grouping.overhead)
        if self.engine.forward_is_collective or not self.is_cached(lengths, groups):
            return groups
        tight = plan_chunks(lengths, budget, CPU_GROUPING.overhead)  # less padding may spare the second pass
        return groups if self.is_cached(lengths, tight) else tight

    def is_cached(self, lengths: Sequence[int], groups: Sequence[Sequence[int]]) -> bool:
        """Whether this process's texts, of which one at least is encoded at once, exceed the budget."""
        padded = sum(lengths[group[0]] * len(group) for group in groups)  # the longest comes first
        return self.chunk_tokens is not None and len(groups) > 1 and padded > self.chunk_tokens

    def pad(
        self, ids: list[list[int]], groups: list[list[int]], device: torch.device, at_least: int = 1
    ) -> tuple[list[Batch], Tensor]:
        """Pad each group of texts; returns the chunks, and which text each of their rows is.

        Args:
            ids: token ids of the texts.
            groups: indices into ``ids``.
            device: where the chunks go.
            at_least: chunks to make; those beyond ``groups`` hold one dummy text each, with an index after the texts'.
        """
        dummies = range(len(ids), len(ids) + max(0, at_least - len(groups)))
        rows = [[ids[index] for index in group] for group in groups] + [[[self.tokenizer.end_token_id]] for _ in dummies]
        inputs = [self.tokenizer.pad(group).lean(self.causal).to(device) for group in rows]
        return inputs, torch.tensor([index for group in groups for index in group] + list(dummies), device=device)

    def vector_gradient(self, vectors: Tensor, batch: TripletBatch, shares: Sequence[Share]) -> tuple[StepResult, Tensor]:
        """Return the loss over all processes and its gradient for this process's vectors.

        Args:
            vectors: ``(texts, dim)`` fp32, without graph, in the order of ``batch.ids``.
            batch: this process's share.
            shares: of all processes.

        Returns:
            The result, and the gradient ``(texts, dim)`` times the number of processes.
        """
        own = vectors.clone().requires_grad_(True)
        joined = self.join(own, batch, shares)
        found = self.loss(joined)
        # Each process's queries have their own loss where negatives are not shared; the mean is over all queries.
        part = 1.0 if self.across_processes else len(joined.queries) / sum(share.queries for share in shares)
        (gradient,) = torch.autograd.grad(found.loss * part, own)
        if not self.across_processes and self.processes > 1:
            found = mean_over_processes(found, part)
        count = min(SAMPLE, len(joined.queries))
        queries, positives = (F.normalize(side[:count].detach(), dim=-1) for side in (joined.queries, joined.documents))
        loss = found.loss.detach()
        result = StepResult(loss, found.accuracy, found.excluded, len(joined.documents), queries, positives, vectors)
        return result, gradient * self.processes

    def join(self, own: Tensor, batch: TripletBatch, shares: Sequence[Share]) -> LossBatch:
        """Gather what the loss is computed from; the own vectors keep their graph.

        Args:
            own: ``(texts, dim)`` of this process, in the order of ``batch.ids``.
            batch: this process's share.
            shares: of the processes to gather from, all of them or this one's alone.
        """
        device, rank = own.device, self.rank
        hashes, facts = batch.hashes.to(device), torch.stack([batch.negatives, batch.in_batch.long()], dim=1).to(device)
        if not self.across_processes or len(shares) == 1:
            shares, rank = [shares[rank] if len(shares) > 1 else shares[0]], 0
        texts, queries = [share.texts for share in shares], [share.queries for share in shares]
        vectors, documents = split_roles(gather_blocks(own, texts, rank), queries)
        query_hashes, document_hashes = split_roles(gather_blocks(hashes, texts, rank), queries)
        negatives, in_batch = torch.cat(gather_blocks(facts, queries, rank)).unbind(dim=1)
        number = torch.arange(len(vectors), device=device)
        hard = len(documents) - len(vectors)
        owners = torch.cat([number, number.repeat_interleave(negatives, output_size=hard)])
        alone = any(share.alone for share in shares)
        return LossBatch(vectors, documents, query_hashes, document_hashes, owners, in_batch.bool() if alone else None)


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


def restore(sorted_rows: Tensor, order: Tensor) -> Tensor:
    """Undo a sort: row ``i`` of ``sorted_rows`` goes to row ``order[i]``."""
    return sorted_rows[torch.argsort(order)]


def padded_to(gradient: Tensor, rows: int) -> Tensor:
    """Append zero rows: the dummy text of an empty share gets no gradient."""
    return torch.cat([gradient, gradient.new_zeros(rows - len(gradient), gradient.shape[1])])
