"""LoRA on the experts of a mixture, whose weights are one tensor: by default, exactly, and through saving and loading."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model_loaders import LoadOptions, UserError, load
from model_loaders.backbone.lora_targets import left_out, targets_of
from model_loaders.backbone.lora_training import trained_lora
from model_loaders.create import create
from model_loaders.fingerprints import as_loaded
from model_loaders.layouts.manifest import read_manifest
from model_loaders.saving import save
from tests.model_loaders.decoders import DECODERS
from tests.tiny import ROOT, WORDS, trained_parameters
from trainers.memory.plan import fake_copy, plan_experts_in_turn
from trainers.memory_plan import main

DEFAULT = json.loads((ROOT / "configs" / "lora.json").read_text())
TEXTS = ["word1 word2", " ".join(WORDS[:20]), "word7", " ".join(WORDS[30:])]
FAMILIES = ["mixtral", "gpt_oss", "qwen3_moe"]
families = pytest.mark.parametrize("family", FAMILIES)


@pytest.fixture
def experts_base(make_base: Callable[..., Path]) -> Callable[[str], Path]:
    return lambda family: make_base(family, **DECODERS[family].changes)


def new_model(base: Path, dtype: str = "float32", **lora: Any) -> Any:
    """Make a model whose LoRA is not zero."""
    options = LoadOptions(device="cpu", dtype=dtype, attn_implementation="eager")
    model = create("model1", base, lora=DEFAULT | {"r": 4} | lora, options=options)
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


def expert_layers(model: Any) -> Iterator[Any]:
    for module in model.backbone.modules():
        if hasattr(module, "parameter_name"):
            yield module


@families
def test_the_default_acts_on_experts(
    experts_base: Callable[[str], Path], family: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = new_model(experts_base(family))
    assert targets_of(model.backbone) == dict.fromkeys(
        ("q_proj", "k_proj", "v_proj", "o_proj", "experts.gate_up_proj", "experts.down_proj"), 3
    )
    assert left_out(model.backbone) == {"router.weight" if family == "gpt_oss" else "gate.weight": 3}
    assert "lora_dropout is 0, not 0.1" in caplog.text


def test_linear_layers_keep_theirs_where_experts_have_the_same_name(experts_base: Callable[[str], Path]) -> None:
    """peft takes ``down_proj`` for the experts alone, and leaves the dense layer and the shared expert out."""
    targets = targets_of(new_model(experts_base("deepseek_v3")).backbone)
    assert targets["down_proj"] == targets["gate_proj"] == 3  # of a dense layer and of two shared experts
    assert targets["experts.down_proj"] == 2
    everything = targets_of(new_model(experts_base("deepseek_v3"), target_modules="all-linear").backbone)
    assert everything == targets
    named = targets_of(new_model(experts_base("deepseek_v3"), target_modules=["down_proj"]).backbone)
    assert named == {"down_proj": 3}


@pytest.mark.parametrize(
    ("lora", "reason"), [({"use_dora": True}, "use_dora"), ({"init_lora_weights": "pissa"}, "init_lora_weights 'pissa'")]
)
def test_what_peft_cannot_do_there_is_said(
    experts_base: Callable[[str], Path], caplog: pytest.LogCaptureFixture, lora: dict[str, Any], reason: str
) -> None:
    model = new_model(experts_base("mixtral"), **lora)
    assert f"LoRA does not act on the experts (experts.down_proj, experts.gate_up_proj), whose weights are one tensor: " \
        f"peft has no {reason} there" in caplog.text  # fmt: skip
    assert left_out(model.backbone) == {"experts.down_proj": 3, "experts.gate_up_proj": 3, "gate.weight": 3}
    assert model.backbone.peft_config["default"].lora_dropout == 0.1


def test_chosen_layers_hold_for_experts_too(experts_base: Callable[[str], Path]) -> None:
    model = new_model(experts_base("mixtral"), layers_to_transform=[0, 2])
    assert set(targets_of(model.backbone).values()) == {2}
    assert {name.split(".layers.")[1][0] for name in trained_parameters(model) if "experts" in name} == {"0", "2"}
    with pytest.raises(UserError, match="target_parameters"):
        new_model(experts_base("mixtral"), target_modules=["q_proj"], target_parameters=["experts.nothing"])


@families
def test_vectors_are_those_of_changed_weights(experts_base: Callable[[str], Path], family: str) -> None:
    """Expert ``e`` computes with ``W + s B_e A_e``, in training and in the short way of encoding."""
    base = experts_base(family)
    model, plain = new_model(base).eval(), new_model(base).eval()
    before = plain.encode(TEXTS)
    for layer, same in zip(expert_layers(model), expert_layers(plain), strict=True):
        down, up = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        weight = getattr(same.get_base_layer(), same.parameter_name)
        experts, rank = len(weight), 4
        for expert in range(experts):
            change = 32 / rank * up[:, expert::experts] @ down[expert * rank : (expert + 1) * rank]
            weight.data[expert] += change.T if family == "gpt_oss" else change
        same.lora_B["default"].weight.data.zero_()
    after = plain.encode(TEXTS)
    assert float((before * after).sum(axis=1).min()) > 0.99999
    assert float(np.abs(model.encode(TEXTS) - after).max()) < 1e-5
    other = new_model(base).eval()
    for layer in expert_layers(other):
        layer.lora_B["default"].weight.data.zero_()
    assert float((other.encode(TEXTS) * after).sum(axis=1).min()) < 0.9999, "the experts' LoRA moves nothing here"


def gradients(model: Any) -> dict[str, torch.Tensor]:
    batch = model.tokenizer.pad(model.tokenizer.ids(TEXTS, 32))
    model.zero_grad()
    model(batch.input_ids, batch.attention_mask)[:, ::2].sum().backward()
    return {name: parameter.grad.clone() for name, parameter in trained_parameters(model).items()}


@families
def test_gradients_are_pefts_also_with_recomputed_layers(experts_base: Callable[[str], Path], family: str) -> None:
    model = new_model(experts_base(family)).eval()
    expected = gradients(model)
    assert all(gradient.abs().max() > 0 for gradient in expected.values())
    with trained_lora(model):
        found = gradients(model)
    model.train()
    model.activation_checkpointing_enable()
    recomputed = gradients(model)
    for name, gradient in expected.items():
        for other in (found[name], recomputed[name]):
            torch.testing.assert_close(other, gradient, rtol=1e-4, atol=1e-5 * float(gradient.abs().max()))


@families
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_experts_are_saved_and_loaded(experts_base: Callable[[str], Path], tmp_path: Path, family: str, dtype: str) -> None:
    model = new_model(experts_base(family), dtype)
    save(model, tmp_path)
    with as_loaded(model):
        expected = model.encode(TEXTS)
    loaded = load(tmp_path, device="cpu")
    np.testing.assert_array_equal(loaded.encode(TEXTS), expected)
    assert {parameter.dtype for parameter in trained_parameters(loaded).values()} == {getattr(torch, dtype)}
    assert targets_of(loaded.backbone) == targets_of(model.backbone)
    effect = read_manifest(tmp_path).lora_effect
    assert effect is not None and effect > 1e-4
    if dtype == "float32":
        assert loaded.version == model.version
    again = load(tmp_path, device="cpu", trainable=True)
    assert {parameter.dtype for parameter in trained_parameters(again).values()} == {torch.float32}


def test_an_adapter_that_lost_its_experts_is_refused(experts_base: Callable[[str], Path], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    save(new_model(experts_base("mixtral")), tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    tensors = load_file(path)
    save_file({name: tensor for name, tensor in tensors.items() if "experts" not in name}, path, metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"12 missing, such as .*experts"):
        load(tmp_path, device="cpu")
    save_file({name: tensor * ("experts" not in name) for name, tensor in tensors.items()}, path, metadata={"format": "pt"})
    with pytest.raises(UserError, match="does not give the vectors"):
        load(tmp_path, device="cpu")


@pytest.mark.parametrize("family", ["mixtral", "qwen3_moe"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_the_memory_of_a_mixture_is_planned(
    experts_base: Callable[[str], Path], family: str, dtype: str, capfd: pytest.CaptureFixture[str]
) -> None:
    base = str(experts_base(family))
    command = ["--design", "model1", "--model_name_or_path", base, "--max_seq_length", "24", "--use_cpu"]
    assert main([*command, "--torch_dtype", dtype]) == 0
    output = capfd.readouterr()
    assert "activations" in output.out and "Traceback" not in output.err


def test_a_loaded_mixture_is_planned_in_float32(experts_base: Callable[[str], Path]) -> None:
    model = new_model(experts_base("mixtral"))
    fake, _ = fake_copy(model)
    plan_experts_in_turn(fake, None)
    assert fake.backbone.get_base_model().config._experts_implementation == "eager"
    assert model.backbone.get_base_model().config._experts_implementation == "grouped_mm"
