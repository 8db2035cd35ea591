"""What a launcher of several processes has put into the environment. Nothing heavy is imported here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from common.errors import UserError


class ProcessLost(BaseException):
    """Another process is gone. No `Exception`, since no other task can be scored either."""


@dataclass(frozen=True)
class Place:
    """Where this process stands among those that a launcher has started.

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
        """Whether this process runs the evaluation."""
        return self.rank == 0

    def device(self, asked: str | None, environment: Mapping[str, str] = os.environ) -> str | None:
        """Return the device of this process: its own GPU, unless another one is asked for or there is none; None for any.

        Raises:
            UserError: there are more processes on this machine than GPUs.
        """
        if asked is None and environment.get("ACCELERATE_USE_CPU", "").lower() in ("true", "1"):
            return "cpu"
        if self.size == 1 or asked not in (None, "cuda"):
            return asked
        import torch

        if asked is None and not torch.cuda.is_available():
            return "cpu"
        if self.local_rank >= torch.cuda.device_count():
            raise UserError(
                f"process {self.rank} has no GPU of its own: this machine has {torch.cuda.device_count()}; launch as many "
                "processes as GPUs (accelerate launch --num_processes)"
            )
        torch.cuda.set_device(self.local_rank)
        return f"cuda:{self.local_rank}"


def launched(environment: Mapping[str, str] = os.environ) -> Place:
    """Return this process's place, from what `accelerate launch` and `torchrun` put into the environment.

    Raises:
        UserError: the launcher was asked to share one model between the processes.
    """
    size = int(environment.get("WORLD_SIZE", "1"))
    if size == 1:
        return Place()
    for engine in ("FSDP", "DEEPSPEED", "MEGATRON_LM"):
        if environment.get(f"ACCELERATE_USE_{engine}", "").lower() in ("true", "1"):
            raise UserError(
                f"the launcher asks for {engine}, but here each process holds a whole model: accelerate launch "
                f"--num_processes {size} run_mteb.py …, without that --config_file"
            )
    return Place(int(environment["RANK"]), size, int(environment.get("LOCAL_RANK", environment["RANK"])))


def first_process(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process speaks for all."""
    return int(environment.get("WORLD_SIZE", "1")) == 1 or environment.get("RANK", "0") == "0"
