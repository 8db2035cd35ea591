"""A memory plan from a run's configuration alone, without weights, GPU or data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from common.errors import UserError
from common.files import first_line
from model_loaders.backbone.attention import set_attention
from model_loaders.backbone.load import load_config
from model_loaders.designs import get_design
from model_loaders.layouts.manifest import BaseModel, Recipe
from trainers.memory.plan import MemoryPlan, checkpoints_activations, plan_step
from trainers.memory.stand_ins import Alone, NoText, batch_of_lengths
from trainers.step.contrastive import ContrastiveStep

if TYPE_CHECKING:
    from model_loaders.embed_model import EmbedModel
    from trainers.flags.train_config import TrainConfig


def model_of(config: TrainConfig) -> EmbedModel:
    """Build the model of a run without its weights: of the base model, only the config is read.

    Raises:
        UserError: an adapter to go on from, a quantised base, or a base whose config cannot be read.
    """
    from transformers import AutoModel

    from model_loaders.backbone.load import DTYPES, add_lora
    from model_loaders.create import fresh_pooling, sizes_from_flags
    from model_loaders.embed_model import EmbedModel
    from trainers.flags.lora import lora_options

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
    recipe = Recipe(max_length=config.data.max_seq_length, query_max_length=config.data.query_max_length)
    with torch.device("meta"):
        backbone = AutoModel.from_config(base, dtype=dtype, attn_implementation=kernel).requires_grad_(False)
        backbone = add_lora(backbone, lora_options(given), trainable=True)
        pooling = fresh_pooling(design, about, sizes_from_flags(design, vars(given)))  # fp32, as in training
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
