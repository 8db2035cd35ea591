"""Several processes, one a GPU, that encode each shard together.

    accelerate launch --num_processes 4 run_mteb.py --adapter_path …

The first process runs the evaluation: it alone reads data, scores and writes. The others hold the model too, and wait for
their share of a shard's texts. What is sent goes through a gloo group on the CPU, whatever the GPUs; a process that waits
for hours while the first one scores is no error. One that is gone ends the run.
"""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np

from common.errors import UserError
from evaluation.encode.lazy_model import NotLoaded
from evaluation.encode.rank import Place, ProcessLost
from evaluation.encode.sharded_encoder import Encode, OnBatch
from evaluation.encode.vector_store import Shard, check
from model_loaders.text.prompts import Role

MEETING = timedelta(minutes=30)  # until all processes have begun
WAITING = timedelta(days=30)  # for the next share, while the first process reads data or scores


def deal(texts: Sequence[str], hands: int) -> list[list[int]]:
    """Deal texts so that all hands get as many and as long ones: by falling length, there and back again."""
    order = sorted(range(len(texts)), key=lambda row: -len(texts[row]))
    dealt: list[list[int]] = [[] for _ in range(hands)]
    for turn, row in enumerate(order):
        there, place = divmod(turn, hands)
        dealt[hands - 1 - place if there % 2 else place].append(row)
    return dealt


@dataclass(frozen=True)
class Share:
    """What a process is to encode."""

    texts: list[str]
    role: Role
    prompt: str | None
    max_length: int | None


@dataclass(frozen=True)
class Trouble:
    """What went wrong in a process: the message, the error to raise of it, and the traceback."""

    message: str
    error: type[Exception]
    trace: str


class Processes:
    """The group of all processes. The first one calls `encode` and, at the end, `close`; the others call `serve`.

    Args:
        place: of this process.
        encode: encodes a share here.
    """

    def __init__(self, place: Place, encode: Encode) -> None:
        import torch.distributed as dist

        self.place = place
        self.encode_here = encode
        self.busy = False  # with a shard that not all processes have answered for
        if not dist.is_initialized():
            dist.init_process_group("gloo", timeout=MEETING)
        self.group = dist.new_group(backend="gloo", timeout=WAITING)
        self._dist = dist

    def agree(self, version: str | None, trouble: str | None) -> None:
        """Check that all processes have loaded the same model.

        Args:
            version: of the model in this process.
            trouble: why there is none.

        Raises:
            UserError: on all processes: one has no model, or another one.
        """
        found: list[Any] = [None] * self.place.size
        self._talk(self._dist.all_gather_object, found, (version, trouble))
        for rank, (_, text) in enumerate(found):
            if text:
                raise UserError(text if rank == 0 else f"process {rank}: {text}")
        other = next((rank for rank, (theirs, _) in enumerate(found) if theirs != found[0][0]), None)
        if other is not None:
            raise UserError(
                f"process {other} has loaded another model (version {found[other][0]}) than the first one (version "
                f"{found[0][0]}): all machines need the same adapter, base LLM and code"
            )

    def encode(
        self, texts: list[str], role: Role, prompt: str | None, max_length: int | None, on_batch: OnBatch | None = None
    ) -> Shard:
        """Encode a shard's texts on all processes; `on_batch` hears of this one's.

        Raises:
            UserError, RuntimeError: what a process raised, with its number.
            ProcessLost: a process is gone.
        """
        hands = deal(texts, self.place.size)
        shares = [Share([texts[row] for row in rows], role, prompt, max_length) for rows in hands]
        self.busy = True
        self._talk(self._dist.scatter_object_list, [None], shares, src=0)
        mine = self._answer(shares[0], on_batch)
        answers: list[Any] = [None] * self.place.size
        self._talk(self._dist.gather_object, mine, answers, dst=0)
        self.busy = False
        for rank, answer in enumerate(answers):
            if isinstance(answer, Trouble):
                _raise(rank, answer)
        return joined(len(texts), hands, answers)

    def serve(self) -> None:
        """Encode shares until the first process says that there are no more, or is gone."""
        while True:
            received: list[Any] = [None]
            self._talk(self._dist.scatter_object_list, received, None, src=0)
            if received[0] is None:
                return
            self._talk(self._dist.gather_object, self._answer(received[0], None), None, dst=0)

    def close(self) -> None:
        """Let the other processes go. Those that are at a shard when this one is stopped see that it is gone."""
        if self.busy:
            return
        nothing = [None] * self.place.size
        with contextlib.suppress(ProcessLost):
            self._talk(self._dist.scatter_object_list, [None], nothing, src=0)

    def _answer(self, share: Share, on_batch: OnBatch | None) -> Shard | Trouble | None:
        if not share.texts:
            return None
        try:
            encoded = self.encode_here(share.texts, share.role, share.prompt, share.max_length, on_batch)
            return check(encoded, len(share.texts))
        except Exception as error:
            if isinstance(error, UserError):
                return Trouble(str(error), NotLoaded if isinstance(error, NotLoaded) else UserError, traceback.format_exc())
            return Trouble(f"{type(error).__name__}: {error}", RuntimeError, traceback.format_exc())

    def _talk(self, call: Callable[..., Any], *arguments: Any, **options: Any) -> None:
        try:
            call(*arguments, **options, group=self.group)
        except RuntimeError as error:  # gloo's, when a connection is closed
            self.busy = True
            raise ProcessLost(
                "another process of this run is gone; what it said last, or its launcher says, is the reason"
            ) from error


def joined(texts: int, hands: Sequence[Sequence[int]], answers: Sequence[Shard | None]) -> Shard:
    """Put the shards of all hands together in the order of the texts."""
    parts = [(list(rows), shard) for rows, shard in zip(hands, answers, strict=True) if shard is not None]

    def whole(name: str) -> np.ndarray | None:
        arrays = [getattr(shard, name) for _, shard in parts]
        if any(array is None for array in arrays):
            return None
        made = np.empty((texts, *arrays[0].shape[1:]), dtype=arrays[0].dtype)
        for (rows, _), array in zip(parts, arrays, strict=True):
            made[rows] = array
        return made

    vectors = whole("vectors")
    assert vectors is not None
    return Shard(vectors, whole("tokens"), whole("cut"))


class _Trace(Exception):
    """Another process's traceback, as the cause of an error here."""


def _raise(rank: int, trouble: Trouble) -> None:
    where = f"process {rank}: " if rank else ""
    raise trouble.error(where + trouble.message) from _Trace(f"\n{trouble.trace}")
