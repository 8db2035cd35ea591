"""Engines that several processes train with: how each reduces the gradients of a contrastive step.

The loss's gradient reaches the parameters through several backward passes, one for each chunk. Every engine has its own trap:

- DDP: reducing after every pass costs a reduction for each chunk.
- ZeRO-2: reducing after every pass is silently wrong.
- FSDP2: a forward pass is a collective, so a process with fewer chunks than another would hang.

On all three the sum over a step's chunks is reduced once, to the mean over the processes. The step multiplies the vectors'
gradient by the number of processes to cancel that mean.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import torch
from torch import Tensor, nn

from common.errors import UserError

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch.optim import Optimizer


class Engine:
    """One process, or DDP: gradients are reduced while the last chunk's backward pass runs.

    Attributes:
        forward_is_collective: every process must make the same number of forward passes.
        optimizer_file: present in a checkpoint that holds the optimizer's state.
    """

    forward_is_collective = False
    optimizer_file = "optimizer.pt"

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator

    def without_graph(self, model: nn.Module) -> nn.Module:
        """Return the module to encode with where there is no graph: the one inside the wrapper, as nothing is synchronised."""
        unwrapped: nn.Module = self.accelerator.unwrap_model(model)
        return unwrapped

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

    def save_optimizer(self, model: nn.Module, optimizer: Optimizer, directory: str) -> None:
        """Write the optimizer's state; called on every process."""
        if self.accelerator.is_main_process:
            torch.save(optimizer.state_dict(), Path(directory) / self.optimizer_file)

    def load_state(self, model: nn.Module, directory: str) -> None:
        """Load the engine's own part of a checkpoint, beside the adapter and the optimizer."""


class ShardedEngine(Engine):
    """FSDP2: parameters are gathered by every forward pass, also those without a graph."""

    forward_is_collective = True
    optimizer_file = "optimizer.bin"

    def without_graph(self, model: nn.Module) -> nn.Module:
        """Return the sharded model itself: its hooks gather the parameters."""
        return model

    def save_optimizer(self, model: nn.Module, optimizer: Optimizer, directory: str) -> None:
        """Gather the states and write them; not the base LLM, which accelerate would write beside them."""
        from accelerate.utils import save_fsdp_optimizer

        save_fsdp_optimizer(self.accelerator.state.fsdp_plugin, self.accelerator, optimizer, model, directory)


class SingleProcessEngine(Engine):
    """One process without a launcher."""

    def __init__(self) -> None:
        """Nothing to set up: there is no accelerator."""

    def without_graph(self, model: nn.Module) -> nn.Module:
        """Return the model itself."""
        return model

    def chunk(self, model: nn.Module, *, last: bool) -> AbstractContextManager[Any]:
        """Nothing to synchronise."""
        return nullcontext()

    def backward(self, model: nn.Module, scalar: Tensor) -> None:
        """Add the scalar's gradient into the parameters'."""
        scalar.backward()  # type: ignore[no-untyped-call]


class DeepSpeedModel(Protocol):
    """The methods of ``deepspeed.DeepSpeedEngine`` that a step uses."""

    def coalesce_grad_reduction(self) -> AbstractContextManager[Any]:
        """Make a context at whose end the gradients are reduced."""

    def backward(self, loss: Tensor, *, scale_wrt_gas: bool) -> None:
        """Run a backward pass."""

    def step(self) -> None:
        """Clip and make the optimizer's step."""

    def save_checkpoint(self, save_dir: str, *, exclude_frozen_parameters: bool) -> bool:
        """Write the states of this process."""

    def load_checkpoint(self, load_dir: str, *, load_module_strict: bool) -> tuple[str | None, object]:
        """Load the states of this process; the first value is None where there are none."""


class ZeroEngine(Engine):
    """DeepSpeed ZeRO-2: its engine reduces the gradients, and makes the optimizer's step."""

    optimizer_file = "latest"

    def step(self, model: nn.Module) -> AbstractContextManager[Any]:
        """Reduce once, at the end of the step: a reduction for each chunk would keep the last chunk's gradient only."""
        return cast(DeepSpeedModel, model).coalesce_grad_reduction()

    def chunk(self, model: nn.Module, *, last: bool) -> AbstractContextManager[Any]:
        """Nothing to do: the whole step is one reduction."""
        return nullcontext()

    def backward(self, model: nn.Module, scalar: Tensor) -> None:
        """Use DeepSpeed's engine; accelerate would make an optimizer step with every chunk."""
        cast(DeepSpeedModel, model).backward(scalar, scale_wrt_gas=False)

    def finish(self, model: nn.Module) -> None:
        """Clip, and make the optimizer's step; Trainer's own is then a no-op."""
        cast(DeepSpeedModel, model).step()

    def save_optimizer(self, model: nn.Module, optimizer: Optimizer, directory: str) -> None:
        """Write every process's part of the states, and the trained parameters that belong to them."""
        cast(DeepSpeedModel, model).save_checkpoint(directory, exclude_frozen_parameters=True)

    def load_state(self, model: nn.Module, directory: str) -> None:
        """Load each process's part of the optimizer's states."""
        folder, _ = cast(DeepSpeedModel, model).load_checkpoint(directory, load_module_strict=False)
        if folder is None:
            raise UserError(f"DeepSpeed cannot read its states in {directory}: delete it, and go on from the one before")


# Keys are values of accelerate.DistributedType.
ENGINES: dict[str, type[Engine]] = {
    **dict.fromkeys(("NO", "MULTI_CPU", "MULTI_GPU", "MULTI_NPU", "MULTI_XPU"), Engine),
    "FSDP": ShardedEngine,
    "DEEPSPEED": ZeroEngine,
}


def engine_of(accelerator: Accelerator) -> Engine:
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
