"""The memory of a training step, planned by running it on tensors that have sizes but no memory."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensorMode

from common.files import first_line
from common.words import gigabytes
from trainers.memory.live_bytes import LiveBytes
from trainers.memory.stand_ins import Alone, FewChunks
from trainers.step.batch import TripletBatch
from trainers.step.contrastive import ContrastiveStep
from trainers.step.engines import Engine

if TYPE_CHECKING:
    pass


# fp32 values that an optimizer keeps of each parameter; of others two are assumed, as of Adam.
OPTIMIZER_VALUES = {"sgd": 0.0, "adafactor": 0.0, "rmsprop": 1.0, "adagrad": 1.0, "lion": 1.0}


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes of tensors in a training step after the first, on one process.

    Attributes:
        weights: of the model, trainable ones included.
        optimizer: the optimizer's state.
        buffers: DDP's copies of the gradients.
        gradients: of the trainable parameters, where the peak is.
        activations: all else where the peak is: what autograd keeps, vectors, scores, temporary results.
        gathered: vectors of other processes, where the loss looks at them.
    """

    weights: int
    optimizer: int
    buffers: int
    gradients: int
    activations: int
    gathered: int = 0

    @property
    def above_model(self) -> int:
        """Peak above the loaded model."""
        return self.optimizer + self.buffers + self.gradients + self.activations + self.gathered

    @property
    def total(self) -> int:
        """Peak with the model."""
        return self.weights + self.above_model

    def __str__(self) -> str:
        parts = {
            "weights": self.weights,
            "optimizer": self.optimizer,
            "DDP buffers": self.buffers,
            "gradients": self.gradients,
            "activations": self.activations,
            "other processes' vectors": self.gathered,
        }
        return f"{gigabytes(self.total)}: " + ", ".join(f"{name} {gigabytes(size)}" for name, size in parts.items() if size)


def plan_step(
    model: nn.Module,
    step: ContrastiveStep,
    batch: TripletBatch,
    *,
    optimizer: str = "adamw_torch_fused",
    autocast: torch.dtype | None = None,
    checkpointing: bool = False,
    accumulating: bool = False,
) -> MemoryPlan:
    """Run ``step`` on ``batch`` without memory.

    Args:
        model: an ``EmbedModel`` on its device, unchanged afterwards; or one that is fake already.
        step: of the run; its number of processes counts.
        batch: one process's share.
        optimizer: name of ``--optim``.
        autocast: dtype of ``--bf16`` or ``--fp16``.
        checkpointing: whether layers are recomputed (``--gradient_checkpointing``).
        accumulating: whether an optimizer step has several batches, so that the later ones find gradients in memory.
    """
    device = next(model.parameters()).device
    fake, mode = fake_copy(model)
    fake.train()
    if checkpointing:
        fake.activation_checkpointing_enable()
    trainable = [parameter for parameter in fake.parameters() if parameter.requires_grad]
    trained = sum(size_of(parameter) for parameter in trainable)
    state = int(trained * optimizer_values(optimizer))
    alone = replace(step, engine=Alone(), processes=1, rank=0)
    lengths = [len(row) for row in batch.ids]
    sizes = [lengths[group[0]] * len(group) for group in step.groups(lengths)]  # the longest comes first
    held = [*fake.parameters(), *fake.buffers()]
    with mode, LiveBytes(held) as live, torch.autocast(device.type, dtype=autocast, enabled=autocast is not None):
        hooks = [parameter.register_post_accumulate_grad_hook(live.gradient) for parameter in trainable]
        for _ in range(2 if accumulating else 1):
            alone(FewChunks(fake, sizes, live), batch)
        for hook in hooks:
            hook.remove()
    others = step.processes - 1 if step.across_processes else 0
    found = MemoryPlan(
        weights=sum(size_of(tensor) for tensor in held),
        optimizer=state,
        buffers=trained if step.processes > 1 else 0,
        gradients=live.gradients_at_peak,
        activations=live.peak - live.gradients_at_peak,
        # As they come, sorted by role, normalised, and the gradient of those.
        gathered=4 * others * len(batch) * int(fake.dim) * 4,
    )
    # The optimizer's own step: all gradients, no activations; where it is not fused, temporary results of their size.
    stepping = trained if "fused" in optimizer else 2 * trained
    if found.gradients + found.activations + found.gathered < stepping:
        found = replace(found, gradients=trained, activations=stepping - trained, gathered=0)
    return found


def plan_training(trainer: Any, batch: TripletBatch) -> MemoryPlan:
    """Plan a step of a built `ContrastiveTrainer`."""
    args = trainer.args
    return plan_step(
        trainer.model,
        trainer.contrastive_step,
        batch,
        optimizer=str(getattr(args.optim, "value", args.optim)),
        autocast=torch.bfloat16 if args.bf16 else torch.float16 if args.fp16 else None,
        checkpointing=checkpoints_activations(args),
        accumulating=args.gradient_accumulation_steps > 1,
    )


def plan_or_reason(trainer: Any, batch: TripletBatch) -> str:
    """Return the plan as text, or why there is none: what a run says of itself must not end it."""
    if type(trainer.contrastive_step.engine) is not Engine:
        return "not planned (sharded over processes)"
    if trainer.model.base_model.quantisation:
        return "not planned (quantised base model)"
    try:
        return str(plan_training(trainer, batch))
    except Exception as error:  # an operation that has no sizes without values, in whatever base model
        return f"not planned ({first_line(error)})"


def checkpoints_activations(args: Any) -> bool:
    """Whether ``TrainingArguments`` ask for recomputed layers, under the name that this transformers has for it."""
    return bool(getattr(args, "activation_checkpointing", False) or getattr(args, "gradient_checkpointing", False))


def optimizer_values(name: str) -> float:
    """Return how many fp32 values an optimizer keeps of each parameter."""
    values = next((number for start, number in OPTIMIZER_VALUES.items() if name.startswith(start)), 2.0)
    return values / 4 if "8bit" in name else values


def size_of(tensor: Tensor) -> int:
    """Return a tensor's bytes."""
    return tensor.numel() * tensor.element_size()


def fake_copy(model: nn.Module) -> tuple[Any, FakeTensorMode]:
    """Copy a model without its memory; one that is fake already is returned as it is."""
    mode = getattr(next(model.parameters()), "fake_mode", None)
    if mode is not None:
        return model, mode
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with FakeCopyMode(mode):
        tokenizer: Any = model.tokenizer
        return copy.deepcopy(model, memo={id(tokenizer): tokenizer}), mode
