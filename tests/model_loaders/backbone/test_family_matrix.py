"""Every decoder family with the default LoRA: what it acts on, which way attention looks, a text alone and in a batch."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from model_loaders import LoadOptions, UserError, load
from model_loaders.backbone.lora_targets import left_out, targets_of
from model_loaders.backbone.packing import longest_packed
from model_loaders.create import create
from model_loaders.saving import save
from tests.contracts.test_text_alone import check_text_alone, worst
from tests.model_loaders.backbone.test_packing import in_both_ways
from tests.model_loaders.decoders import DECODERS
from tests.tiny import ROOT, WORDS

DEFAULT = json.loads((ROOT / "configs" / "lora.json").read_text())
TOKENS = 28
PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "mv", "addmv", "_grouped_mm", "linear")
DESIGN_OF = {"causal": "causal_mean", "bidirectional": "bidirectional_mean"}


class MatrixProducts(TorchDispatchMode):
    """Collects the names of the parameters that are a factor of a matrix product, whole or in part."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.places = []
        for name, parameter in module.named_parameters():
            start = parameter.data_ptr()
            self.places.append((start, start + parameter.nbytes, name))

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func.overloadpacket.__name__ in PRODUCTS:
            for argument in args:
                if isinstance(argument, torch.Tensor) and argument.dim() >= 2:
                    self.names |= {name for start, end, name in self.places if start <= argument.data_ptr() < end}
        return func(*args, **(kwargs or {}))


def short(module: nn.Module, name: str) -> str:
    """Return the name of a parameter as a run's description counts it."""
    parts = name.split(".")
    owner = module.get_submodule(name.rpartition(".")[0])
    is_layer = isinstance(owner, nn.Linear) or type(owner).__name__ == "Conv1D"
    return parts[-2] if is_layer else ".".join(parts[-2:])


def new_model(base: Path, kernel: str, attention: str, lora: dict[str, Any] | None = DEFAULT) -> Any:
    """Make a model with LoRA whose B is not zero."""
    options = LoadOptions(device="cpu", dtype="float32", attn_implementation=kernel)
    model = create(DESIGN_OF[attention], base, lora=lora, options=options).eval()
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.copy_(0.05 * torch.randn(parameter.shape, generator=generator))
    return model


def last_states(backbone: nn.Module, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The first text's states after the last layer, ``(tokens, hidden)``."""
    states: torch.Tensor = backbone(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state[0]
    return states


@torch.no_grad()
def check_direction(backbone: nn.Module, attention: str) -> None:
    """Every token sees those after it in a bidirectional model, and none in a causal one; all see the one before."""
    for padded in (False, True):
        ids = torch.randint(4, 54, (2, TOKENS), generator=torch.Generator().manual_seed(0))
        mask = torch.ones_like(ids)
        if padded:
            mask[1, 9:] = 0
        before = last_states(backbone, ids, mask)
        scale = before.abs().amax()
        last, first = ids.clone(), ids.clone()
        last[0, -1], first[0, -2] = (ids[0, -1] + 7) % 54 + 4, (ids[0, -2] + 7) % 54 + 4
        change = (last_states(backbone, last, mask) - before).abs().amax(dim=1)[:-1] / scale
        if attention == "causal":
            assert (change < 1e-5).all(), change
        else:
            assert (change > 1e-5).all(), change
        assert (last_states(backbone, first, mask) - before)[-1].abs().amax() / scale > 1e-5


def check_lora(base: Path, model: Any, kernel: str, attention: str, expected: Mapping[str, int]) -> None:
    """Every matrix that takes part in a product has LoRA that acts, or is named as left out."""
    plain = new_model(base, kernel, attention, None)
    with torch.no_grad(), MatrixProducts(plain.backbone) as products:
        plain(*a_batch(plain))
    found = Counter(short(plain.backbone, name) for name in products.names)
    assert left_out(model.backbone) == expected
    assert {name: found[name] for name in found if name not in expected} == targets_of(model.backbone)
    model(*a_batch(model)).square().mean(dim=0)[::2].sum().backward()
    still = [name for name, p in model.named_parameters() if "lora_" in name and (p.grad is None or not p.grad.any())]
    assert not still, "LoRA that does nothing"
    model.zero_grad()


def a_batch(model: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask of texts of all lengths."""
    batch = model.tokenizer.pad(model.tokenizer.ids([" ".join(WORDS[k:]) for k in (0, 5, 20, 30)], 64))
    return batch.input_ids, batch.attention_mask


@pytest.mark.slow
@pytest.mark.parametrize("attention", ["causal", "bidirectional"])
@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
@pytest.mark.parametrize("family", DECODERS)
@pytest.mark.filterwarnings("ignore:fan_in_fan_out")
def test_a_family(make_base: Callable[..., Path], family: str, kernel: str, attention: str) -> None:
    decoder = DECODERS[family]
    base = make_base(family, without=decoder.without, **decoder.changes)
    reason = decoder.reason(kernel, attention)
    if reason is not None:
        with pytest.raises(UserError, match=reason):
            new_model(base, kernel, attention)
        return
    model = new_model(base, kernel, attention)
    assert model.attn_implementation == kernel
    check_lora(base, model, kernel, attention, decoder.left_out)
    check_direction(model.backbone, attention)
    check_text_alone(model, 0.99999)
    if longest_packed(model.backbone, attention == "causal") >= 6:
        padded, packed = in_both_ways(model, (3, 6, 5, 1))
        assert float((padded - packed).abs().max()) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("family", DECODERS)
@pytest.mark.filterwarnings("ignore:fan_in_fan_out")
def test_a_family_is_saved_and_loaded(make_base: Callable[..., Path], tmp_path: Path, family: str) -> None:
    decoder = DECODERS[family]
    base = make_base(family, without=decoder.without, **decoder.changes)
    model = new_model(base, "eager", "causal")
    save(model, tmp_path)
    loaded = load(tmp_path, device="cpu")
    assert loaded.version == model.version
    assert targets_of(loaded.backbone) == targets_of(model.backbone)
    texts = ["word1 word2", " ".join(WORDS)]
    assert worst(np.asarray(loaded.encode(texts)), model.encode(texts)) > 0.999999
