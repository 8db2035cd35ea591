"""The engines that several processes train with, and what a contrastive step must do differently on each.

The loss's gradient reaches the parameters through several backward passes, one a chunk. Each engine has its own trap there:
reducing the gradients after every pass costs a reduction a chunk (DDP) or is silently wrong (ZeRO-2), and where a forward pass
is a collective (FSDP2) a process with fewer chunks than another would hang. On all three the sum over a step's chunks is
reduced once, and averages over the processes; the step multiplies the vectors' gradient by their number to cancel that mean.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from common.errors import UserError


class Engine:
    """One process, or DDP: gradients are reduced while the last chunk's backward pass runs.

    Attributes:
        forward_is_collective: every process must make the same number of forward passes.
        optimizer_file: by which a checkpoint shows that it holds the optimizer's state.
    """

    forward_is_collective = False
    optimizer_file = "optimizer.pt"

    def __init__(self, accelerator: Any) -> None:
        self.accelerator = accelerator

    def without_graph(self, model: nn.Module) -> nn.Module:
        """Return what encodes without a graph: the module inside the wrapper, as nothing is synchronised."""
        return self.accelerator.unwrap_model(model)  # type: ignore[no-any-return]

    def step(self, model: nn.Module) -> AbstractContextManager[Any]:
        """Make a context for all backward passes of one step."""
        return nullcontext()

    def chunk(self, model: nn.Module, *, last: bool) -> AbstractContextManager[Any]:
        """Make a context for the forward and backward pass of one chunk."""
        context: AbstractContextManager[Any] = nullcontext() if last else self.accelerator.no_sync(model)
        return context

    def backward(self, model: nn.Module, scalar: Tensor) -> None:
        """Add the scalar's gradient into the parameters'."""
        self.accelerator.backward(scalar)

    def finish(self, model: nn.Module) -> None:
        """Do what follows the last backward pass of a step."""

    def save_optimizer(self, model: nn.Module, optimizer: Any, directory: str) -> None:
        """Write the optimizer's state; called on every process."""
        if self.accelerator.is_main_process:
            torch.save(optimizer.state_dict(), Path(directory) / self.optimizer_file)

    def load_state(self, model: nn.Module, directory: str) -> None:
        """Load what the engine keeps of a checkpoint by itself, beside the adapter and the optimizer."""


class ShardedEngine(Engine):
    """FSDP2: parameters are gathered by every forward pass, also those without a graph."""

    forward_is_collective = True
    optimizer_file = "optimizer.bin"

    def without_graph(self, model: nn.Module) -> nn.Module:
        """Return the sharded model itself: its hooks gather the parameters."""
        return model

    def save_optimizer(self, model: nn.Module, optimizer: Any, directory: str) -> None:
        """Gather the states and write them; not the base LLM, which accelerate would write beside them."""
        from accelerate.utils import save_fsdp_optimizer

        save_fsdp_optimizer(self.accelerator.state.fsdp_plugin, self.accelerator, optimizer, model, directory)


class ZeroEngine(Engine):
    """DeepSpeed ZeRO-2: its engine reduces the gradients, and makes the optimizer's step."""

    optimizer_file = "latest"

    def step(self, model: Any) -> AbstractContextManager[Any]:
        """Reduce once, at the end of the step: a reduction a chunk would keep the last chunk's gradient only."""
        context: AbstractContextManager[Any] = model.coalesce_grad_reduction()
        return context

    def chunk(self, model: nn.Module, *, last: bool) -> AbstractContextManager[Any]:
        """Nothing to do: the whole step is one reduction."""
        return nullcontext()

    def backward(self, model: Any, scalar: Tensor) -> None:
        """Go through DeepSpeed's engine; accelerate would make an optimizer step with every chunk."""
        model.backward(scalar, scale_wrt_gas=False)

    def finish(self, model: Any) -> None:
        """Clip, and make the optimizer's step; Trainer's own is then a no-op."""
        model.step()

    def save_optimizer(self, model: Any, optimizer: Any, directory: str) -> None:
        """Write every process's part of the states, and the trained parameters that belong to them."""
        model.save_checkpoint(directory, exclude_frozen_parameters=True)

    def load_state(self, model: Any, directory: str) -> None:
        """Load each process's part of the optimizer's states."""
        loaded, _ = model.load_checkpoint(directory, load_module_strict=False)
        if loaded is None:
            raise UserError(f"DeepSpeed cannot read its states in {directory}: delete it, and go on from the one before")


# By accelerate.DistributedType.
ENGINES: dict[str, type[Engine]] = {
    **dict.fromkeys(("NO", "MULTI_CPU", "MULTI_GPU", "MULTI_NPU", "MULTI_XPU"), Engine),
    "FSDP": ShardedEngine,
    "DEEPSPEED": ZeroEngine,
}


def engine_of(accelerator: Any) -> Engine:
    """Return the engine that the launcher chose.

    Raises:
        UserError: its gradient was not verified to be that of the joined batch.
    """
    name = str(accelerator.distributed_type.value)
    if name not in ENGINES:
        raise UserError(
            f"the launcher chose {name}, with which this trainer is not verified to give the exact gradient. LoRA and "
            "the pooling fit DDP: accelerate launch --config_file accelerate_config.yaml"
        )
    return ENGINES[name](accelerator)
