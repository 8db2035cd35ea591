"""Two LoRA adapters, one on top of the other, as one adapter that gives the same model.

For a linear map with the weight W, ``W + s1 B1 A1 + s2 B2 A2 = W + [s1 B1, s2 B2] [A1; A2]``: one LoRA whose rank is the sum of
both and whose scale is 1. So the first adapter need not be merged into weights that may be in half precision, and what is
saved, hashed and trained on stays one adapter.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common.errors import UserError
from model_loaders.layouts.source import Lora

PREFIX = "base_model.model."
PART = re.compile(rf"^{re.escape(PREFIX)}(?P<module>.+)\.lora_(?P<side>[AB])\.weight$")
# What makes an adapter more than W + s B A, by peft's names; each with the values that say it does not.
BEYOND: dict[str, tuple[Any, ...]] = {
    "use_dora": (None, False),
    "bias": (None, "none"),
    "lora_bias": (None, False),
    "modules_to_save": (None, []),
    "target_parameters": (None, []),
    "trainable_token_indices": (None, []),
    "layer_replication": (None, []),
    "fan_in_fan_out": (None, False),
    "alora_invocation_tokens": (None, []),
    "use_qalora": (None, False),
}
# Initialisations that draw A and B alone: those of other names change the base LLM's weights too.
DRAWN = (None, True, False, "gaussian", "orthogonal", "eva")
# Which modules an adapter acts on.
TARGETS = ("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern")


@dataclass(frozen=True)
class Map:
    """LoRA of one linear map: its update is ``up @ down``.

    Attributes:
        down: A, ``(rank, in)`` fp32.
        up: B times its scale, ``(out, rank)`` fp32.
    """

    down: Tensor
    up: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the weight that it changes, ``(out, in)``."""
        return self.up.shape[0], self.down.shape[1]


def stacked(first: Lora, second: Lora, first_place: Path, second_place: Path) -> Lora:
    """Return one adapter that equals ``second`` on top of ``first``.

    Args:
        first: peft's config and tensors.
        second: the same.
        first_place: folder of the first one, for messages.
        second_place: folder of the second one.

    Raises:
        UserError: one of them is more than ``W + s B A``, or they do not fit each other.
    """
    maps, others = maps_of(first, first_place), maps_of(second, second_place)
    joined = {}
    for module in sorted(maps.keys() | others.keys()):
        if module not in maps or module not in others:
            joined[module] = maps.get(module) or others[module]
            continue
        below, above = maps[module], others[module]
        if below.shape != above.shape:
            raise UserError(
                f"{second_place} does not fit on {first_place}: {module} has the shape {above.shape} for one and "
                f"{below.shape} for the other: they belong to two base LLMs"
            )
        joined[module] = Map(torch.cat([below.down, above.down]), torch.cat([below.up, above.up], dim=1))
    same = maps.keys() == others.keys() and all(first[0].get(key) == second[0].get(key) for key in TARGETS)
    return config_of(joined, {key: second[0].get(key) for key in TARGETS} if same else {}), tensors_of(joined)


def maps_of(lora: Lora, place: Path) -> dict[str, Map]:
    """Return the linear maps that an adapter changes, by the module's name in the base LLM."""
    config, tensors = lora
    for name, neutral in BEYOND.items():
        if config.get(name) not in neutral:
            raise UserError(f"{place} has {name} {config[name]!r}: such a LoRA adapter cannot be one of two; merge it first")
    if config.get("init_lora_weights") not in DRAWN:
        raise UserError(
            f"{place} began with init_lora_weights {config['init_lora_weights']!r}, which changes the base LLM's weights: it "
            "cannot be one of two adapters; merge it first"
        )
    sides: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        part = PART.match(name)
        if part is None:
            raise UserError(
                f"{place}: the tensor {name} is no LoRA of a linear map; expected {PREFIX}….lora_A.weight and lora_B"
            )
        sides.setdefault(part["module"], {})[part["side"]] = tensor.float()
    maps = {}
    for module, pair in sides.items():
        if set(pair) != {"A", "B"} or pair["A"].dim() != 2 or pair["B"].dim() != 2 or len(pair["A"]) != pair["B"].shape[1]:
            raise UserError(f"{place}: lora_A and lora_B of {module} are not two matrices of one rank; take a fresh copy")
        rank = said_of(config, "r", module, place)
        if rank != len(pair["A"]):
            raise UserError(f"{place} says rank {rank:g} for {module}, whose tensors have {len(pair['A'])}; take a fresh copy")
        alpha = said_of(config, "lora_alpha", module, place)
        scale = alpha / (rank**0.5 if config.get("use_rslora") else rank)
        maps[module] = Map(pair["A"], pair["B"] * scale)
    return maps


def said_of(config: Mapping[str, Any], key: str, module: str, place: Path) -> float:
    """Return ``r`` or ``lora_alpha`` of one module, as peft reads a config: a pattern that its name matches comes first."""
    patterns = config.get({"r": "rank_pattern", "lora_alpha": "alpha_pattern"}[key]) or {}
    value = config.get(key, 8)
    for pattern, its_value in patterns.items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            value = its_value
            break
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        raise UserError(f"{place}: {key} of {module} is {value!r}, not a number above 0")
    return float(value)


def config_of(maps: Mapping[str, Map], targets: Mapping[str, Any]) -> dict[str, Any]:
    """Return peft's config of the joined adapter: rank and alpha are equal, so that the scale is 1.

    Args:
        maps: by module.
        targets: which modules it acts on, as both adapters say it; empty for the names of all.
    """
    ranks = {module: len(one.down) for module, one in maps.items()}
    (common, _), *_ = Counter(ranks.values()).most_common(1)
    others = {module: rank for module, rank in ranks.items() if rank != common}
    patterns = {re.escape(module): rank for module, rank in others.items()}
    return {
        "peft_type": "LORA",
        "r": common,
        "lora_alpha": common,
        "rank_pattern": patterns,
        "alpha_pattern": dict(patterns),
        "target_modules": sorted(maps),
        "lora_dropout": 0.0,
        "bias": "none",
        **targets,
    }


def tensors_of(maps: Mapping[str, Map]) -> dict[str, Tensor]:
    """Return the tensors of an adapter under peft's names."""
    tensors = {}
    for module, its_map in maps.items():
        tensors[f"{PREFIX}{module}.lora_A.weight"] = its_map.down
        tensors[f"{PREFIX}{module}.lora_B.weight"] = its_map.up
    return tensors
