"""The rank of this process, from the variables that `accelerate launch` and `torchrun` set. Imports nothing heavy."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from common.errors import UserError


class ProcessLost(BaseException):
    """Another process is gone. No `Exception`, since no other task can be scored either."""


@dataclass(frozen=True)
class Rank:
    """The place of this process among those that a launcher has started.

    Attributes:
        rank: from 0.
        size: processes of all machines.
        local_rank: on this machine, from 0.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def first(self) -> bool:
        """Return whether this process runs the evaluation."""
        return self.rank == 0

    def device(self, device: str | None, environment: Mapping[str, str] = os.environ) -> str | None:
        """Return the device of this process: its own GPU if there is one, or the `device` of the user; None for any.

        Raises:
            UserError: this machine has more processes than GPUs.
        """
        if device is None and environment.get("ACCELERATE_USE_CPU", "").lower() in ("true", "1"):
            return "cpu"
        if self.size == 1 or device not in (None, "cuda"):
            return device
        import torch

        if device is None and not torch.cuda.is_available():
            return "cpu"
        if self.local_rank >= torch.cuda.device_count():
            raise UserError(
                f"process {self.rank} has no GPU of its own: this machine has {torch.cuda.device_count()}; launch as many "
                "processes as GPUs (accelerate launch --num_processes)"
            )
        torch.cuda.set_device(self.local_rank)
        return f"cuda:{self.local_rank}"


def launched(environment: Mapping[str, str] = os.environ) -> Rank:
    """Return the rank of this process.

    Raises:
        UserError: the launcher was asked to share one model between the processes.
    """
    size = int(environment.get("WORLD_SIZE", "1"))
    if size == 1:
        return Rank()
    for engine in ("FSDP", "DEEPSPEED"):
        if environment.get(f"ACCELERATE_USE_{engine}", "").lower() in ("true", "1"):
            raise UserError(
                f"the launcher asks for {engine}, but here each process holds a whole model: accelerate launch "
                f"--num_processes {size} run_mteb.py …, without that --config_file"
            )
    return Rank(int(environment["RANK"]), size, int(environment.get("LOCAL_RANK", environment["RANK"])))


def first_process(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether this process speaks for all."""
    return int(environment.get("WORLD_SIZE", "1")) == 1 or environment.get("RANK", "0") == "0"
