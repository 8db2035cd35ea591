"""The memory of a training step, planned by running it on tensors that have sizes but no memory."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensorMode

from common.files import first_line
from common.words import gigabytes
from trainers.memory.fake_masks import masks_of_real_batches
from trainers.memory.live_bytes import LiveBytes
from trainers.memory.placeholders import PeakChunkEncoder
from trainers.step.batch import TripletBatch
from trainers.step.contrastive import ContrastiveStep
from trainers.step.engines import Engine, SingleProcessEngine
from trainers.step.gather import ProcessGroup

if TYPE_CHECKING:
    from transformers import TrainingArguments

    from model_loaders.embed_model import EmbedModel

# fp32 values that an optimizer keeps for each parameter; others are assumed to keep two, as Adam does.
OPTIMIZER_VALUES = {"sgd": 0.0, "adafactor": 0.0, "rmsprop": 1.0, "adagrad": 1.0, "lion": 1.0}


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes of tensors in a training step after the first, on one process.

    Attributes:
        weights: of the model, trainable ones included.
        optimizer: the optimizer's state.
        buffers: DDP's copies of the gradients.
        gradients: of the trainable parameters, at the moment of the peak.
        activations: all other tensors at that moment: those that autograd keeps, vectors, scores, temporary results.
        gathered: vectors of other processes, if they take part in the loss.
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
        sizes = {
            "weights": self.weights,
            "optimizer": self.optimizer,
            "DDP buffers": self.buffers,
            "gradients": self.gradients,
            "activations": self.activations,
            "other processes' vectors": self.gathered,
        }
        parts = [f"{name} {gigabytes(size)}" for name, size in sizes.items() if size]
        return f"{gigabytes(self.total)}: {', '.join(parts)}"


def plan_step(
    model: EmbedModel,
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
        model: on its device, unchanged afterwards; or one that is fake already.
        step: of the run; its number of processes counts.
        batch: a share of one process.
        optimizer: name of ``--optim``.
        autocast: dtype of ``--bf16`` or ``--fp16``.
        checkpointing: whether layers are recomputed (``--gradient_checkpointing``).
        accumulating: whether an optimizer step has several batches, so that the later ones find gradients in memory.
    """
    device = next(model.parameters()).device
    fake, mode = fake_copy(model)
    fake.train()
    plan_experts_in_turn(fake, autocast)
    if checkpointing:
        fake.activation_checkpointing_enable()
    trainable = [parameter for parameter in fake.parameters() if parameter.requires_grad]
    existing = [*fake.parameters(), *fake.buffers()]
    lengths = [len(ids) for ids in batch.ids]
    sizes = step.chunker.computed_tokens(lengths, step.groups(lengths))
    single = replace(step, engine=SingleProcessEngine(), processes=ProcessGroup())
    cast = torch.autocast(device.type, dtype=autocast, enabled=autocast is not None)
    with mode, masks_of_real_batches(), LiveBytes(existing) as live, cast:
        hooks = [parameter.register_post_accumulate_grad_hook(live.gradient) for parameter in trainable]
        for _ in range(2 if accumulating else 1):
            single(fake if step.frees_each_chunk else PeakChunkEncoder(fake, sizes, live), batch)
        for hook in hooks:
            hook.remove()

    gradients = sum(map(size_of, trainable))
    others = step.processes.count - 1 if step.processes.share_negatives else 0
    plan = MemoryPlan(
        weights=sum(map(size_of, existing)),
        optimizer=int(gradients * optimizer_values(optimizer)),
        buffers=gradients if step.processes.count > 1 else 0,
        gradients=live.gradients_at_peak,
        activations=live.peak - live.gradients_at_peak,
        # Four copies: as they come, sorted by role, normalised, and the gradient of those.
        gathered=0 if step.frees_each_chunk else 4 * others * len(batch) * int(fake.dim) * 4,
    )
    # The optimizer's own step: all gradients, no activations; temporary results of their size unless it is fused.
    in_optimizer = gradients if "fused" in optimizer else 2 * gradients
    if plan.gradients + plan.activations + plan.gathered < in_optimizer:
        plan = replace(plan, gradients=gradients, activations=in_optimizer - gradients, gathered=0)
    return plan


class PlannableTrainer(Protocol):
    """The parts of a built `ContrastiveTrainer` that a plan needs."""

    model: EmbedModel
    args: TrainingArguments
    contrastive_step: ContrastiveStep


def plan_training(trainer: PlannableTrainer, batch: TripletBatch) -> MemoryPlan:
    """Plan a step of a built `ContrastiveTrainer`."""
    args = trainer.args
    return plan_step(
        trainer.model,
        trainer.contrastive_step,
        batch,
        optimizer=str(getattr(args.optim, "value", args.optim)),
        autocast=autocast_dtype(args),
        checkpointing=checkpoints_activations(args),
        accumulating=args.gradient_accumulation_steps > 1,
    )


def plan_or_reason(trainer: PlannableTrainer, batch: TripletBatch) -> MemoryPlan | str:
    """Return the plan, or the reason why there is none: a report of a run must not end it."""
    if type(trainer.contrastive_step.engine) is not Engine:
        return "not planned (sharded over processes)"
    if trainer.model.base_model.quantisation:
        return "not planned (quantised base model)"
    try:
        return plan_training(trainer, batch)
    except Exception as error:  # an operation that has no sizes without values, in whatever base model
        return f"not planned ({first_line(error)}), so the memory is not checked"


def autocast_dtype(args: TrainingArguments) -> torch.dtype | None:
    """Return the dtype of mixed precision, None without it."""
    if args.bf16:
        return torch.bfloat16
    return torch.float16 if args.fp16 else None


def checkpoints_activations(args: TrainingArguments) -> bool:
    """Say whether layers are recomputed in the backward pass."""
    return bool(args.activation_checkpointing)


def packs_texts(packing: str, args: TrainingArguments) -> bool:
    """Say whether the base LLM computes texts without padding, for ``--packing`` ``auto``, ``on`` or ``off``."""
    if packing == "off" or checkpoints_activations(args):
        return False
    return packing == "on" or args.device.type == "cpu"


def optimizer_values(name: str) -> float:
    """Return the number of fp32 values that an optimizer keeps for each parameter."""
    values = 2.0
    for prefix, number in OPTIMIZER_VALUES.items():
        if name.startswith(prefix):
            values = number
    return values / 4 if "8bit" in name else values


def size_of(tensor: Tensor) -> int:
    """Return a tensor's bytes."""
    return tensor.numel() * tensor.element_size()


def plan_experts_in_turn(fake: EmbedModel, autocast: torch.dtype | None) -> None:
    """Let a fake mixture of experts compute one expert after the other, unless it computes in bfloat16.

    PyTorch's grouped product, transformers' default, has sizes without values in bfloat16 alone. One expert after the other
    keeps more, so the plan is an upper bound.
    """
    base: Any = fake.backbone.get_base_model() if fake.has_lora else fake.backbone  # type: ignore[operator]
    grouped = getattr(base.config, "_experts_implementation", None) == "grouped_mm"
    if grouped and torch.bfloat16 not in (base.dtype, autocast):
        base.set_experts_implementation("eager")


def fake_copy(model: EmbedModel) -> tuple[EmbedModel, FakeTensorMode]:
    """Copy a model without its memory; one that is fake already is returned as it is."""
    mode = getattr(next(model.parameters()), "fake_mode", None)
    if mode is not None:
        return model, mode
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with FakeCopyMode(mode):
        return copy.deepcopy(model, memo={id(model.tokenizer): model.tokenizer}), mode
