"""Several processes, one a GPU, that encode each shard together.

    accelerate launch --num_processes 4 run_mteb.py --adapter_path …

1. Every process loads the model; `agree` checks that it is the same everywhere.
2. The first process runs the evaluation: it alone reads data, scores and writes. The others wait in `serve`.
3. For each shard the first process scatters the texts, all encode their share, and it gathers the vectors.
4. `close` lets the others go. A process that is gone ends the run, and one that is frozen does so after some minutes
   (`common.heartbeat`).

Texts and vectors go through a gloo group on the CPU, whatever the GPUs; a process may wait for hours while the first one
scores.
"""

from __future__ import annotations

import contextlib
import os
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import torch.distributed as dist
from torch._C._distributed_c10d import TCPStore

from common.errors import UserError
from common.heartbeat import Heartbeat, Store
from evaluation.encode.lazy_model import NotLoaded
from evaluation.encode.rank import ProcessLost, Rank
from evaluation.encode.sharded_encoder import Encode, OnBatch
from evaluation.encode.vector_store import Shard, check
from model_loaders.text.prompts import Role

MEETING = timedelta(minutes=30)  # until all processes have begun
WAITING = timedelta(days=30)  # for the next share, while the first process reads data or scores and gives signs of life
FROZEN = timedelta(minutes=5)  # without a sign of life
ADVICE = "Results that are written are whole: end what is left of the run, and the same command computes the others"


def split_texts(texts: Sequence[str], processes: int) -> list[list[int]]:
    """Split texts into balanced shares: rows sorted by length, assigned in snake order (0, 1, 2, 2, 1, 0, …).

    >>> split_texts(["a", "bbb", "cc"], 2)
    [[1], [2, 0]]
    """
    order = sorted(range(len(texts)), key=lambda row: -len(texts[row]))
    shares: list[list[int]] = [[] for _ in range(processes)]
    for turn, row in enumerate(order):
        lap, place = divmod(turn, processes)
        if lap % 2:
            place = processes - 1 - place
        shares[place].append(row)
    return shares


@dataclass(frozen=True)
class TextShare:
    """The texts of a shard that a process encodes, and their settings."""

    texts: list[str]
    role: Role
    prompt: str | None
    max_length: int | None


@dataclass(frozen=True)
class ProcessFailure:
    """The error of a process: the message, the type to raise, and the traceback."""

    message: str
    error: type[Exception]
    trace: str


