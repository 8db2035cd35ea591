"""On a GPU the poolings equal the published formula, in fp32 closely and in bf16 within its rounding."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pooling import CrossAttentionPooling, PoolingConfig
from pooling.cross_attention import plan
from tests.on_gpu import needs_gpu
from tests.pooling.test_formula import published, relative

pytestmark = needs_gpu
SIZES = {"hidden_size": 256, "latents": 48, "heads": 8, "head_dim": 128}


def pooling_and_states(items: int) -> tuple[CrossAttentionPooling, Tensor, Tensor]:
    torch.manual_seed(0)
    pooling = CrossAttentionPooling(PoolingConfig(**SIZES))
    for parameter in pooling.parameters():
        if parameter.dim() == 1:
            parameter.data.copy_(torch.randn_like(parameter) * 0.5 + 1)
    mask = torch.ones(6, items, dtype=torch.long)
    mask[1, items // 2 + 1 :] = 0
    return pooling, torch.randn(6, items, 256) * 2 + 3, mask


@pytest.mark.parametrize(("autocast", "output", "gradient"), [(False, 1e-5, 1e-4), (True, 0.01, 0.05)])
@pytest.mark.parametrize("items", [1, 24, 700])
def test_outputs_and_gradients(items: int, autocast: bool, output: float, gradient: float) -> None:
    pooling, states, mask = pooling_and_states(items)
    folds = plan(pooling.config, 6, items, torch.bfloat16 if autocast else torch.float32)[0]
    assert folds == (items < 700)  # both ways through attention are seen
    exact = {name: value.detach().double().requires_grad_() for name, value in pooling.named_parameters()}
    exact_states = states.double().requires_grad_()
    expected = published(exact, exact_states, mask, SIZES["heads"])
    direction = torch.randn(expected.shape)
    (expected * direction.double()).sum().backward()

    pooling, states = pooling.cuda(), states.cuda().requires_grad_()
    with torch.autocast("cuda", dtype=torch.bfloat16, enabled=autocast):
        found = pooling(states, None if items == 1 else mask.cuda())
    (found * direction.cuda()).sum().backward()
    assert relative(found.cpu(), expected) < output
    assert relative(states.grad.cpu(), exact_states.grad) < gradient
    for name, parameter in pooling.named_parameters():
        if exact[name].grad.norm() < 1e-9:
            assert parameter.grad is not None and not parameter.grad.any(), name
        else:
            assert relative(parameter.grad.cpu(), exact[name].grad) < gradient, name
