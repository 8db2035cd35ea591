"""LoRA configs that fit a model in part, or start in a way that cannot be saved."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from model_loaders import LoadOptions, UserError, load
from model_loaders.backbone import lora as module
from model_loaders.backbone.lora_targets import Continued, as_in_checkpoint, left_out, lora_layers, targets_of
from model_loaders.create import create
from model_loaders.saving import save
from tests.tiny import ROOT, write_tokenizer
from trainers.checkpoints.load import load_checkpoint

CPU = LoadOptions(device="cpu", dtype="float32")
DEFAULT = json.loads((ROOT / "configs" / "lora.json").read_text())


def add(base: Path, design: str = "model1", **lora: Any) -> Any:
    return create(design, base, lora={"r": 2, "lora_dropout": 0.0} | lora, options=CPU)


@pytest.mark.parametrize("family", ["mistral", "qwen2", "gemma2"])
def test_the_default_stays_what_it_was(make_base: Callable[..., Path], family: str) -> None:
    model = create("model1", make_base(family), lora=DEFAULT, options=CPU)
    assert targets_of(model.backbone) == dict.fromkeys(DEFAULT["target_modules"], 3)
    assert set(model.backbone.peft_config["default"].target_modules) == set(DEFAULT["target_modules"])


@pytest.mark.parametrize(
    ("family", "names"),
    [
        ("phi3", {"qkv_proj", "o_proj", "gate_up_proj", "down_proj"}),
        ("gpt2", {"c_attn", "c_proj", "c_fc"}),
        ("gpt_neox", {"query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"}),
        ("starcoder2", {"q_proj", "k_proj", "v_proj", "o_proj", "c_fc", "c_proj"}),
    ],
)
def test_the_default_stands_on_all_linear_maps(
    make_base: Callable[..., Path], tmp_path: Path, family: str, names: set[str]
) -> None:
    model = create("model1", make_base(family), lora=DEFAULT, options=CPU)
    assert set(targets_of(model.backbone)) == names
    save(model, tmp_path)
    assert set(targets_of(load(tmp_path, device="cpu").backbone)) == names


def test_a_layer_that_is_never_called_has_no_lora(make_base: Callable[..., Path], caplog: pytest.LogCaptureFixture) -> None:
    base = make_base("mamba")
    model = create("model1", base, lora=DEFAULT, options=CPU)
    assert targets_of(model.backbone) == {"in_proj": 3, "x_proj": 3}
    assert "LoRA does not act on dt_proj, out_proj" in caplog.text
    assert {"dt_proj", "out_proj"} <= set(left_out(model.backbone))
    with pytest.raises(UserError, match="LoRA would do nothing on dt_proj"):
        add(base, target_modules=["in_proj", "dt_proj"])


def test_a_run_of_an_earlier_version_goes_on(make_base: Callable[..., Path], tmp_path: Path) -> None:
    """Its default LoRA stood on what of the standard names the family has, and its config has all of them."""
    base = make_base("phi3")
    old = create("model1", base, lora=DEFAULT | {"target_modules": ["o_proj", "down_proj"]}, options=CPU)
    save(old, tmp_path)
    write_tokenizer(tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    config["target_modules"] = DEFAULT["target_modules"]
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    new = create("model1", base, lora=as_in_checkpoint(DEFAULT, config), options=CPU)
    assert targets_of(new.backbone) == {"down_proj": 3, "o_proj": 3}
    load_checkpoint(new, tmp_path)
    with pytest.raises(UserError, match="target_modules"):
        load_checkpoint(create("model1", base, lora=DEFAULT, options=CPU), tmp_path)
    own = {"r": 2, "target_modules": ["o_proj"]}
    assert as_in_checkpoint(own, config) is own


@pytest.mark.parametrize(
    ("lora", "message"),
    [
        (
            {"target_modules": ["q_proj", "gate_prj", "down_prj"]},
            r"no down_prj, gate_prj \(did you mean 'down_proj'.*: down",
        ),
        ({"target_modules": ".*nothing"}, r"expression '\.\*nothing' matches no module"),
        ({"target_modules": ["q_proj", "self_attn"]}, r"block \(MistralAttention\).*: k_proj, o_proj, q_proj, v_proj\.$"),
        ({"target_modules": r".*\.self_attn"}, r"layers.0.self_attn is no linear map but a block"),
        ({"target_modules": ["q_proj"], "alpha_pattern": {"v_proj": 8}}, r"alpha_pattern: v_proj matches.* acts on: q_proj\."),
        ({"target_modules": ["q_proj"], "rank_pattern": {"(v|k)_proj": 8}}, r"rank_pattern: \(v\|k\)_proj matches"),
        (
            {"target_modules": ["q_proj"], "layers_to_transform": [0], "rank_pattern": {"layers.1.self_attn.q_proj": 4}},
            "matches none of the targets",
        ),
        ({"target_modules": "(q_proj"}, "does not fit"),
        ({"target_modules": ["q_proj"], "exclude_modules": ["vproj"]}, "exclude_modules.*did you mean 'v_proj'"),
        ({"target_modules": ["q_proj"], "rank_pattern": {"qproj": 4}}, "rank_pattern"),
        ({"target_modules": ["q_proj"], "alpha_pattern": {"qproj": 4}}, "alpha_pattern"),
        ({"target_modules": ["q_proj"], "layers_to_transform": [0, 3]}, r"\[3\]; this model has 3"),
        ({"target_modules": ["q_proj"], "layers_to_transform": -1}, r"\[-1\]; this model has 3"),
        ({"target_modules": ["q_proj"], "layers_to_transform": [0], "layers_pattern": "layer"}, "did you mean 'layers'"),
        ({"target_parameters": ["experts.nothing"]}, "target_parameters"),
    ],
)
def test_what_matches_nothing_is_an_error(base: Path, lora: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        add(base, **lora)


def test_patterns_of_targets_act(base: Path) -> None:
    lora = {
        "target_modules": ["q_proj", "v_proj"],
        "rank_pattern": {"layers.1.self_attn.q_proj": 4},
        "alpha_pattern": {"v_.*": 8},
    }
    model = add(base, **lora)
    ranks = {layer.r["default"] for _, layer in lora_layers(model.backbone)}
    assert ranks == {2, 4}


def test_a_run_whose_pattern_changes_no_target_goes_on(base: Path) -> None:
    lora = Continued({"r": 2, "target_modules": ["q_proj"], "alpha_pattern": {"v_proj": 8}})
    with pytest.warns(RuntimeWarning, match="v_proj"):
        assert targets_of(create("model1", base, lora=lora, options=CPU).backbone) == {"q_proj": 3}


def test_layers_to_transform_act(base: Path) -> None:
    assert targets_of(add(base, target_modules=["q_proj"], layers_to_transform=[0, 2]).backbone) == {"q_proj": 2}
    assert targets_of(add(base, target_modules=r".*\.[01]\..*q_proj").backbone) == {"q_proj": 2}


def test_a_regular_expression_without_end_stops(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATTERN_SECONDS", 1)
    started = time.monotonic()
    with pytest.raises(UserError, match="regular expression was not done"):
        add(base, target_modules=r"(([a-z_.0-9])+)+!")
    with pytest.raises(UserError, match="regular expression was not done"):
        add(base, target_modules=["q_proj"], rank_pattern={r"(([a-z_.0-9])+)+!": 4})
    assert time.monotonic() - started < 60


@pytest.mark.parametrize("name", ["pissa", "olora", "orthogonal", "gaussian", False])
def test_what_starts_so_loads(base: Path, tmp_path: Path, name: str | bool) -> None:
    model = add(base, "model3", target_modules="all-linear", init_lora_weights=name)
    save(model, tmp_path)
    loaded = load(tmp_path, device="cpu")
    assert (model.eval().encode(["word1 word2"]) * loaded.encode(["word1 word2"])).sum() > 0.99999


@pytest.mark.parametrize("name", ["pissa_niter_4", "corda", "loftq", "eva", "lora_ga"])
def test_what_cannot_be_repeated_is_refused(base: Path, name: str) -> None:
    with pytest.raises(UserError, match=rf"init_lora_weights '?{name}|{name}"):
        add(base, target_modules=["q_proj"], init_lora_weights=name)


def test_dora_on_rows_of_zeros_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    from tests.tiny import write_base

    base = write_base(tmp_path)
    add(base, target_modules=["q_proj"], use_dora=True)
    tensors = load_file(base / "model.safetensors")
    tensors["model.layers.1.self_attn.q_proj.weight"][3] = 0
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"layers.1.self_attn.q_proj has 1 rows of zeros"):
        add(base, target_modules=["q_proj"], use_dora=True)
    with pytest.raises(UserError, match=r"layers.1.self_attn.q_proj has 1 rows of zeros"):
        add(base, target_modules=r".*\.q_proj", use_dora=True)
    add(base, target_modules=["v_proj"], use_dora=True)
