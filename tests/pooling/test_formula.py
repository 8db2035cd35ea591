"""The poolings equal a literal float64 reading of the published formula, whatever stands at masked positions."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from pooling import CrossAttentionPooling, PoolingConfig, build_pooling, last_token, last_token_index, masked_mean
from pooling.cross_attention import layer_norm, linear

HIDDEN, LAYERS, BATCH, TOKENS = 12, 3, 4, 7
SIZES = {"hidden_size": HIDDEN, "latents": 5, "heads": 2, "head_dim": 3}
HOSTILE = [math.nan, math.inf, -math.inf, 1e30]
KINDS = [None, LAYERS]


def new_pooling(layers: int | None) -> CrossAttentionPooling:
    """A pooling whose every tensor is random, those that start as ones and zeros too."""
    torch.manual_seed(0)
    pooling = build_pooling(PoolingConfig(**SIZES, layers=layers))
    for parameter in pooling.parameters():
        parameter.data.copy_(torch.randn_like(parameter) * 0.5 + (parameter.dim() == 1))
    return pooling


def new_states(layers: int | None) -> tuple[Tensor, Tensor]:
    """States with a large common offset, and a mask with padding left, right, on both sides, and nowhere."""
    items = TOKENS if layers is None else layers
    states = torch.randn(BATCH, items, HIDDEN, generator=torch.Generator().manual_seed(1)) * 2 + 3
    mask = torch.ones(BATCH, items, dtype=torch.long)
    mask[0, : items // 2], mask[1, items // 2 :] = 0, 0
    mask[2, 0], mask[2, -1] = 0, 0
    return states, mask


def published(weights: dict[str, Tensor], states: Tensor, mask: Tensor, heads: int) -> Tensor:
    """The released code's formula, text by text, latent by latent, head by head; masked items are simply not there."""

    def norm(x: Tensor, name: str) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / (centred.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt()
        return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    vectors = []
    for text, kept in zip(states, mask.bool(), strict=True):
        x = text + weights["layer_embedding.weight"] if "layer_embedding.weight" in weights else text
        x = norm(x[kept], "norm_states")
        q = norm(weights["latents"], "norm_latents") @ weights["to_q.weight"].T
        k, v = (x @ weights["to_kv.weight"].T).chunk(2, dim=-1)
        width = q.shape[-1] // heads
        read = []
        for head in range(heads):
            part = slice(head * width, (head + 1) * width)
            scores = q[:, part] @ k[:, part].T / math.sqrt(width)
            chances = scores.exp() / scores.exp().sum(-1, keepdim=True)
            read.append(chances @ v[:, part])
        y = torch.cat(read, dim=-1) @ weights["to_out.weight"].T + weights["latents"]
        a, b = (norm(y, "norm_ff") @ weights["ff_in.weight"].T + weights["ff_in.bias"]).chunk(2, dim=-1)
        gelu = b * 0.5 * (1 + torch.erf(b / math.sqrt(2)))
        y = (a * gelu) @ weights["ff_out.weight"].T + weights["ff_out.bias"] + y
        vectors.append(y.mean(0))
    return torch.stack(vectors)


def relative(found: Tensor, expected: Tensor) -> float:
    found, expected = found.detach().double(), expected.detach().double()
    return float((found - expected).norm() / expected.norm().clamp(min=1e-12))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("layers", KINDS)
def test_forward_and_gradients_equal_the_published_formula(layers: int | None, masked: bool) -> None:
    pooling, (states, mask) = new_pooling(layers), new_states(layers)
    states.requires_grad_()
    exact = {name: value.detach().double().requires_grad_() for name, value in pooling.named_parameters()}
    exact_states = states.detach().double().requires_grad_()
    expected = published(exact, exact_states, mask if masked else torch.ones_like(mask), pooling.config.heads)
    found = pooling(states, mask if masked else None)
    assert found.dtype == torch.float32
    assert relative(found, expected) < 1e-5

    direction = torch.randn(BATCH, HIDDEN, generator=torch.Generator().manual_seed(2))
    (found * direction).sum().backward()
    (expected * direction.double()).sum().backward()
    assert relative(states.grad, exact_states.grad) < 1e-4
    for name, parameter in pooling.named_parameters():
        assert relative(parameter.grad, exact[name].grad) < 1e-4, name


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("layers", KINDS)
def test_masked_states_change_nothing(layers: int | None, value: float) -> None:
    pooling, (states, mask) = new_pooling(layers), new_states(layers)
    outcomes = []
    for filler in (0.0, value):
        filled = states.masked_fill(mask[..., None] == 0, filler).requires_grad_()
        pooling.zero_grad()
        vectors = pooling(filled, mask)
        vectors.pow(2).sum().backward()
        kept = filled.grad[mask.bool()]
        outcomes.append([vectors.detach(), kept, *(parameter.grad.clone() for parameter in pooling.parameters())])
        assert not filled.grad[mask == 0].any()
    for calm, hostile in zip(*outcomes, strict=True):
        assert torch.equal(calm, hostile)


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("reduce", [last_token, masked_mean])
def test_masked_tokens_change_no_mean_and_no_last_token(reduce, value: float) -> None:
    states, mask = new_states(None)
    outcomes = []
    for filler in (0.0, value):
        filled = states.masked_fill(mask[..., None] == 0, filler).requires_grad_()
        vectors = reduce(filled, mask)
        vectors.pow(2).sum().backward()
        outcomes.append((vectors.detach(), filled.grad))
    assert torch.equal(outcomes[0][0], outcomes[1][0])
    assert torch.equal(outcomes[0][1], outcomes[1][1])


def test_last_token_is_the_last_attended_one() -> None:
    mask = torch.tensor([[1, 1, 0, 0], [0, 0, 1, 1], [0, 1, 1, 0], [1, 0, 1, 0], [1, 1, 1, 1]])
    assert last_token_index(mask).tolist() == [1, 3, 2, 2, 3]
    assert last_token_index(mask.bool()).tolist() == [1, 3, 2, 2, 3]
    states = torch.arange(20.0).view(5, 4, 1)
    assert last_token(states, mask).flatten().tolist() == [1, 7, 10, 14, 19]


def test_means_are_accumulated_in_fp32() -> None:
    states = (torch.rand(2, 4096, HIDDEN, generator=torch.Generator().manual_seed(3)) + 100).bfloat16()
    mask = torch.ones(2, 4096)
    mask[1, 1000:] = 0
    expected = torch.stack([states[0].double().mean(0), states[1, :1000].double().mean(0)])
    found = masked_mean(states, mask)
    assert found.dtype == torch.float32
    assert relative(found, expected) < 1e-6  # bf16 would be off by 1e-3
    assert torch.equal(masked_mean(states, torch.zeros(2, 4096)), torch.zeros(2, HIDDEN))


@pytest.mark.parametrize("layers", KINDS)
def test_norms_residual_and_mean_stay_in_fp32_with_bf16_states(layers: int | None) -> None:
    """States as a bf16 backbone gives them, an fp32 pooling: nothing of ours may round to bf16 on the way."""
    pooling, (states, mask) = new_pooling(layers), new_states(layers)
    states = states.bfloat16()
    exact = {name: value.detach().double() for name, value in pooling.named_parameters()}
    assert relative(pooling(states, mask), published(exact, states.double(), mask, pooling.config.heads)) < 1e-5


@pytest.mark.parametrize("compute", ["weights", "autocast"])
@pytest.mark.parametrize("layers", KINDS)
def test_bf16_matrix_products_keep_fp32_norms_residual_and_means(layers: int | None, compute: str) -> None:
    """Wide, far-off latents and states make what is rounded visible: a bf16 residual or mean would lose the text."""
    pooling, (states, mask) = new_pooling(layers), new_states(layers)
    pooling.bfloat16().float()  # the weights are those that bf16 holds
    pooling.latents.data.add_(1000).copy_(pooling.latents.data.bfloat16().float())
    states = (states * 0.5 + 1000).bfloat16()
    exact = {name: value.detach().double() for name, value in pooling.named_parameters()}
    expected = published(exact, states.double(), mask, pooling.config.heads)
    if compute == "weights":
        found = pooling.bfloat16()(states, mask)
    else:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = pooling(states, mask)
    assert found.dtype == torch.float32
    # What the bf16 products may cost is 1 % of what they add to the latents; the vectors themselves are near 1000,
    # where bf16 steps are 4.
    added = expected - exact["latents"].mean(0)
    assert float((found.detach().double() - expected).norm() / added.norm()) < 0.02


@torch.no_grad()
def test_the_softmax_is_in_fp32() -> None:
    """Scores near 50 that differ by less than a bf16 step there: a softmax of rounded scores is off by a tenth."""
    pooling, (states, mask) = new_pooling(None), new_states(None)
    pooling.to_q.weight.data.mul_(10)
    pooling.to_kv.weight.data[:6].mul_(3)
    pooling.bfloat16()
    heads, width = pooling.config.heads, pooling.config.head_dim
    q = linear(layer_norm(pooling.latents, pooling.norm_latents), pooling.to_q).double().view(-1, heads, width)
    k, v = (
        part.double().unflatten(-1, (heads, width))
        for part in linear(layer_norm(states, pooling.norm_states), pooling.to_kv).chunk(2, dim=-1)
    )
    scores = torch.einsum("lhd,bthd->bhlt", q, k) / math.sqrt(width)
    assert scores.abs().max() > 50
    chances = scores.masked_fill(mask[:, None, None] == 0, -math.inf).softmax(-1)
    exact = torch.einsum("bhlt,bthd->blhd", chances, v).flatten(2) @ pooling.to_out.weight.double().T
    found = pooling.attend(states, mask).double() - pooling.latents.double()
    assert relative(found, exact) < 0.01


@pytest.mark.parametrize("layers", KINDS)
def test_a_text_does_not_depend_on_its_batch(layers: int | None) -> None:
    pooling, (states, mask) = new_pooling(layers), new_states(layers)
    together = pooling(states, mask)
    for row in range(BATCH):
        alone = pooling(states[row : row + 1], mask[row : row + 1])
        unpadded = pooling(states[row : row + 1, mask[row].bool()]) if layers is None else alone
        assert relative(alone, together[row : row + 1]) < 1e-6
        assert relative(unpadded, together[row : row + 1]) < 1e-6


@pytest.mark.parametrize(
    "changes", [{"heads": 0}, {"latents": -1}, {"head_dim": 2.5}, {"hidden_size": "12"}, {"layers": 0}, {"heads": True}]
)
def test_a_config_of_impossible_sizes_is_refused(changes: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        PoolingConfig(**(SIZES | changes))


def test_another_number_of_layers_is_refused() -> None:
    with pytest.raises(ValueError, match="3 layers, got 2"):
        new_pooling(LAYERS)(torch.zeros(1, 2, HIDDEN))
