"""Attention is what the design says: by behaviour, for every family, kernel and kind of padding."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from model_loaders import UserError, get_design
from model_loaders.backbone.attention import probe_attention, set_attention
from model_loaders.backbone.load import load_backbone
from tests.model_loaders.families import FAMILIES, TOKENS, WINDOW, a_batch, every_kernel
from tests.tiny import new_model, write_base

CAUSAL, BIDIRECTIONAL = get_design("model3"), get_design("model5")


def backbone_of(base: Path, design: Any, kernel: str = "sdpa") -> nn.Module:
    return load_backbone(base, design, dtype=torch.float32, device=torch.device("cpu"), attn_implementation=kernel).eval()


@torch.no_grad()
def first_states(backbone: nn.Module, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The first real token's state after each layer, of the first text, ``(layers, hidden)``."""
    output = backbone(input_ids=ids, attention_mask=mask, use_cache=False, output_hidden_states=True)
    return torch.stack([states[0, 0] for states in output.hidden_states[1:]])


@every_kernel
@pytest.mark.parametrize("design", [CAUSAL, BIDIRECTIONAL], ids=["causal", "bidirectional"])
def test_the_first_token_sees_the_last_in_every_layer_or_in_none(
    make_base: Callable[..., Path], family: str, kernel: str, design: Any
) -> None:
    model_type, changes = FAMILIES[family]
    backbone = backbone_of(make_base(model_type, **changes), design, kernel)
    assert backbone.config._attn_implementation == kernel
    for padding in ("none", "left", "right"):
        ids, mask = a_batch(padding)
        before = first_states(backbone, ids, mask)
        ids[0, -1] = 3
        change = (first_states(backbone, ids, mask) - before).abs().amax(dim=1) / before.abs().amax(dim=1)
        if design.attention == "causal":
            assert not change.any(), (padding, change)
        else:
            # The first token is the distance of 27 away from the last, three windows and more.
            assert (change > 1e-4).all(), (padding, change)


@pytest.mark.parametrize("family", [name for name, (_, changes) in FAMILIES.items() if changes.get("sliding_window")])
def test_windows_stay_in_causal_designs(make_base: Callable[..., Path], family: str) -> None:
    model_type, changes = FAMILIES[family]
    backbone = backbone_of(make_base(model_type, **changes), CAUSAL, "eager")
    assert backbone.config.sliding_window == WINDOW < TOKENS
    ids, mask = a_batch("none")
    output = [backbone(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states[1][0, -1]]
    ids[0, 0] = 3
    output.append(backbone(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states[1][0, -1])
    assert torch.equal(*output), "the first layer's window lets the last token see the first one"


def convert_modules_only(backbone: Any) -> None:
    del backbone.config.is_causal  # as in a config that never heard of it
    for module in backbone.modules():
        if hasattr(module, "is_causal"):
            module.is_causal = False


def test_a_half_done_conversion_is_no_causal_model_either(base: Path) -> None:
    backbone = backbone_of(base, CAUSAL)
    backbone.config.sliding_window = None
    convert_modules_only(backbone)
    with pytest.raises(UserError, match="wants causal attention, but on an unpadded batch the first token sees"):
        probe_attention(backbone, CAUSAL)
    with pytest.raises(UserError, match="wants bidirectional attention, but on a padded batch the first token does not"):
        probe_attention(backbone, BIDIRECTIONAL)


@every_kernel
def test_a_half_done_conversion_is_caught(make_base: Callable[..., Path], family: str, kernel: str) -> None:
    """A flag on the modules, which many wrappers set, leaves sdpa causal as soon as a row is padded, and eager always."""
    model_type, changes = FAMILIES[family]
    backbone = backbone_of(make_base(model_type, **changes), CAUSAL, kernel)
    probe_attention(backbone, CAUSAL)
    convert_modules_only(backbone)
    with pytest.raises(
        UserError, match=r"wants bidirectional attention, but on an? (un)?padded batch the first token does not"
    ):
        probe_attention(backbone, BIDIRECTIONAL)


@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
def test_the_probe_catches_a_model_of_the_other_direction(base: Path, kernel: str) -> None:
    with pytest.raises(UserError, match=r"wants bidirectional.*does not see"):
        probe_attention(backbone_of(base, CAUSAL, kernel), BIDIRECTIONAL)
    with pytest.raises(UserError, match=r"wants causal.*unpadded batch the first token sees"):
        probe_attention(backbone_of(base, BIDIRECTIONAL, kernel), CAUSAL)


def test_the_probe_catches_padding_that_leaks(base: Path) -> None:
    backbone = backbone_of(base, BIDIRECTIONAL)
    forward = backbone.forward
    backbone.forward = lambda input_ids, attention_mask, **options: forward(input_ids=input_ids, **options)
    with pytest.raises(UserError, match="content of the padding changes"):
        probe_attention(backbone, BIDIRECTIONAL)


def test_the_probe_catches_a_model_that_needs_a_mask_to_be_causal(base: Path) -> None:
    backbone, other = backbone_of(base, CAUSAL), backbone_of(base, BIDIRECTIONAL)
    forward = backbone.forward
    backbone.forward = lambda attention_mask, **options: (forward if attention_mask is not None else other)(
        attention_mask=attention_mask, **options
    )
    with pytest.raises(UserError, match=r"wants causal.*batch without a mask the first token sees"):
        probe_attention(backbone, CAUSAL)


def test_every_load_runs_the_probe(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A design's direction that never reaches the model is an error of the load, not a bad score a week later."""
    monkeypatch.setattr("model_loaders.backbone.load.set_attention", lambda config, attention: None)
    with pytest.raises(UserError, match=r"wants bidirectional attention"):
        new_model("model5", base)


HYBRIDS: dict[str, dict[str, Any]] = {
    "mamba": {},
    "mamba2": {},
    "jamba": {},
    "falcon_h1": {},
    "recurrent_gemma": {},
    "qwen3_next": {"layer_types": ["linear_attention", "full_attention", "linear_attention"]},
    "lfm2": {"layer_types": ["conv", "full_attention", "conv"]},
    "zamba2": {},
    "nemotron_h": {},
    "llama4_text": {},
}


@pytest.mark.parametrize("model_type", HYBRIDS)
def test_layers_that_no_mask_converts_are_refused(model_type: str) -> None:
    from transformers import AutoConfig

    config = AutoConfig.for_model(
        model_type, **({"num_hidden_layers": 3} if HYBRIDS[model_type] else {}), **HYBRIDS[model_type]
    )
    with pytest.raises(UserError, match=f"'{model_type}' has layers .* Take a causal design"):
        set_attention(config, "bidirectional")
    set_attention(config, "causal")
    assert config.is_causal is True


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_hybrid_model_serves_the_causal_designs_only(make_base: Callable[..., Path], dtype: str) -> None:
    base = make_base("qwen3_next", layer_types=["linear_attention", "full_attention", "linear_attention"])
    with pytest.raises(UserError, match=r"linear_attention.*Take a causal design"):
        new_model("model5", base, dtype=dtype)
    assert new_model("model3", base, dtype=dtype).encode(["word1"]).shape == (1, 32)


def test_a_recurrent_model_that_does_not_say_so_is_refused_by_the_probe(tmp_path: Path) -> None:
    write_base(tmp_path, "rwkv")
    with pytest.raises(UserError, match=r"wants bidirectional attention.*rwkv"):
        backbone_of(tmp_path, BIDIRECTIONAL, "eager")
