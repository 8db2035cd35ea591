"""An adapter directory is whole: whatever is wrong with it is one clear error, and nothing is loaded."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from model_loaders import UserError, load, load_design
from model_loaders.saving import save
from tests.tiny import new_model, write_base

LORA, POOLING, MANIFEST = "adapter_model.safetensors", "pooling.safetensors", "embedder.json"


@pytest.fixture(scope="module")
def whole(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("whole")
    save(new_model("model3", base), directory)
    return directory


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "adapter"))


def refused(directory: Path, message: str, **options: Any) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load(directory, device="cpu", **options)
    assert 20 < len(str(caught.value)) < 900 and "Traceback" not in str(caught.value)


def edit(path: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def first(tensors: dict[str, torch.Tensor]) -> str:
    return next(name for name, tensor in tensors.items() if tensor.dim() == 2)


TENSOR_DAMAGE: dict[str, tuple[Callable[[dict[str, torch.Tensor]], Any], str]] = {
    "missing": (lambda t: t.pop(first(t)), "1 missing, such as"),
    "unused": (lambda t: t.update(stray=torch.ones(2)), "1 unused, such as stray"),
    "misshapen": (lambda t: t.update({first(t): torch.ones(3, 5)}), r"is \(3, 5\), the model needs"),
    "nan": (lambda t: t[first(t)].__setitem__((0, 0), float("nan")), "NaN or infinite"),
    "infinite": (lambda t: t[first(t)].__setitem__((0, 0), float("inf")), "NaN or infinite"),
    "changed": (lambda t: [x.add_(torch.randn_like(x)) for x in t.values()], "does not give the vectors that it gave"),
}


@pytest.mark.parametrize("file", [LORA, POOLING])
@pytest.mark.parametrize("damage", TENSOR_DAMAGE)
def test_damaged_tensors(copy: Path, file: str, damage: str) -> None:
    change, message = TENSOR_DAMAGE[damage]
    edit(copy / file, change)
    refused(copy, message)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (LORA, f"has no {LORA}; it holds"),
        (POOLING, f"has no {POOLING}; it holds"),
        ("adapter_config.json", "has no adapter_config.json; it holds"),
        ("tokenizer.json", "no usable tokenizer"),
        (MANIFEST, "has no embedder.json, so it does not say its design"),
    ],
)
def test_a_missing_file(copy: Path, file: str, message: str) -> None:
    (copy / file).unlink()
    refused(copy, message)


def test_no_tokenizer_at_all(copy: Path) -> None:
    for file in copy.glob("tokenizer*"):
        file.unlink()
    refused(copy, "no usable tokenizer")


@pytest.mark.parametrize("keep", [0, 4, 100, -1, -1000])
@pytest.mark.parametrize("file", [LORA, POOLING])
def test_a_cut_file(copy: Path, file: str, keep: int) -> None:
    content = (copy / file).read_bytes()
    (copy / file).write_bytes(content[:keep])
    refused(copy, "no readable safetensors file.*take a fresh copy")


@pytest.mark.parametrize("file", [MANIFEST, "adapter_config.json", "tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"[1, 2]", b"\xff\xfe\x00", b"null"])
def test_broken_json(copy: Path, file: str, content: bytes) -> None:
    (copy / file).write_bytes(content)
    refused(copy, file if not file.startswith("tokenizer") else "no usable tokenizer")


MANIFEST_DAMAGE: dict[str, tuple[list[Any], str]] = {
    "heads a string": (["pooling", "heads", "2"], "pooling: heads is '2'"),
    "no heads": (["pooling", "heads", 0], "pooling heads must be"),
    "other heads": (["pooling", "heads", 1], "does not give the vectors|does not fit"),
    "an unknown size": (["pooling", "width", 3], "pooling: unknown key 'width'"),
    "no pooling": (["pooling", None], "model3 needs a pooling config"),
    "pooling a list": (["pooling", []], "pooling is"),
    "length a string": (["recipe", "max_length", "512"], "max_length is '512', not a whole number"),
    "length negative": (["recipe", "max_length", -3], "max_length is -3: at least 2"),
    "length true": (["recipe", "max_length", True], "max_length is True, not"),
    "length one": (["recipe", "query_max_length", 1], "query_max_length is 1"),
    "prompt a number": (["recipe", "query_prompt", 7], "query_prompt is 7, not a text"),
    "ids of text": (["recipe", "unpooled_token_ids", ["a"]], "unpooled_token_ids.0. is .a., not a whole number"),
    "recipe missing": (["recipe", None], "expected an object for Recipe"),
    "recipe unknown key": (["recipe", "max_lenght", 5], "unknown key 'max_lenght' .did you mean 'max_length'"),
    "fingerprints empty": (["fingerprints", []], "fingerprints must be 4 vectors of 32"),
    "fingerprints ragged": (["fingerprints", [[0.1], [0.1, 0.2]]], "fingerprints must be 4 vectors of 32"),
    "fingerprints words": (["fingerprints", "none"], "fingerprints is 'none'"),
    "fingerprints others": (["fingerprints", [[32**-0.5] * 32] * 4], "does not give the vectors"),
    "fingerprints nan": (["fingerprints", [[float("nan")] * 32] * 4], "fingerprints.*nan, not a finite number"),
    "unknown key": (["desing", "model3"], "unknown key 'desing' .did you mean 'design'"),
    "unknown design": (["design", "model33"], "no design 'model33'.*did you mean 'model3'"),
    "another design": (["design", "model1"], "which model1 has none of"),
    "newer format": (["format", 2], "format 2; this version of the toolkit reads format 1"),
    "no format": (["format", None], "format None"),
    "base a string": (["base_model", "mistral"], "expected an object for BaseModel"),
    "width a string": (["base_model", "hidden_size", "32"], "hidden_size is '32'"),
    "another width": (["base_model", "hidden_size", 64], "belongs to the base model"),
    "base gone": (["base_model", "name_or_path", "/no/such/base"], "no base model directory /no/such/base"),
    "lora a word": (["lora", "yes"], "lora is 'yes', not true or false"),
    "lora denied": (["lora", False], "does not give the vectors"),
}


@pytest.mark.parametrize("damage", MANIFEST_DAMAGE)
def test_a_damaged_manifest(copy: Path, damage: str) -> None:
    *path, value = MANIFEST_DAMAGE[damage][0]
    content = json.loads((copy / MANIFEST).read_text())
    target = content
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    (copy / MANIFEST).write_text(json.dumps(content))
    refused(copy, MANIFEST_DAMAGE[damage][1])


def test_a_missing_key(copy: Path) -> None:
    content = json.loads((copy / MANIFEST).read_text())
    del content["end_token"]
    (copy / MANIFEST).write_text(json.dumps(content))
    refused(copy, "'end_token' is missing")


def test_another_base_model(copy: Path, make_base: Callable[..., Path]) -> None:
    refused(copy, "hidden_size 32.*hidden_size 16", base_model=make_base(hidden_size=16, head_dim=4))
    refused(copy, "num_layers 3.*num_layers 2", base_model=make_base(num_hidden_layers=2))
    refused(copy, "model_type mistral.*model_type llama", base_model=make_base("llama"))
    refused(copy, "same sizes but has other weights", base_model=make_base(seed=5))


def test_a_broken_base_model(copy: Path, tmp_path: Path) -> None:
    base = write_base(tmp_path / "base")
    weights = base / "model.safetensors"
    content = weights.read_bytes()
    for keep in (0, 4, 100, -1):
        weights.write_bytes(content[:keep])
        refused(copy, "model.safetensors is no readable safetensors file", base_model=base)
    weights.write_bytes(content)
    edit(weights, lambda tensors: tensors.pop("model.layers.1.self_attn.q_proj.weight"))
    with pytest.raises(UserError, match=r"lack 1 tensors that a 'mistral' model .* such as layers.1.self_attn.q_proj.weight"):
        new_model("model3", base)
    weights.unlink()
    with pytest.raises(UserError, match=r"has no weights"):
        new_model("model3", base)
    (base / "config.json").write_text("{}")
    with pytest.raises(UserError, match="describes no model"):
        new_model("model3", base)
    (base / "config.json").unlink()
    refused(copy, "has no config.json; it holds", base_model=base)


def test_paths_that_are_no_directories(copy: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(copy / LORA, "is a file; give the directory")
    refused(tmp_path / "adaptre", "did you mean .*adapter")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner").mkdir()
    (tmp_path / "owner" / "base").write_text("a file with a hub name")
    refused(copy, "owner/base is a file", base_model="owner/base")
    refused(copy, "no base model directory owner/other", base_model="owner/other")
    refused(copy, "could not be had from the hub", base_model="nobody/nothing")
    refused(copy, "neither a directory nor a valid hub name", base_model="no body")
    refused(Path("nobody/nothing"), "adapter 'nobody/nothing' is no directory here")


def test_another_design_and_another_number_of_heads(copy: Path, base: Path) -> None:
    with pytest.raises(UserError, match="holds a model3 adapter, not model5"):
        load_design("model5", None, copy, device="cpu")
    with pytest.raises(UserError, match="says 2 heads; leave num_heads=3 out"):
        load_design("model3", base, copy, num_heads=3, device="cpu")
    with pytest.raises(UserError, match="there is no dtype 'float61'"):
        load(copy, dtype="float61", device="cpu")


def test_keys_of_a_causal_lm(copy: Path) -> None:
    def rename(tensors: dict[str, torch.Tensor]) -> None:
        for name in list(tensors):
            tensors[name.replace("base_model.model.", "base_model.model.model.")] = tensors.pop(name)

    edit(copy / LORA, rename)
    refused(copy, "language-model head.*Rename")


def test_a_lora_config_that_does_not_fit(copy: Path) -> None:
    path = copy / "adapter_config.json"
    config = json.loads(path.read_text())
    for changes in ({"peft_type": "IA3"}, {"target_modules": ["nothing"]}, {"r": "four"}, {"r": -1}, {"r": 8}):
        path.write_text(json.dumps(config | changes))
        refused(copy, "only LoRA|LoRA config does not fit|does not fit this model")


class Malicious:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def published(copy: Path) -> Path:
    (copy / MANIFEST).unlink()
    (copy / POOLING).unlink()
    return copy / "attn_pool.pt"


def test_pickles_that_are_no_state_dict(copy: Path, base: Path, tmp_path: Path) -> None:
    path = published(copy)
    proof = tmp_path / "it ran"

    def refused_pickle(message: str) -> None:
        with pytest.raises(UserError, match=message):
            load_design("model3", base, copy, num_heads=2, device="cpu")

    refused_pickle("has no attn_pool.pt")
    for content in (Malicious(proof), {"latents": Malicious(proof)}):
        torch.save(content, path)
        refused_pickle("no state dict that can be read safely")
        path.write_bytes(pickle.dumps(content))
        refused_pickle("no state dict that can be read safely")
    assert not proof.exists()
    for content in ([torch.ones(2)], {"a": 1}, {}, torch.ones(3), "text", {1: torch.ones(1)}):
        torch.save(content, path)
        refused_pickle("no state dict of tensors|does not hold the pooling")
    path.write_bytes(b"no pickle at all")
    refused_pickle("no state dict that can be read safely")
    path.write_bytes(b"")
    refused_pickle("no state dict that can be read safely")
