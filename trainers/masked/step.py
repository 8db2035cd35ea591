"""One step of masked next-token prediction: the mean loss of a batch's hidden tokens on all processes, and its exact gradient.

Labels are known before any forward pass, so the mean's denominator is too. Each chunk of rows is encoded once, its part of the
loss goes back at once, and its graph is freed: memory holds one chunk, and the gradient is that of the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from model_loaders.backbone.lora_training import trained_lora
from trainers.masked.masking import IGNORED, Masking, mask_row
from trainers.masked.model import MaskedTokenModel
from trainers.step.batch import TripletBatch
from trainers.step.contrastive import ContrastiveStep, StepResult
from trainers.step.loss import LossResult

SHOWN = 60  # characters of a row's text in messages


@dataclass(frozen=True)
class TokenRows(TripletBatch):
    """One process's share of a batch of packed rows; its ``queries`` are the rows.

    Attributes:
        starts: bool, of each row where a text begins.
        numbers: of the rows in their data.
    """

    starts: list[np.ndarray] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)


class TokenRowCollator:
    """Makes `TokenRows` of rows ``{ids, starts, number}``.

    Attributes:
        tokenizer: decodes the beginning of a row for messages.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def __call__(self, rows: Sequence[dict[str, Any]]) -> TokenRows:
        """Make one batch; an empty list of rows gives an empty batch."""
        ids = [row["ids"].tolist() for row in rows]
        beginnings = [self.tokenizer.decode(row[:SHOWN]) for row in ids]
        return TokenRows(
            ids=ids,
            queries=len(rows),
            hashes=torch.zeros(len(rows), dtype=torch.int64),
            texts=beginnings,
            negatives=torch.zeros(len(rows), dtype=torch.int64),
            in_batch=torch.ones(len(rows), dtype=torch.bool),
            places=[f"packed row {row['number']}:" for row in rows],
            starts=[row["starts"] for row in rows],
            numbers=[row["number"] for row in rows],
        )


@dataclass(frozen=True)
class MaskedChunk:
    """Some masked rows, ready for the model; the arguments of `MaskedTokenModel.forward`.

    Attributes:
        input_ids: ``(batch, tokens)``.
        places: int64 ``(hidden tokens,)``.
        targets: int64 ``(hidden tokens,)``.
        texts: int64 ``(batch, tokens)``, or ``None``.
    """

    input_ids: Tensor
    places: Tensor
    targets: Tensor
    texts: Tensor | None

    @classmethod
    def of(cls, rows: np.ndarray, labels: np.ndarray, texts: np.ndarray | None) -> MaskedChunk:
        """Make the chunk of rows and labels, all ``(batch, tokens)``; the token at i is predicted by the state at i - 1.

        A label at the first position of a row has no state before it and is dropped. So is one at the beginning of a text,
        where texts do not see each other.
        """
        hidden = labels != IGNORED
        hidden[:, 0] = False
        if texts is not None:
            hidden[:, 1:] &= texts[:, 1:] == texts[:, :-1]
        flat = np.flatnonzero(hidden)
        return cls(
            torch.from_numpy(rows),
            torch.from_numpy(flat - 1),
            torch.from_numpy(labels.reshape(-1)[flat]),
            None if texts is None else torch.from_numpy(texts),
        )

    def run(self, model: nn.Module, device: torch.device) -> Tensor:
        """Return the sum of the losses and the number of right tokens: ``(2,)``."""
        texts = None if self.texts is None else self.texts.to(device)
        places, targets = self.places.to(device), self.targets.to(device)
        sums: Tensor = model(self.input_ids.to(device), None, places=places, targets=targets, texts=texts)
        return sums


