"""How much memory a training step will need, found by running it on tensors that have sizes but no memory.

The step is the trainer's own, on a copy of the model whose tensors are PyTorch's fake ones, and every tensor is counted
while it is alive. So the plan knows what autograd keeps of whatever base model, LoRA, pooling, kernel and checkpointing there
is, without a formula for any of them. Of many chunks only those run that can have the peak (`stand_ins.chunks_to_run`); between
them stand-ins hold as much a token as the first one did.

Plan a run from its configuration alone, without the base model's weights, a GPU or data::

    python trainers/memory_plan.py --design model3 --config configs/mistral-7b.yaml --negatives 7
"""

from __future__ import annotations

import argparse
import copy
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a script's own folder is on sys.path, the root is not

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensorMode

from common.errors import UserError
from common.files import first_line
from common.words import gigabytes
from model_loaders.attention import set_attention
from model_loaders.backbone import load_config
from model_loaders.designs import get_design
from model_loaders.manifest import BaseModel, Recipe
from trainers.batching import TripletBatch
from trainers.engines import Engine
from trainers.live_bytes import LiveBytes
from trainers.stand_ins import Alone, FewChunks, NoText, batch_of_lengths
from trainers.step import ContrastiveStep

if TYPE_CHECKING:
    from model_loaders.embed_model import EmbedModel
    from trainers.arguments import TrainConfig

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


def model_of(config: TrainConfig) -> EmbedModel:
    """Build the model of a run without its weights: of the base model, only the config is read.

    Raises:
        UserError: an adapter to go on from, a quantised base, or a base whose config cannot be read.
    """
    from transformers import AutoModel

    from model_loaders.backbone import DTYPES, add_lora
    from model_loaders.embed_model import EmbedModel, fresh_pooling
    from trainers.lora_options import lora_options

    given = config.model
    if given.peft_model_name_or_path or given.model_name_or_path is None or given.load_in_4bit or given.load_in_8bit:
        raise UserError(
            "a plan is made of a new adapter on a base model that is not quantised: give --model_name_or_path alone"
        )
    design = get_design(config.design)
    base = base_config(given.model_name_or_path, given.cache_dir)
    set_attention(base, design.attention)
    # FlashAttention keeps what PyTorch's fused attention keeps, and needs a GPU to be built.
    kernel = "sdpa" if str(given.attn_implementation).startswith("flash") else given.attn_implementation
    dtype = torch.bfloat16 if given.torch_dtype == "auto" else DTYPES[given.torch_dtype]
    about = BaseModel(given.model_name_or_path, base.model_type, base.hidden_size, base.num_hidden_layers)
    sizes = {"latents": given.pooling_latents, "heads": given.pooling_heads, "head_dim": given.pooling_head_dim}
    recipe = Recipe(max_length=config.data.max_seq_length, query_max_length=config.data.query_max_length)
    with torch.device("meta"):
        backbone = AutoModel.from_config(base, dtype=dtype, attn_implementation=kernel).requires_grad_(False)
        backbone = add_lora(backbone, lora_options(given), trainable=True)
        pooling = fresh_pooling(design, about, sizes)  # fp32, as in training
    model = EmbedModel(config.design, backbone, pooling, NoText(), recipe, about)
    give_device(model)
    return model


def give_device(model: nn.Module) -> None:
    """Replace tensors of the meta device by fake ones of the CPU, whose kernels are fused like a GPU's."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        for module in model.modules():
            for name, parameter in module._parameters.items():
                if parameter is not None:
                    fake = torch.empty_like(parameter, device="cpu")
                    module._parameters[name] = nn.Parameter(fake, requires_grad=parameter.requires_grad)
            for name, buffer in module._buffers.items():
                if buffer is not None:
                    module._buffers[name] = torch.empty_like(buffer, device="cpu")


def base_config(name: str, cache_dir: str | None) -> Any:
    """Read a base model's config; of a hub name nothing else is fetched."""
    from transformers import AutoConfig

    if Path(name).is_dir():
        return load_config(Path(name))
    try:
        return AutoConfig.from_pretrained(name, cache_dir=cache_dir).get_text_config(decoder=True)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"the config of {name} cannot be read: {first_line(error)}") from error


def plan_config(config: TrainConfig, *, negatives: int, processes: int) -> MemoryPlan:
    """Plan a run whose texts all have their greatest lengths, from its configuration alone."""
    training, contrastive = config.training, config.contrastive
    model = model_of(config)
    step = ContrastiveStep.of(
        model,
        Alone(),
        "cpu" if training.use_cpu else "cuda",
        chunk_tokens=contrastive.chunk_tokens,
        across_processes=contrastive.negatives_across_processes,
        processes=processes,
    )
    return plan_step(
        model,
        step,
        batch_of_lengths(model.recipe, training.per_device_train_batch_size, negatives),
        optimizer=str(getattr(training.optim, "value", training.optim)),
        autocast=torch.bfloat16 if training.bf16 else None,
        checkpointing=checkpoints_activations(training),
        accumulating=training.gradient_accumulation_steps > 1,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Print the plan of a command line for ``trainers/train.py``; returns the exit status."""
    import tempfile

    from trainers.command_line import parse

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--negatives", type=int, default=1, help="hard negatives of each query (1)")
    parser.add_argument("--processes", type=int, default=1, help="processes that share a batch (1)")
    own, rest = parser.parse_known_args(argv)
    config = parse([*rest, "--output_dir", tempfile.gettempdir()], needs_data=False)
    try:
        plan = plan_config(config, negatives=own.negatives, processes=own.processes)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    batch = f"{config.training.per_device_train_batch_size} queries with {own.negatives} hard negatives each"
    print(f"{config.design} on {config.model.model_name_or_path}, {own.processes} processes of {batch}, every text at its "
          f"longest ({config.data.max_seq_length} tokens)")  # fmt: skip
    print(plan)
    print("tensors of one process; what kernels use inside and the allocator rounds up comes on top")
    return 0


if __name__ == "__main__":
    sys.exit(main())
