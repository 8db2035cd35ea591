"""What several processes decide together: that one of them failed, what the first one found, whether to stop.

A process that raises alone leaves the others waiting in their next collective, until the launcher kills them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from common.errors import SharedError, UserError

Found = TypeVar("Found")


def several() -> bool:
    """Whether this is one process of several."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def first_trouble(trouble: str | None) -> str | None:
    """Return the trouble of the first process that has any, on all of them; also waits for all."""
    if not several():
        return trouble
    found: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(found, trouble)
    return next((f"process {rank}: {text}" if rank else text for rank, text in enumerate(found) if text), None)


def from_first(find: Callable[[], Found]) -> Found:
    """Call ``find`` on the first process alone and return its value on all.

    Raises:
        SharedError: on all processes, what ``find`` raised as a UserError.
    """
    if not several():
        return find()
    answer: list[Any] = [None, None]
    if dist.get_rank() == 0:
        try:
            answer[0] = find()
        except UserError as error:
            answer[1] = str(error)
    dist.broadcast_object_list(answer, src=0)
    if answer[1] is not None:
        raise SharedError(answer[1])
    found: Found = answer[0]
    return found


class Largest:
    """The largest of the processes' small numbers, asked for once a step.

    It goes through gloo on the CPU, also where gradients go through another backend: a reduction on the GPU would have to be
    waited for, and the GPU would idle until the host has seen the number. Made on all processes at the same place.
    """

    def __init__(self) -> None:
        self.group: Any = None
        if several() and dist.get_backend() != "gloo" and dist.is_gloo_available():
            self.group = dist.new_group(backend="gloo")
        on_cpu = not several() or self.group is not None or dist.get_backend() == "gloo"
        self.device = torch.device("cpu") if on_cpu else torch.device(torch.accelerator.current_device_index())

    def __call__(self, number: int) -> int:
        """Return the largest ``number`` of all processes."""
        if not several():
            return number
        value = torch.tensor([number], dtype=torch.int64, device=self.device)
        dist.all_reduce(value, op=dist.ReduceOp.MAX, group=self.group)
        return int(value)
