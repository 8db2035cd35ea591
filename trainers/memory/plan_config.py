"""A memory plan from a run's configuration alone, without weights, GPU or data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import AutoModel

from common.errors import UserError
from model_loaders.backbone.attention import set_attention
from model_loaders.backbone.base_config import load_config, read_config, text_config
from model_loaders.backbone.load import DTYPES, train_weights
from model_loaders.backbone.lora import add_lora
from model_loaders.backbone.lora_training import torch_masks
from model_loaders.backbone.rope import separate_rows
from model_loaders.create import fresh_pooling, sizes_from_flags
from model_loaders.designs import get_design
from model_loaders.embed_model import EmbedModel
from model_loaders.layouts.manifest import BaseModel
from model_loaders.text.recipe import Recipe
from trainers.flags.lora import lora_options
from trainers.memory.placeholders import PadOnlyTokenizer, batch_of_lengths
from trainers.memory.plan import MemoryPlan, autocast_dtype, checkpoints_activations, plan_step
from trainers.step.contrastive import ContrastiveStep
from trainers.step.engines import SingleProcessEngine
from trainers.step.gather import ProcessGroup

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from trainers.flags.train_config import TrainConfig
    from trainers.step.loss import VectorLoss


def model_of(config: TrainConfig) -> EmbedModel:
    """Build the model of a run without its weights: of the base model, only the config is read.

    Raises:
        UserError: an adapter to go on from, a quantised base, or a base whose config cannot be read.
    """
    flags = config.model
    if flags.peft_model_name_or_path or flags.model_name_or_path is None or flags.load_in_4bit or flags.load_in_8bit:
        raise UserError(
            "a plan is made of a new adapter on a base model that is not quantised: give --model_name_or_path alone"
        )
    design = get_design(config.design)
    base = base_config(flags.model_name_or_path, flags.cache_dir)
    set_attention(base, design.attention)
    # FlashAttention keeps the same tensors as PyTorch's fused attention, and needs a GPU to be built.
    kernel = "sdpa" if str(flags.attn_implementation).startswith("flash") else flags.attn_implementation
    dtype = torch.bfloat16 if flags.torch_dtype == "auto" else DTYPES[flags.torch_dtype]
    if flags.train == "full":
        dtype = torch.float32
    facts = BaseModel(flags.model_name_or_path, base.model_type, base.hidden_size, base.num_hidden_layers)
    recipe = Recipe(max_length=config.data.max_seq_length, query_max_length=config.data.query_max_length)  # lengths alone count
    with torch.device("meta"):
        backbone = AutoModel.from_config(base, dtype=dtype, attn_implementation=kernel, trust_remote_code=False)
        backbone.requires_grad_(False)
        separate_rows(backbone)
        if flags.train == "lora":
            backbone = add_lora(backbone, lora_options(flags), trainable=True)
        elif flags.train == "full":
            train_weights(backbone, flags.last_layers)
        pooling = fresh_pooling(design, facts, sizes_from_flags(design, vars(flags)))  # fp32, as in training
    model = EmbedModel(config.design, backbone, pooling, PadOnlyTokenizer(), recipe, facts)
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


def base_config(name: str, cache_dir: str | None) -> PretrainedConfig:
    """Read a base model's config; for a hub name nothing else is fetched."""
    if Path(name).is_dir():
        return load_config(Path(name))
    return text_config(read_config(name, cache_dir))  # type: ignore[no-any-return]


def check_planned(config: TrainConfig) -> None:
    """Refuse a run whose step this is not a plan of."""
    if config.objective.objective == "mntp":
        raise UserError(
            "a plan without data is one of a contrastive step, and --objective mntp has another one: the training command with "
            "--dry_run plans and measures it"
        )


def plan_config(
    config: TrainConfig, loss: VectorLoss | None = None, *, negatives: int, processes: int, model: EmbedModel | None = None
) -> MemoryPlan:
    """Plan a run whose texts all have their greatest lengths, from its configuration alone.

    Args:
        config: of the run.
        loss: of the run; None for the contrastive one with its defaults.
        negatives: of each query; SimCSE reads none.
        processes: that share a batch.
        model: of the run, where it was built (`model_of`) before.

    Raises:
        UserError: a run of masked prediction, whose step reads packed rows.
    """
    check_planned(config)
    training, contrastive = config.training, config.contrastive
    if config.objective.objective == "simcse":
        negatives = 0
    model = model or model_of(config)
    step = ContrastiveStep.of(
        model,
        SingleProcessEngine(),
        "cpu" if training.use_cpu else "cuda",
        chunk_tokens=contrastive.token_budget,
        loss=loss,
        processes=ProcessGroup(processes, share_negatives=contrastive.negatives_across_processes),
    )
    with torch_masks(not training.use_cpu):
        return plan_step(
            model,
            step,
            batch_of_lengths(model.recipe, training.per_device_train_batch_size, negatives),
            optimizer=str(getattr(training.optim, "value", training.optim)),
            autocast=autocast_dtype(training),
            checkpointing=checkpoints_activations(training),
            accumulating=training.gradient_accumulation_steps > 1,
        )
