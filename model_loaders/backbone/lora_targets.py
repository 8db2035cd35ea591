"""The places where LoRA acts: the default targets in the names of each family, and the weights that are left out.

Experts of a mixture whose weights are one tensor (``experts.down_proj``) are no linear layers: peft puts LoRA on the tensor, as
``target_parameters``. It has no dropout there, no DoRA, and none of the initialisations that read the weight.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import nn

from model_loaders.backbone.states import decoder_layers

logger = logging.getLogger(__name__)

# configs/lora.json names these; where a family calls its linear layers otherwise, it stands for all of them.
STANDARD_TARGETS = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
# Of these peft refuses ``out_proj``.
STATE_SPACE_MODELS = {"falcon_h1", "falcon_mamba", "mamba", "mamba2", "nemotron_h"}
# What `fitted` may change.
PLACEMENT = ("target_modules", "target_parameters", "lora_dropout", "rank_pattern", "alpha_pattern", "layers_pattern")
DRAWN_WITHOUT_WEIGHT = (True, False, None, "gaussian")


def fitted(lora: dict[str, Any], backbone: nn.Module) -> dict[str, Any]:
    """Return a new adapter's config for this family: the standard targets become all its linear layers and experts.

    Args:
        lora: the config as the user gives it, or as `as_in_checkpoint` does; other targets than the standard ones stay.
        backbone: the bare decoder.
    """
    if lora.get("layers_to_transform") is not None and not lora.get("layers_pattern"):
        # peft looks for a list inside a named part; in a bare decoder the list of layers stands at the top.
        lora = lora | {"layers_pattern": layers_name(backbone)}
    if isinstance(lora.get("target_modules"), set):
        return lora | {"target_modules": present(lora["target_modules"], backbone)}
    experts = fused_experts(backbone)
    if stands_for_all(lora, bool(experts)):
        names, dead = linear_names(backbone), never_called(backbone)
        if dead:
            logger.warning(
                "LoRA does not act on %s: the model's code reads these weights beside their layers", ", ".join(sorted(dead))
            )
        lora = lora | {"target_modules": sorted(names - dead)}
        if experts and not lora.get("target_parameters"):
            lora = with_experts(lora, backbone, experts)
    return lora


def as_in_checkpoint(lora: dict[str, Any], saved: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config of a run that goes on: where it leaves the targets to us, those that its checkpoint has.

    Args:
        lora: of the run's flags.
        saved: ``adapter_config.json`` of the checkpoint, whose targets may be those of an earlier version of `fitted`.
    """
    if not stands_for_all(lora, has_experts=True):
        return lora
    targets = saved.get("target_modules")
    before = {key: saved[key] for key in PLACEMENT if key in saved}
    return lora | before | {"target_modules": set(targets) if isinstance(targets, list) else targets}


def present(targets: Iterable[str], backbone: nn.Module) -> list[str]:
    """Return the targets that this model has, sorted; peft passes over the others."""
    names = [name for name, _ in backbone.named_modules()]
    return [target for target in sorted(targets) if is_part(target, names)]


class Continued(dict[str, Any]):
    """The LoRA config of a run that goes on: earlier versions began with patterns that change no target."""


def stands_for_all(lora: dict[str, Any], has_experts: bool) -> bool:
    """Whether a config means every linear map of the decoder: by the standard targets, or with experts by peft's own word."""
    targets = lora.get("target_modules")
    if isinstance(targets, list):  # a set is that of a checkpoint
        return set(targets) == STANDARD_TARGETS
    return has_experts and targets == "all-linear"


def with_experts(lora: dict[str, Any], backbone: nn.Module, experts: list[str]) -> dict[str, Any]:
    """Return a config with the fused experts among its targets, or as it is where peft cannot; a line says what was done."""
    names = ", ".join(experts)
    if reason := no_experts_reason(lora):
        logger.warning(
            "LoRA does not act on the experts (%s), whose weights are one tensor: peft has no %s there", names, reason
        )
        return lora
    if lora.get("lora_dropout"):
        logger.warning(
            "LoRA acts on the experts too (%s), whose weights are one tensor: peft has no dropout there, so lora_dropout is 0, "
            "not %g",
            names, lora["lora_dropout"],
        )  # fmt: skip
    layers = lora.get("layers_to_transform")
    if layers is not None:  # peft asks for the layer of modules alone
        wanted = {layers} if isinstance(layers, int) else set(layers)
        experts = [name for name, layer in expert_weights(backbone) if layer in wanted]
    return lora | {"target_parameters": experts, "lora_dropout": 0.0}


def no_experts_reason(lora: dict[str, Any]) -> str | None:
    """Return what of a config peft cannot do on a tensor of experts; ``None`` if it can."""
    if lora.get("use_dora"):
        return "use_dora"
    if lora.get("lora_bias"):
        return "lora_bias"
    start = lora.get("init_lora_weights", True)
    return None if start in DRAWN_WITHOUT_WEIGHT else f"init_lora_weights {start!r}"


def linear_names(backbone: nn.Module) -> set[str]:
    """Return the last names of the decoder's linear maps; two of them where one is a number or that of another module too."""
    linear, others = [], set()
    for name, module in backbone.named_modules():
        if is_linear(module):
            linear.append(name)
        else:
            others.add(name)
    return {own_name(name, others) for name in linear}


