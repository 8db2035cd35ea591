"""LoRA's short way in training has peft's results and gradients, and leaves alone what it does not know."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from model_loaders.backbone import lora_training as module
from model_loaders.backbone.lora_training import torch_masks, trained_lora
from tests.tiny import LORA, new_model


def a_backbone(base: Path, **lora: Any) -> Any:
    return new_model("model1", base, lora={**LORA, **lora}).train().backbone


def layer_of(backbone: Any) -> Any:
    return backbone.get_base_model().layers[1].self_attn.q_proj


def run(layer: Any, x: Tensor) -> dict[str, Tensor]:
    """Output, and gradients of a sum of its squares."""
    layer.zero_grad()
    x = x.detach().clone().requires_grad_(x.requires_grad)
    torch.manual_seed(3)  # dropout's
    output = layer(x)
    output.float().square().sum().backward()
    gradients = {name: p.grad.clone() for name, p in layer.named_parameters() if p.grad is not None}
    return {"output": output.detach(), **gradients, **({"x": x.grad} if x.requires_grad else {})}


@pytest.mark.parametrize("needs_gradient", [True, False])  # the first layer's input has none
@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("family", ["mistral", "qwen2"])
def test_results_and_gradients_are_pefts(
    make_base: Callable[..., Path], family: str, dropout: float, needs_gradient: bool
) -> None:
    backbone = a_backbone(make_base(family), lora_dropout=dropout).double()
    layer = layer_of(backbone)
    if layer.base_layer.bias is not None:
        layer.base_layer.bias.data.fill_(3.0)
    x = torch.randn(3, 5, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_(needs_gradient)
    expected = run(layer, x)
    with trained_lora(backbone), torch_masks():
        assert "forward" in vars(layer)
        found = run(layer, x)
    assert "forward" not in vars(layer)
    assert found.keys() == expected.keys() and len(found) == (4 if needs_gradient else 3)
    for name, value in expected.items():
        assert float(value.abs().max()) > 0.01, f"{name} would be the same whatever is computed"
        torch.testing.assert_close(found[name], value, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("which", ["lora_only", "all"])
def test_a_trained_bias_has_its_gradient(make_base: Callable[..., Path], which: str) -> None:
    backbone = a_backbone(make_base("qwen2"), bias=which).double()
    x = torch.randn(3, 5, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = run(layer_of(backbone), x)
    with trained_lora(backbone):
        found = run(layer_of(backbone), x)
    assert float(expected["base_layer.bias"].abs().max()) > 0.01
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-12, atol=1e-12)


def test_gradients_are_those_of_differences() -> None:
    numbers = torch.Generator().manual_seed(1)
    x, weight, bias, down, up = (
        torch.randn(shape, dtype=torch.float64, generator=numbers) for shape in ((2, 3, 4), (5, 4), (5,), (2, 4), (5, 2))
    )
    dropped = (x * 2).requires_grad_(True)
    for trained in (x, bias, down, up):
        trained.requires_grad_(True)
    assert torch.autograd.gradcheck(
        lambda x, dropped, bias, down, up: module.LowRankLinear.apply(x, dropped, weight, bias, down, up, 1.5),
        (x, dropped, bias, down, up),
    )


def test_autocast_computes_in_its_dtype(base: Path) -> None:
    """As near to the exact result as peft comes, with gradients in the parameters' dtype."""
    backbone = a_backbone(base)
    layer = layer_of(backbone)
    x = torch.randn(4, 30, 32, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    exact = run(layer, x)
    with torch.autocast("cpu", torch.bfloat16):
        pefts = run(layer, x)
        with trained_lora(backbone):
            found = run(layer, x)
    assert found["output"].dtype == pefts["output"].dtype == torch.bfloat16
    for name, value in exact.items():
        off, pefts_off = (float((one[name].double() - value.double()).norm()) for one in (found, pefts))
        assert off <= 1.1 * pefts_off, name
        assert found[name].dtype == pefts[name].dtype, name


def test_of_several_dtypes_without_autocast_peft_decides(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = a_backbone(base)
    layer = layer_of(backbone)
    layer.base_layer.to(torch.bfloat16)
    x = torch.randn(2, 3, 32, generator=torch.Generator().manual_seed(0)).bfloat16()
    expected = run(layer, x)
    monkeypatch.setattr(module.LowRankLinear, "apply", lambda *_: pytest.fail("the short way has one dtype"))
    with trained_lora(backbone):
        torch.testing.assert_close(run(layer, x), expected, rtol=0, atol=0)


def test_what_is_not_plain_stays_pefts_and_forward_comes_back(base: Path) -> None:
    for lora in ({"use_dora": True}, {"lora_bias": True, "bias": "none"}):
        backbone = a_backbone(base, **lora)
        with trained_lora(backbone):
            assert "forward" not in vars(layer_of(backbone))
    backbone = a_backbone(base)
    layer_of(backbone).base_layer.weight.requires_grad_(True)
    with trained_lora(backbone):
        assert "forward" not in vars(layer_of(backbone)), "the base's gradient would be missing"
    backbone = a_backbone(base)
    backbone.compile(backend="eager")
    with trained_lora(backbone):
        assert "forward" not in vars(layer_of(backbone))
    backbone = a_backbone(base)
    with pytest.raises(KeyError), trained_lora(backbone):
        raise KeyError
    assert "forward" not in vars(layer_of(backbone))
