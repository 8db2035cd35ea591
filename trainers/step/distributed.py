"""Decisions of all processes together: whether one of them failed, a value that the first one computes, the largest number.

A process that raises alone leaves the others waiting in their next collective, until the launcher kills them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from common.errors import SharedError, UserError

Value = TypeVar("Value")


def several() -> bool:
    """Whether this is one process of several."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def first_trouble(trouble: str | None) -> str | None:
    """Return the trouble of the first process that has any, on all of them; also waits for all."""
    if not several():
        return trouble
    troubles: list[str | None] = [None] * dist.get_world_size()
    dist.all_gather_object(troubles, trouble)
    for rank, text in enumerate(troubles):
        if text:
            return f"process {rank}: {text}" if rank else text
    return None


def from_first(compute: Callable[[], Value]) -> Value:
    """Call ``compute`` on the first process alone and return its value on all.

    Raises:
        SharedError: on all processes, with the text of the UserError that ``compute`` raised.
    """
    if not several():
        return compute()
    answer: list[Any] = [None, None]
    if dist.get_rank() == 0:
        try:
            answer[0] = compute()
        except UserError as error:
            answer[1] = str(error)
    dist.broadcast_object_list(answer, src=0)
    if answer[1] is not None:
        raise SharedError(answer[1])
    value: Value = answer[0]
    return value


class Largest:
    """Largest of the processes' small numbers, computed once a step.

    It goes through gloo on the CPU, also where gradients go through another backend: a reduction on the GPU would have to be
    waited for, and the GPU would idle until the host has seen the number. Every process must make it at the same place.
    """

    def __init__(self) -> None:
        self.group: dist.ProcessGroup | None = None
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
