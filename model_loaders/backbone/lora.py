"""LoRA on a base LLM: every target that a config names is there, or the names that are there are said."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from common.errors import UsageError, UserError, nearest
from common.files import first_line
from common.printable import shown
from model_loaders.backbone.lora_named import check_acting_patterns, check_blocks, nothing_there
from model_loaders.backbone.lora_targets import Continued, fitted, fused_experts, is_part, linear_names, never_called
from model_loaders.backbone.states import decoder_layers
from model_loaders.options import quiet

if TYPE_CHECKING:
    from peft import LoraConfig

# Initialisations that give the same A and B, and the same changed base weights, each time LoRA is added. The others that change
# the base (pissa_niter_16, corda, loftq, lora_ga) draw at random or need data, so a saved adapter would not fit its base.
INITIALISATIONS = (True, False, "gaussian", "orthogonal", "pissa", "olora")
PATTERN_SECONDS = 10
MATCHER = "import json, re, sys\npatterns, names = json.load(sys.stdin)\n" + (
    "json.dump([[name for name in names if re.fullmatch(pattern, name)] for pattern in patterns], sys.stdout)"
)


def add_lora(backbone: nn.Module, lora: dict[str, Any], *, trainable: bool, saved: bool = False) -> nn.Module:
    """Put LoRA on the backbone with peft; trainable adapters stay in fp32, whatever the base's dtype.

    Args:
        backbone: the bare decoder.
        lora: the content of a peft ``adapter_config.json`` or of ``configs/lora.json``.
        trainable: whether the adapter will be trained.
        saved: whether it is a saved adapter's, whose tensors are compared afterwards, and not a new one's.

    Raises:
        UserError: a config that is not LoRA, or that names what this model does not have.
    """
    import peft

    family: Any = backbone.config
    begins = not saved and not isinstance(lora, Continued)
    try:
        config = lora_config(lora if saved else fitted(lora, backbone), trainable=trainable)
        check_patterns(backbone, config)
        if not saved:
            check_new(backbone, config)
        with quiet(), names_as_given():
            if begins:  # an error of ours says it
                warnings.filterwarnings("ignore", message=".*keys did not match any targeted module", category=RuntimeWarning)
            model = peft.get_peft_model(backbone, config, autocast_adapter_dtype=trainable)
        if begins:
            check_acting_patterns(model, config)
    except (UserError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # peft does not check the values of a config: they fail wherever they are used
        reason = error if isinstance(error, ValueError | re.error) else first_line(error)
        raise UserError(f"this LoRA config does not fit a {family.model_type!r} model: {reason}") from error
    return model  # type: ignore[no-any-return]


@contextmanager
def names_as_given() -> Iterator[None]:
    """Keep peft from reading targets as transformers 4 named them inside the block.

    In models with a mixture of experts it takes ``down_proj`` for the tensor of all experts alone, so that the linear layer of
    that name, of a dense layer or of a shared expert, would have no LoRA.
    """
    from peft.utils import transformers_weight_conversion as conversion

    before = conversion.convert_peft_config_for_transformers
    conversion.convert_peft_config_for_transformers = lambda *args, **options: None
    try:
        yield
    finally:
        conversion.convert_peft_config_for_transformers = before


def lora_config(lora: dict[str, Any], *, trainable: bool) -> LoraConfig:
    """Return the ``peft.LoraConfig`` of the content of an ``adapter_config.json``."""
    import peft

    kind = lora.get("peft_type", "LORA")
    if str(getattr(kind, "value", kind)) != "LORA":
        raise UserError(f"the adapter is of type {kind!r}; only LoRA adapters are supported")
    known = set(peft.LoraConfig.__dataclass_fields__)
    # Files of older and newer peft versions carry keys that this one does not have; the tensors decide in the end.
    options = {key: value for key, value in lora.items() if key in known and key not in ("task_type", "peft_type")}
    options |= {"inference_mode": not trainable, "base_model_name_or_path": None}
    return peft.LoraConfig(task_type="FEATURE_EXTRACTION", **options)


def check_patterns(backbone: nn.Module, config: LoraConfig) -> None:
    """Raise a UserError if a regular expression of a LoRA config takes too long on this model's names.

    They are tried in a process of their own: one that goes back and forth without end cannot be stopped here.
    """
    patterns = regular_expressions(config)
    if patterns:
        matches_of(list(patterns.values()), names_of(backbone), ", ".join(patterns))


def regular_expressions(config: LoraConfig) -> dict[str, str]:
    """Return what peft takes as regular expressions on whole names, by a description."""
    patterns = {}
    for field in ("target_modules", "exclude_modules"):
        value = getattr(config, field)
        if isinstance(value, str) and value != "all-linear":
            patterns[f"{field} {value!r}"] = value
    for field in ("rank_pattern", "alpha_pattern"):
        for key in getattr(config, field) or ():
            if re.escape(key) != key:  # most are plain names
                patterns[f"{field} {key!r}"] = rf"(.*\.)?({key})"
    for key in [config.layers_pattern] if isinstance(config.layers_pattern, str) else config.layers_pattern or ():
        if re.escape(key) != key:
            patterns[f"layers_pattern {key!r}"] = rf"(.*?\.)?{key}\.\d+\..*"
    for key in config.modules_to_save or ():
        if re.escape(key) != key:
            patterns[f"modules_to_save {key!r}"] = rf"(.*\.)?{key}(\..*)?"
    return patterns


def matches_of(patterns: Sequence[str], names: Sequence[str], what: str) -> list[list[str]]:
    """Return the names that each regular expression matches as a whole."""
    for pattern in patterns:
        re.compile(pattern)
    try:
        process = subprocess.run(
            [sys.executable, "-I", "-S", "-c", MATCHER],
            input=json.dumps([patterns, names]),
            capture_output=True,
            text=True,
            timeout=PATTERN_SECONDS,
            check=True,
        )
    except subprocess.TimeoutExpired as error:
        raise UserError(
            f"the LoRA config's {what}: the regular expression was not done with this model's {len(names)} names after "
            f"{PATTERN_SECONDS} s. It goes back and forth (as (a+)+ does): give a list of names instead."
        ) from error
    return list(json.loads(process.stdout))


def names_of(backbone: nn.Module) -> list[str]:
    """Return the names of all modules below the backbone itself."""
    return [name for name, _ in backbone.named_modules() if name]


def check_new(backbone: nn.Module, config: LoraConfig) -> None:
    """Check a new adapter's config before its first step.

    Raises:
        UserError: it names what this model does not have, or it starts in a way that does not save or is not finite.
    """
    if config.init_lora_weights not in INITIALISATIONS:
        raise UsageError(
            f"init_lora_weights {config.init_lora_weights!r} changes the base model's weights in a way that cannot be "
            "repeated, or needs data that is not given: a saved adapter would not fit its base model. Take true, 'gaussian', "
            "'orthogonal', 'pissa' or 'olora'."
        )
    check_names(backbone, config)
    check_blocks(backbone, config)
    check_called(backbone, config)
    check_layers(backbone, config)
    if config.use_dora:
        refuse_zero_rows(backbone, config)


def check_names(backbone: nn.Module, config: LoraConfig) -> None:
    """Raise a UserError for a name in a LoRA config that nothing in this model has."""
    names = names_of(backbone)
    parameters = [name for name, _ in backbone.named_parameters()]
    have = sorted(linear_names(backbone))
    for field, value in (
        ("target_modules", config.target_modules),
        ("exclude_modules", config.exclude_modules),
        ("rank_pattern", list(config.rank_pattern)),
        ("alpha_pattern", list(config.alpha_pattern)),
        ("modules_to_save", config.modules_to_save),
        ("target_parameters", config.target_parameters),
    ):
        if not value or value == "all-linear":
            continue
        keys = [value] if isinstance(value, str) else sorted(value)
        whole = parameters if field == "target_parameters" else names
        shown = fused_experts(backbone) if field == "target_parameters" else have
        matched = dict.fromkeys(keys, False)
        for key in keys:
            if isinstance(value, str):
                matched[key] = bool(matches_of([key], names, f"{field} {key!r}")[0])
            elif field in ("rank_pattern", "alpha_pattern") and re.escape(key) != key:
                matched[key] = bool(matches_of([rf"(.*\.)?({key})"], names, f"{field} {key!r}")[0])
            else:
                matched[key] = is_part(key, whole)
        missing = [key for key in keys if not matched[key]]
        if missing:
            expressions = isinstance(value, str) or field in ("rank_pattern", "alpha_pattern")
            reason = nothing_there(missing, shown, expressions=expressions)
            raise UsageError(f"the LoRA config's {field}: {reason}. It has: {', '.join(shown) or 'none'}.")


def check_called(backbone: nn.Module, config: LoraConfig) -> None:
    """Raise a UserError for a listed target whose layers the model never calls, so that LoRA would do nothing there."""
    if isinstance(config.target_modules, str) or not config.target_modules:
        return
    dead = sorted(never_called(backbone) & set(config.target_modules))
    if dead:
        raise UsageError(
            f"the LoRA config's target_modules: LoRA would do nothing on {', '.join(dead)}, whose weights the model's "
            "code reads beside their layers. Leave them out."
        )


def check_layers(backbone: nn.Module, config: LoraConfig) -> None:
    """Raise a UserError if ``layers_to_transform`` or ``layers_pattern`` names layers that are not there."""
    wanted = config.layers_to_transform
    if wanted is None:
        return
    count = len(decoder_layers(backbone))
    outside = [index for index in ([wanted] if isinstance(wanted, int) else wanted) if not 0 <= index < count]
    if outside:
        raise UsageError(
            f"the LoRA config's layers_to_transform names the layers {outside}; this model has {count}, "
            f"counted from 0 to {count - 1}"
        )
    patterns = [config.layers_pattern] if isinstance(config.layers_pattern, str) else config.layers_pattern or []
    lists = []
    for name, module in backbone.named_modules():
        if isinstance(module, nn.ModuleList):
            lists.append(name)
    for pattern in patterns:
        if not matches_of([rf"(.*\.)?{pattern}"], lists, f"layers_pattern {pattern!r}")[0]:
            have = sorted({name.rsplit(".", 1)[-1] for name in lists})
            raise UsageError(
                f"the LoRA config's layers_pattern {pattern!r}: this model has no such list of layers{nearest(pattern, have)}. "
                f"It has: {', '.join(have)}."
            )


@torch.no_grad()
def refuse_zero_rows(backbone: nn.Module, config: LoraConfig) -> None:
    """Raise a UserError if DoRA, which divides by the norm of each row, stands on a weight with a row of zeros."""
    from peft.tuners.tuners_utils import check_target_module_exists

    every = config.target_modules == "all-linear"
    for name, module in backbone.named_modules():
        weight = getattr(module, "weight", None)
        if not isinstance(module, nn.Linear) or not isinstance(weight, torch.Tensor) or weight.is_meta:
            continue
        if not weight.is_floating_point() or not (every or check_target_module_exists(config, name)):
            continue
        rows = int((weight.float().norm(dim=1) == 0).sum())
        if rows:
            raise UsageError(
                f"use_dora: the base model's {name} has {rows} rows of zeros, and DoRA divides by the norm of each row: every "
                "vector would be NaN. Leave use_dora out, or name it under exclude_modules."
            )


def check_ranks(lora: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], place: str) -> None:
    """Raise a UserError if a saved LoRA config has a rank or layers that its tensors cannot have: no memory is asked for."""
    sizes = [size for tensor in tensors.values() for size in tensor.shape]
    largest = max(sizes, default=0)
    for rank in (lora.get("r", 8), *dict(lora.get("rank_pattern") or {}).values()):
        if isinstance(rank, int) and rank > largest:
            raise UserError(f"{place} says rank {rank}, but no tensor of the adapter has a side longer than {largest}")
    layers = {match[1] for name in tensors if (match := re.search(r"\.(\d+)\.", name))}
    copies = lora.get("layer_replication") or []
    if not isinstance(copies, list) or len(copies) > len(layers):
        raise UserError(f"{place}: layer_replication is {shown(copies)}; the adapter has tensors of {len(layers)} layers")