class Processes:
    """The group of all processes. The first one calls `encode` and, at the end, `close`; the others call `serve`.

    Args:
        rank: of this process.
        encode: encodes a share here.
        watched: look for signs of life of the others; False where the caller does.
    """

    def __init__(self, rank: Rank, encode: Encode, *, watched: bool = True) -> None:
        self.rank = rank
        self.encode_here = encode
        self.busy = False  # with a shard that some process has not answered for
        if not dist.is_initialized():
            dist.init_process_group("gloo", timeout=MEETING)
        self.group = dist.new_group(backend="gloo", timeout=WAITING)
        self.heartbeat: Heartbeat | None = None
        if watched and rank.size > 1 and "MASTER_ADDR" in os.environ:
            self.heartbeat = Heartbeat(connect, rank.rank, rank.size, patience=FROZEN.total_seconds(), advice=ADVICE)
            self.heartbeat.place = "work on the evaluation"

    def agree(self, version: str | None, failure: str | None) -> None:
        """Check that all processes have loaded the same model.

        Args:
            version: of the model in this process.
            failure: the reason why it has none.

        Raises:
            UserError: on all processes: one has no model, or another one.
        """
        answers: list[Any] = [None] * self.rank.size
        self._communicate(dist.all_gather_object, answers, (version, failure))
        for rank, (_, message) in enumerate(answers):
            if message:
                raise UserError(_from_process(rank, message))
        first_version = answers[0][0]
        for rank, (other_version, _) in enumerate(answers):
            if other_version != first_version:
                raise UserError(
                    f"process {rank} has loaded another model (version {other_version}) than the first one (version "
                    f"{first_version}): all machines need the same adapter, base LLM and code"
                )

    def encode(
        self, texts: list[str], role: Role, prompt: str | None, max_length: int | None, on_batch: OnBatch | None = None
    ) -> Shard:
        """Encode a shard's texts on all processes; `on_batch` hears of those of this process.

        Raises:
            UserError, RuntimeError: the error of a process, with its number.
            ProcessLost: a process is gone.
        """
        rows_of_processes = split_texts(texts, self.rank.size)
        shares = []
        for rows in rows_of_processes:
            shares.append(TextShare([texts[row] for row in rows], role, prompt, max_length))
        self.busy = True
        self._communicate(dist.scatter_object_list, [None], shares, src=0)
        own_answer = self._answer(shares[0], on_batch)
        answers: list[Any] = [None] * self.rank.size
        self._communicate(dist.gather_object, own_answer, answers, dst=0)
        self.busy = False
        for rank, answer in enumerate(answers):
            if isinstance(answer, ProcessFailure):
                _raise(rank, answer)
        return joined(len(texts), rows_of_processes, answers)

    def serve(self) -> None:
        """Encode shares until the first process sends None instead of a share, or is gone."""
        while True:
            received: list[Any] = [None]
            self._communicate(dist.scatter_object_list, received, None, src=0)
            if received[0] is None:
                self._leave()
                return
            self._communicate(dist.gather_object, self._answer(received[0], None), None, dst=0)

    def close(self) -> None:
        """Let the other processes go. Those that encode a shard when this one is stopped see that it is gone."""
        if not self.busy:
            no_shares = [None] * self.rank.size
            with contextlib.suppress(ProcessLost):
                self._communicate(dist.scatter_object_list, [None], no_shares, src=0)
        self._leave()

    def _leave(self) -> None:
        """End the signs of life of this process."""
        if self.heartbeat is not None:
            self.heartbeat.leave()
            self.heartbeat = None

    def _answer(self, share: TextShare, on_batch: OnBatch | None) -> Shard | ProcessFailure | None:
        """Return the vectors of a share, the error, or None for a share without texts."""
        if not share.texts:
            return None
        try:
            encoded = self.encode_here(share.texts, share.role, share.prompt, share.max_length, on_batch)
            return check(encoded, len(share.texts))
        except Exception as error:
            trace = traceback.format_exc()
            if isinstance(error, NotLoaded):
                return ProcessFailure(str(error), NotLoaded, trace)
            if isinstance(error, UserError):
                return ProcessFailure(str(error), UserError, trace)
            return ProcessFailure(f"{type(error).__name__}: {error}", RuntimeError, trace)

    def _communicate(self, call: Callable[..., Any], *arguments: object, **options: object) -> None:
        """Call a collective operation of the group.

        Raises:
            ProcessLost: a connection is closed.
        """
        try:
            call(*arguments, **options, group=self.group)
        except RuntimeError as error:  # gloo's, when a connection is closed
            self.busy = True
            raise ProcessLost(
                "another process of this run is gone; its last line, or the launcher's report, has the reason"
            ) from error


def connect() -> Store:
    """Return a connection of its own to the store that the processes have met at."""
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    return TCPStore(host, port, is_master=False, timeout=timedelta(seconds=10), wait_for_workers=False)


def joined(texts: int, rows_of_processes: Sequence[Sequence[int]], answers: Sequence[Shard | None]) -> Shard:
    """Put the shards of all processes together in the order of the texts."""
    parts: list[tuple[list[int], Shard]] = []
    for rows, shard in zip(rows_of_processes, answers, strict=True):
        if shard is not None:
            parts.append((list(rows), shard))

    def whole(name: str) -> np.ndarray | None:
        arrays = [getattr(shard, name) for _, shard in parts]
        if any(array is None for array in arrays):
            return None
        result = np.empty((texts, *arrays[0].shape[1:]), dtype=arrays[0].dtype)
        for (rows, _), array in zip(parts, arrays, strict=True):
            result[rows] = array
        return result

    vectors = whole("vectors")
    assert vectors is not None
    return Shard(vectors, whole("tokens"), whole("cut"))


class _Trace(Exception):
    """Another process's traceback, as the cause of an error here."""


def _from_process(rank: int, message: str) -> str:
    """Return a message with the number of its process, unless that is the first one."""
    if rank == 0:
        return message
    return f"process {rank}: {message}"


def _raise(rank: int, failure: ProcessFailure) -> None:
    raise failure.error(_from_process(rank, failure.message)) from _Trace(f"\n{failure.trace}")
