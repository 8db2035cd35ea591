"""The optimizer's groups of trainable parameters: the pooling may have a learning rate of its own."""

from __future__ import annotations

from typing import Any

from torch import nn


def parameter_groups(model: nn.Module, decayed: set[str], *, weight_decay: float, pooling_rate: float) -> list[dict[str, Any]]:
    """Return the optimizer's groups of trainable parameters: the pooling or the rest, with weight decay or without.

    Args:
        model: to train.
        decayed: names of the parameters with weight decay.
        weight_decay: of those.
        pooling_rate: learning rate of the pooling's parameters; the others have the optimizer's default.
    """
    members: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            members.setdefault((name.startswith("pooling."), name in decayed), []).append(parameter)
    groups = []
    for (is_pooling, is_decayed), parameters in members.items():
        group: dict[str, Any] = {"params": parameters, "weight_decay": weight_decay if is_decayed else 0.0}
        if is_pooling:
            group["lr"] = pooling_rate
        groups.append(group)
    return groups