@dataclass(frozen=True)
class MaskedTokensStep(ContrastiveStep):
    """Computes loss and gradients of one batch of packed rows; there is no loss of vectors.

    Attributes:
        masking: which tokens are hidden.
        block_diagonal: whether attention stays within each text of a row.
        number: returns the number of the step, which the masks depend on.
        dim: width of the model's vectors.
    """

    masking: Masking = field(default_factory=Masking)
    block_diagonal: bool = False
    number: Callable[[], int] = int
    dim: int = 1

    frees_each_chunk = True

    def __call__(self, model: nn.Module, batch: TripletBatch, weight: float = 1.0) -> StepResult:
        """Run forward and backward; adds into the parameters' gradients.

        Args:
            model: the wrapped `MaskedTokenModel`.
            batch: this process's share; may be empty where there are several processes.
            weight: the loss's weight, 1 / number of accumulated batches: each counts alike, however many tokens it hides.
        """
        assert isinstance(batch, TokenRows)
        device = next(model.parameters()).device
        chunks = self.chunks(batch, self.number())
        if self.engine.forward_is_collective:
            chunks += [self.no_rows()] * (self.most(len(chunks), device) - len(chunks))
        count = self.over_processes(torch.tensor(float(sum(len(chunk.places) for chunk in chunks)), device=device))
        factor = weight * self.processes.count / count.clamp(min=1.0)
        sums = torch.zeros(2, device=device)
        with trained_lora(model), self.engine.step(model):
            for index, chunk in enumerate(chunks):
                with self.engine.chunk(model, last=index == len(chunks) - 1):
                    result = chunk.run(model, device)
                    self.engine.backward(model, result[0] * factor)
                sums += result.detach()
        loss, right = (self.over_processes(sums) / count.clamp(min=1.0)).unbind()
        nothing = torch.zeros(0, self.dim)
        return StepResult(loss, right, torch.zeros_like(loss), 0, nothing, nothing, nothing.to(device))

    def over_processes(self, sums: Tensor) -> Tensor:
        """Return sums over all processes."""
        if self.processes.count > 1:
            sums = sums.clone()
            dist.all_reduce(sums)
        return sums

    def groups(self, lengths: Sequence[int]) -> list[list[int]]:
        """Cut rows of one length into chunks under the budget of tokens; returns lists of indices."""
        if not lengths:
            return []
        budget = self.chunker.chunk_tokens or self.chunker.grouping.tokens
        size = max(1, budget // max(lengths))
        return [list(range(start, min(start + size, len(lengths)))) for start in range(0, len(lengths), size)]

    def chunks(self, batch: TokenRows, step: int) -> list[MaskedChunk]:
        """Mask the rows of a batch and cut them into chunks; an empty share has one, without hidden tokens."""
        candidates = self.masking.random_ids()
        chunks = []
        for group in self.groups([len(ids) for ids in batch.ids]):
            masked = []
            for row in group:
                draws = self.masking.draws(step, batch.numbers[row])
                masked.append(mask_row(batch.ids[row], self.masking, candidates, draws))
            rows, labels = (np.stack(part) for part in zip(*masked, strict=True))
            starts = np.stack([batch.starts[row] for row in group])
            chunks.append(MaskedChunk.of(rows, labels, np.cumsum(starts, axis=1) if self.block_diagonal else None))
        return chunks or [self.no_rows()]

    def no_rows(self) -> MaskedChunk:
        """Return a chunk without hidden tokens."""
        nothing = np.full((1, 2), self.chunker.tokenizer.end_token_id)
        return MaskedChunk.of(nothing, np.full((1, 2), IGNORED), None)

    def most(self, chunks: int, device: torch.device) -> int:
        """Return the largest number of chunks of any process."""
        number = torch.tensor(chunks, device=device)
        if self.processes.count > 1:
            dist.all_reduce(number, op=dist.ReduceOp.MAX)
        return int(number)

    @torch.no_grad()
    def evaluate_rows(self, model: MaskedTokenModel, batch: TokenRows) -> tuple[LossResult, int]:
        """Return the loss of a batch of this process alone, whose masks are always the same, and its hidden tokens."""
        device = next(model.parameters()).device
        sums, count = torch.zeros(2, device=device), 0
        for chunk in self.chunks(batch, step=0):
            sums += chunk.run(model, device)
            count += len(chunk.places)
        loss, right = (sums / max(1, count)).unbind()
        return LossResult(loss, right, torch.zeros_like(loss)), count
