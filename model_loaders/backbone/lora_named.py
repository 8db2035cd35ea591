"""Names in a LoRA config that stand for something on which LoRA does nothing: a block, a pattern beside the targets."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import nn

from common.errors import UsageError, nearest
from model_loaders.backbone.lora_targets import is_linear, targets_of

if TYPE_CHECKING:
    from peft import LoraConfig


def nothing_there(missing: Sequence[str], have: Sequence[str], *, expressions: bool) -> str:
    """Say that a model has none of the names, or that an expression matches none.

    Args:
        missing: what matches nothing.
        have: names that the model has.
        expressions: whether the config's field may hold regular expressions; elsewhere all are plain names.
    """
    if expressions and re.search(r"[\\^$*+?{}\[\]|()]", missing[0]):
        return f"the expression {missing[0]!r} matches no module of this model"
    return f"this model has no {', '.join(missing)}{nearest(missing[0], have, 2)}"


def check_blocks(backbone: nn.Module, config: LoraConfig) -> None:
    """Raise a UserError for a target that is a block of linear maps, such as ``self_attn``."""
    from peft.tuners.tuners_utils import check_target_module_exists

    if not config.target_modules or config.target_modules == "all-linear":
        return
    for name, module in backbone.named_modules():
        if is_linear(module) or isinstance(module, nn.MultiheadAttention):
            continue
        inside = {part.rsplit(".", 1)[-1] for part, child in module.named_modules() if is_linear(child)}
        if inside and name and check_target_module_exists(config, name):
            raise UsageError(
                f"the LoRA config's target_modules: {name} is no linear map but a block ({type(module).__name__}). "
                f"Name the linear maps in it: {', '.join(sorted(inside))}."
            )


def check_acting_patterns(model: nn.Module, config: LoraConfig) -> None:
    """Raise a UserError for a key of ``rank_pattern`` or ``alpha_pattern`` that is none of the targets: it would do nothing.

    Args:
        model: with LoRA on it.
        config: of this LoRA.
    """
    targets = [*model.targeted_module_names, *(config.target_parameters or ())]  # type: ignore[misc]
    for field in ("rank_pattern", "alpha_pattern"):
        for key in getattr(config, field) or ():
            if not any(re.fullmatch(rf"(.*\.)?({key})", name) for name in targets):
                raise UsageError(
                    f"the LoRA config's {field}: {key} matches none of the targets, so it would do nothing. LoRA acts on: "
                    f"{', '.join(sorted(targets_of(model)))}. Leave {key} out, or name it under target_modules."
                )
