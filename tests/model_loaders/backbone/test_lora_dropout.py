"""LoRA's own masks of dropout on a CPU: peft's results under the same mask, its distribution, independence, replay."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from model_loaders.backbone import lora_training as module
from model_loaders.backbone.dropout import apply_mask, draw_mask, rounded_share
from model_loaders.backbone.lora_training import DroppedLowRankLinear, torch_masks, trained_lora
from tests.model_loaders.backbone.test_lora_training import a_backbone, layer_of, run

ELEMENTS = torch.Size((500, 501))  # not a multiple of four


class SameMask(nn.Module):
    """Dropout as its definition has it, with the mask that the short way draws from the same random state."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """Drop, and scale what is kept."""
        kept = draw_mask(x.shape, self.share) != 0
        return torch.where(kept, x, 0.0) / (1.0 - rounded_share(self.share))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("block_bytes", [2**19, 300])  # all rows at once, and one row a block
@pytest.mark.parametrize("needs_gradient", [True, False])
@pytest.mark.parametrize("family", ["mistral", "qwen2"])
def test_results_and_gradients_are_pefts_under_the_same_mask(
    make_base: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, family: str, needs_gradient: bool, block_bytes: int
) -> None:
    backbone = a_backbone(make_base(family), lora_dropout=0.4, bias="all").double()
    layer = layer_of(backbone)
    x = torch.randn(3, 5, 32, dtype=torch.float64, generator=generator()).requires_grad_(needs_gradient)
    plain, layer.lora_dropout["default"] = layer.lora_dropout["default"], SameMask(0.4)
    expected = run(layer, x)
    layer.lora_dropout["default"] = plain
    monkeypatch.setattr(module, "BLOCK_BYTES", block_bytes)
    monkeypatch.setattr(module.LowRankLinear, "apply", lambda *_: pytest.fail("torch's mask was drawn"))
    with trained_lora(backbone):
        computed = run(layer, x)
    assert computed.keys() == expected.keys()
    for name, value in expected.items():
        assert float(value.abs().max()) > 0.01, f"{name} would be the same whatever is computed"
        torch.testing.assert_close(computed[name], value, rtol=1e-12, atol=1e-12)


def test_gradients_are_those_of_differences() -> None:
    x, weight, bias, down, up = (
        torch.randn(shape, dtype=torch.float64, generator=generator()) for shape in ((2, 3, 4), (5, 4), (5,), (2, 4), (5, 2))
    )
    mask = draw_mask(x.shape, 0.5)
    for trained in (x, bias, down, up):
        trained.requires_grad_(True)
    assert torch.autograd.gradcheck(
        lambda x, bias, down, up: DroppedLowRankLinear.apply(x, mask, weight, bias, down, up, 1.5), (x, bias, down, up)
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_a_mask_keeps_bits_and_sets_zeros(dtype: torch.dtype) -> None:
    x = torch.randn(7, 9, generator=generator()).to(dtype)
    mask = draw_mask(x.shape, 0.3)
    assert torch.equal(apply_mask(x, mask), torch.where(mask != 0, x, 0.0))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.003])
def test_each_element_is_dropped_with_its_share(share: float) -> None:
    """Mean, and the variance of sums over rows and columns: that of independent draws; five standard errors."""
    torch.manual_seed(1)
    dropped = (draw_mask(ELEMENTS, share) == 0).double()
    variance = share * (1.0 - share)
    assert abs(float(dropped.mean()) - share) < 5.0 * (variance / ELEMENTS.numel()) ** 0.5
    for axis, summed in ((0, 500), (1, 501)):
        sums = dropped.sum(axis)
        ratio = float(sums.var()) / (summed * variance)
        assert abs(ratio - 1.0) < 5.0 * (2.0 / len(sums)) ** 0.5, "sums scatter otherwise than those of independent draws"


def test_a_share_that_rounds_to_all_drops_nearly_all() -> None:
    share = 0.9999999
    assert 0 < 1 - rounded_share(share) < 1e-4
    kept = (draw_mask(torch.Size((4000, 100)), share) != 0).double().mean()
    assert float(kept) < 1e-4


def test_neighbours_and_masks_are_independent() -> None:
    """Correlation of an element with those behind it, the three of its own 64 bits included, and with the next mask's."""
    torch.manual_seed(2)
    first, second = (draw_mask(ELEMENTS, 0.1).flatten() == 0 for _ in range(2))
    bound = 5.0 / ELEMENTS.numel() ** 0.5
    pairs = {f"lag {lag}": (first[lag:], first[:-lag]) for lag in (1, 2, 3, 4, 8, 501)} | {"next mask": (first, second)}
    for name, (left, right) in pairs.items():
        correlation = float(torch.corrcoef(torch.stack([left.double(), right.double()]))[0, 1])
        assert abs(correlation) < bound, name


def moments(layer: Any, x: Tensor, fast: bool) -> tuple[Tensor, Tensor]:
    """Mean and variance of a layer's output over the rows of ``x``, which are all the same."""
    with torch.no_grad(), torch_masks(not fast):
        output = layer(x).flatten(0, -2)
    return output.mean(0), output.var(0)


def test_outputs_have_pefts_mean_and_variance(base: Path) -> None:
    backbone = a_backbone(base, lora_dropout=0.1).double()
    layer = layer_of(backbone)
    rows = 20_000
    x = torch.randn(1, 32, dtype=torch.float64, generator=generator()).expand(rows, 32).contiguous()
    torch.manual_seed(4)
    with trained_lora(backbone):
        plain, fast = (moments(layer, x, switch) for switch in (False, True))
        without = layer.eval()(x[:1])[0]
    error = (2.0 * plain[1] / rows).sqrt()
    assert float(plain[1].min()) > 0.0
    assert bool(((fast[0] - plain[0]).abs() < 5.0 * error).all()) and bool(((fast[0] - without).abs() < 5.0 * error).all())
    torch.testing.assert_close(fast[1], plain[1], rtol=0.1, atol=0.0)


def test_torch_draws_where_the_short_way_does_not_fit() -> None:
    """No dropout in evaluation, none of a share that rounds to 0, and none of another kind of module."""
    x = torch.zeros(2, 4)
    assert module.has_fast_mask(nn.Dropout(0.1), x)
    assert not module.has_fast_mask(nn.Dropout(0.1).eval(), x)
    assert not module.has_fast_mask(nn.Dropout(1e-6), x)
    assert not module.has_fast_mask(nn.Identity(), x)
    assert not module.has_fast_mask(nn.Dropout(0.1), x.to("meta"))


def test_a_random_state_replays_the_mask() -> None:
    state = torch.get_rng_state()
    first, second = draw_mask(ELEMENTS, 0.1), draw_mask(ELEMENTS, 0.1)
    torch.set_rng_state(state)
    assert torch.equal(draw_mask(ELEMENTS, 0.1), first) and not torch.equal(first, second)


def test_autocast_computes_in_its_dtype(base: Path) -> None:
    backbone = a_backbone(base, lora_dropout=0.3)
    layer = layer_of(backbone)
    x = torch.randn(4, 30, 32, generator=generator()).requires_grad_(True)
    with trained_lora(backbone):
        exact = run(layer, x)
        with torch.autocast("cpu", torch.bfloat16):
            computed = run(layer, x)
    assert computed["output"].dtype == torch.bfloat16
    for name, value in exact.items():
        off = float((computed[name].double() - value.double()).norm() / value.double().norm())
        assert off < 0.01, name
        assert name == "output" or computed[name].dtype == value.dtype, name
