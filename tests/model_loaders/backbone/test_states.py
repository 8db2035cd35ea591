"""The pooling reads the states that transformers reports, and gradients survive recomputation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from model_loaders.backbone.states import read_states
from tests.model_loaders.families import FAMILIES, a_batch, every_kernel
from tests.tiny import EVERY_DESIGN, LORA, new_model, trained_parameters


def reported_states(model, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The design's items from ``output_hidden_states=True``, text by text, in float64."""
    output = model.backbone(input_ids=ids, attention_mask=mask, use_cache=False, output_hidden_states=True)
    assert len(output.hidden_states) == model.base_model.num_layers + 1
    assert torch.equal(output.hidden_states[-1], output.last_hidden_state)
    layers = output.hidden_states[1:] if model.design.layers == "all" else output.hidden_states[-1:]
    texts = []
    for row, real in enumerate(mask.bool()):
        states = [layer[row, real].double() for layer in layers]
        texts.append(torch.stack([s[-1] if model.design.tokens == "last" else s.mean(0) for s in states]))
    return torch.stack(texts)


@every_kernel
@pytest.mark.parametrize("design", ["model1", "model3", "model5"])
def test_states_equal_those_that_transformers_reports(
    make_base: Callable[..., Path], family: str, kernel: str, design: str
) -> None:
    model_type, changes = FAMILIES[family]
    model = new_model(design, make_base(model_type, **changes), attn_implementation=kernel).eval()
    for padding in ("left", "right"):
        ids, mask = a_batch(padding)
        with torch.no_grad():
            expected = reported_states(model, ids, mask)
            without, item_mask = read_states(model.backbone, model.design, ids, mask, mask)
        with_gradients, _ = read_states(model.backbone, model.design, ids, mask, mask)
        assert item_mask is None
        assert with_gradients.requires_grad and not without.requires_grad
        for states in (without, with_gradients.detach()):
            assert states.shape == expected.shape and states.dtype == torch.float32
            assert float((states - expected).abs().max() / expected.abs().max()) < 1e-5


@pytest.mark.parametrize("design", ["model1", "model3", "model5"])
def test_gradients_equal_those_of_the_reported_states(base: Path, design: str) -> None:
    model = new_model(design, base).eval()
    ids, mask = a_batch("left")
    weights = [tensor for name, tensor in trained_parameters(model).items() if "lora_" in name]
    read = read_states(model.backbone, model.design, ids, mask, mask)[0]
    direction = torch.randn(read.shape, generator=torch.Generator().manual_seed(4))
    expected = torch.autograd.grad((reported_states(model, ids, mask) * direction).sum(), weights)
    for found, wanted in zip(torch.autograd.grad((read * direction).sum(), weights), expected, strict=True):
        assert float((found - wanted).norm()) <= 1e-5 * float(wanted.norm())


def test_the_last_layer_is_read_after_the_final_norm_and_the_others_before(base: Path) -> None:
    model = new_model("model3", base).eval()
    ids, mask = a_batch("left")
    norm = model.backbone.get_base_model().norm
    with torch.no_grad():
        before, _ = read_states(model.backbone, model.design, ids, mask, mask)
        norm.weight.mul_(2)
        after, _ = read_states(model.backbone, model.design, ids, mask, mask)
    assert torch.equal(after[:, :-1], before[:, :-1])
    torch.testing.assert_close(after[:, -1], 2 * before[:, -1])


def test_all_tokens_of_the_last_layer_are_read_with_their_mask(base: Path) -> None:
    model = new_model("model4", base).eval()
    ids, mask = a_batch("left")
    states, item_mask = read_states(model.backbone, model.design, ids, mask, mask)
    assert states.shape == (2, ids.shape[1], 32)
    assert torch.equal(item_mask, mask)


def test_no_hook_stays_behind(base: Path) -> None:
    model = new_model("model3", base)
    model.encode(["word1"])
    with pytest.raises(IndexError):
        model(torch.tensor([[1, 999]]), torch.tensor([[1, 1]]))
    assert not any(module._forward_pre_hooks for module in model.modules())


def gradients(design: str, base: Path, *, checkpointing: bool) -> tuple[dict[str, torch.Tensor], int]:
    """Gradients of all trained tensors, and how often the first decoder layer ran its attention."""
    model = new_model(design, base, lora={**LORA, "lora_dropout": 0.1}).train()
    if checkpointing:
        model.activation_checkpointing_enable()
    runs = []
    model.backbone.get_base_model().layers[0].self_attn.register_forward_pre_hook(lambda *_: runs.append(1))
    ids, mask = a_batch("left")
    torch.manual_seed(3)  # of the dropout
    vectors = model(ids, mask)
    direction = torch.randn(vectors.shape, generator=torch.Generator().manual_seed(4))
    (vectors * direction).sum().backward()
    return {name: tensor.grad for name, tensor in trained_parameters(model).items()}, len(runs)


@pytest.mark.parametrize("design", EVERY_DESIGN)
def test_gradients_are_the_same_with_checkpointing(base: Path, design: str) -> None:
    plain, once = gradients(design, base, checkpointing=False)
    recomputed, twice = gradients(design, base, checkpointing=True)
    assert (once, twice) == (1, 2), "layers are not recomputed"
    assert plain.keys() == recomputed.keys()
    assert all(gradient is not None and torch.isfinite(gradient).all() for gradient in plain.values())
    assert sum(bool(gradient.any()) for name, gradient in plain.items() if "lora_" in name) > 10
    for name, gradient in plain.items():
        assert float((recomputed[name] - gradient).norm()) <= 1e-6 * float(gradient.norm()), name