def is_linear(module: nn.Module) -> bool:
    """Whether a module is a linear layer, or GPT-2's kind of one."""
    from transformers.pytorch_utils import Conv1D

    return isinstance(module, nn.Linear | Conv1D)


def own_name(name: str, others: set[str]) -> str:
    """Return the shortest end of a dotted name that is no number and ends none of ``others``."""
    parts = name.split(".")
    for length in range(1, len(parts)):
        end = ".".join(parts[-length:])
        if not end.isdigit() and not is_part(end, others):
            return end
    return name


def is_part(key: str, names: Iterable[str]) -> bool:
    """Whether one of the names is ``key`` or ends with it, as peft matches."""
    return any(name == key or name.endswith(f".{key}") for name in names)


@torch.no_grad()
def never_called(backbone: nn.Module) -> set[str]:
    """Return the names of linear layers on which LoRA would do nothing: the model reads their weights and never calls them.

    State-space layers do so, ``dt_proj`` always and ``out_proj`` where their fast kernels are. Where memory is planned the
    tensors have no values, and nothing is found.
    """
    linear = [(name, module) for name, module in backbone.named_modules() if is_linear(module)]
    type_, known = getattr(backbone.config, "model_type", None), {name.rsplit(".", 1)[-1] for name, _ in linear}
    dead = {"out_proj"} & known if type_ in STATE_SPACE_MODELS else set()
    weight = next(backbone.parameters())
    if weight.is_meta or type(weight.data) is not torch.Tensor:
        return dead
    called: set[str] = set()
    hooks = [module.register_forward_pre_hook(lambda *_, name=name: called.add(name)) for name, module in linear]
    try:
        backbone(input_ids=torch.ones(1, 2, dtype=torch.long, device=weight.device), use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    alive = {name.rsplit(".", 1)[-1] for name in called}
    return dead | (known - alive)


def expert_weights(backbone: nn.Module) -> Iterator[tuple[str, int]]:
    """Yield the full name of each tensor that holds a matrix of several experts, and the number of its layer."""
    layers = decoder_layers(backbone)
    place = next(name for name, module in backbone.named_modules() if module is layers)
    for module_name, module in layers.named_modules():
        count = getattr(module, "num_experts", None)
        if not isinstance(count, int) or count < 2:
            continue
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.dim() == 3 and parameter.shape[0] == count and parameter.is_floating_point():
                yield f"{place}.{module_name}.{name}", int(module_name.split(".")[0])


def fused_experts(backbone: nn.Module) -> list[str]:
    """Return the last names of weights of several experts in one tensor, such as ``experts.down_proj``."""
    names = set()
    for name, _ in expert_weights(backbone):
        names.add(last_two(name))
    return sorted(names)


def last_two(name: str) -> str:
    """Return the last two parts of a dotted name."""
    return ".".join(name.split(".")[-2:])


def layers_name(backbone: nn.Module) -> str:
    """Return the name of the decoder's list of layers, such as ``layers``."""
    layers = decoder_layers(backbone)
    names = [name for name, module in backbone.named_modules() if module is layers]
    return str(names[0].rsplit(".", 1)[-1])


def targets_of(backbone: nn.Module) -> dict[str, int]:
    """Return in how many places LoRA acts, by the last name of the module, and of experts by that of their tensor.

    >>> from model_loaders.create import create
    >>> targets_of(create("model1", base, lora={"target_modules": ["q_proj"]}).backbone)
    {'q_proj': 3}
    """
    names: list[str] = []
    for name, module in lora_layers(backbone):
        parameter = getattr(module, "parameter_name", None)
        names.append(f"{name}.{parameter}" if isinstance(parameter, str) else name)
    return dict(Counter(names))


def lora_layers(backbone: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield each layer of peft's LoRA with the last name of the module that it stands for."""
    from peft.tuners.lora.layer import LoraLayer

    for name, module in backbone.named_modules():
        if isinstance(module, LoraLayer):
            parts = [part for part in name.split(".") if part != "base_layer"]  # two tensors of a module: one inside the other
            yield parts[-1], module


def left_out(backbone: nn.Module) -> dict[str, int]:
    """Return how many weight matrices have no LoRA and are not trained, by their last names; embeddings are none.

    >>> from model_loaders.create import create
    >>> sorted(left_out(create("model1", base, lora={"target_modules": "all-linear"}).backbone))
    []
    """
    adapted = set()
    for _, layer in lora_layers(backbone):
        base: Any = layer.get_base_layer()  # type: ignore[operator]
        adapted.add(id(getattr(base, getattr(layer, "parameter_name", None) or "weight")))
    names = []
    for module_name, module in backbone.named_modules():
        if isinstance(module, nn.Embedding):
            continue
        for name, parameter in module.named_parameters(recurse=False):
            trained = parameter.requires_grad or "lora_" in module_name or id(parameter) in adapted
            if parameter.dim() < 2 or trained or "bias" in name:
                continue
            owner = module_name.rsplit(".", 1)[-1]
            names.append(owner if name == "weight" and isinstance(module, nn.Linear) else f"{owner}.{name}")
    return dict(Counter(names))
