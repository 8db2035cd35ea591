"""LoRA's short ways give what peft gives, change no weight, and leave alone what they do not know."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from model_loaders.backbone import lora_encoding as module
from model_loaders.backbone.lora_encoding import is_plain, merged_lora, of_one_dtype
from tests.tiny import LORA, new_model


def a_layer(base: Path, **lora: Any) -> tuple[Any, Any]:
    """A model's backbone and one of its LoRA layers, with a bias where the family has one."""
    backbone = new_model("model1", base, lora={**LORA, **lora}).eval().backbone
    return backbone, backbone.get_base_model().layers[1].self_attn.q_proj


@pytest.mark.parametrize("tokens", [1, 2, 60])  # few take two products, many the merged weight
@pytest.mark.parametrize("family", ["mistral", "qwen2"])
def test_both_short_ways_are_pefts(
    make_base: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, family: str, tokens: int
) -> None:
    backbone, layer = a_layer(make_base(family))
    assert (layer.base_layer.bias is not None) == (family == "qwen2")
    if layer.base_layer.bias is not None:
        layer.base_layer.bias.data.fill_(3.0)  # zeros at first
    weights = [parameter.clone() for parameter in backbone.parameters()]
    merged: list[int] = []
    addmm = torch.addmm
    monkeypatch.setattr(module.torch, "addmm", lambda *args, **options: merged.append(1) or addmm(*args, **options))
    for shape, most in (((tokens, 32), 2**25), ((1, tokens, 32), 0)):
        monkeypatch.setattr(module, "KEPT_BYTES", most)
        x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            expected = layer(x)
            plain = layer.base_layer(x)
            with merged_lora(backbone):
                twice = [layer(x), layer(x)]
        assert float((expected - plain).abs().max()) > 0.1, "LoRA does nothing here"
        for found in twice:
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert len(merged) == (3 if tokens == 60 else 0), "a small model's merged weights are kept, a large one's are not"
    assert all(torch.equal(now, before) for now, before in zip(backbone.parameters(), weights, strict=True))


def test_pefts_forward_is_back_also_after_an_error(base: Path) -> None:
    backbone, layer = a_layer(base)
    with pytest.raises(KeyError), merged_lora(backbone):
        assert "forward" in vars(layer)
        raise KeyError
    assert "forward" not in vars(layer)
    with merged_lora(backbone, enabled=False):
        assert "forward" not in vars(layer)


def test_what_is_not_plain_lora_stays_pefts(base: Path) -> None:
    assert is_plain(a_layer(base)[1])
    assert not is_plain(a_layer(base, use_dora=True)[1])
    assert not is_plain(a_layer(base, lora_bias=True, bias="none")[1])
    layer = a_layer(base)[1]
    assert not is_plain(layer.base_layer)
    layer.base_layer.register_forward_hook(lambda *_: None)
    assert not is_plain(layer), "a hook on the base layer would not be called"
    layer = a_layer(base)[1]
    layer.base_layer.to(torch.bfloat16)
    assert is_plain(layer) and not of_one_dtype(layer)
    layer = a_layer(base)[1]
    layer.enable_adapters(False)
    assert not is_plain(layer)
    layer = a_layer(base)[1]
    layer.merge()
    assert not is_plain(layer), "LoRA would be added twice"
    backbone, layer = a_layer(base)
    backbone.add_adapter("other", backbone.peft_config["default"])
    assert is_plain(layer)
    layer.set_adapter(["default", "other"])
    assert not is_plain(layer), "two adapters"
    layer = a_layer(base)[1]
    assert of_one_dtype(layer)
    with torch.autocast("cpu", torch.bfloat16):
        assert not of_one_dtype(layer)


def test_in_bf16_the_weight_is_not_merged(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone, layer = a_layer(base)
    backbone.to(torch.bfloat16)
    monkeypatch.delattr(module.torch, "addmm")
    x = torch.randn(60, 32, generator=torch.Generator().manual_seed(0)).bfloat16()
    weight, down, up = (
        part.weight.detach().double() for part in (layer.base_layer, layer.lora_A.default, layer.lora_B.default)
    )
    exact = x.double() @ (weight + layer.scaling["default"] * up @ down).T
    with torch.inference_mode():
        pefts = layer(x).double()
        with merged_lora(backbone):
            found = layer(x).double()
    assert float((found - exact).norm()) < 1.1 * float((pefts - exact).norm()), "less exact than peft"
