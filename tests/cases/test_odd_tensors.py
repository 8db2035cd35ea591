"""Adapters whose sizes do not fit their tensors, or whose tensors are of odd kinds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from model_loaders import UserError, load
from model_loaders.layouts.tensors import read_pickled_tensors
from model_loaders.saving import save
from tests.tiny import new_model


@pytest.fixture(scope="module")
def saved(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("adapter")
    save(new_model("model3", base), directory)
    return directory


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "adapter"))


@pytest.mark.parametrize("size", ["latents", "heads", "layers", "head_dim", "feed_forward_multiple", "hidden_size"])
@pytest.mark.parametrize("value", [10**9, 10**15])
def test_sizes_of_the_manifest_are_compared_first(copy: Path, size: str, value: int) -> None:
    manifest = json.loads((copy / "embedder.json").read_text())
    manifest["pooling"][size] = value
    (copy / "embedder.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="pooling"):
        load(copy, device="cpu")


@pytest.mark.parametrize("key", ["r", "rank_pattern"])
def test_ranks_are_compared_first(copy: Path, key: str) -> None:
    path = copy / "adapter_config.json"
    value = 10**9 if key == "r" else {"q_proj": 10**9}
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(UserError, match="rank 1000000000"):
        load(copy, device="cpu")


@pytest.mark.parametrize("file", ["adapter_model.safetensors", "pooling.safetensors"])
@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.int8, torch.complex64, torch.bool])
def test_other_dtypes_are_named(copy: Path, file: str, dtype: torch.dtype) -> None:
    tensors = load_file(copy / file)
    name = min(tensors)
    tensors[name] = tensors[name].to(dtype)
    save_file(tensors, copy / file)
    with pytest.raises(UserError, match=f"{file}: tensor {name} is of dtype {str(dtype).removeprefix('torch.')}"):
        load(copy, device="cpu")


def test_single_numbers_are_named(copy: Path) -> None:
    path = copy / "pooling.safetensors"
    save_file(load_file(path) | {"latents": torch.tensor(1.0)}, path)
    with pytest.raises(UserError, match="tensor latents is a single float32 number"):
        load(copy, device="cpu")


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (torch.eye(3).to_sparse(), "sparse"),
        (torch.empty(2, device="meta"), "no values"),
        (torch.tensor(1.0), "single"),
        (torch.ones(2).to(torch.float8_e4m3fn), "float8_e4m3fn"),
    ],
)
def test_odd_tensors_in_a_published_file(tmp_path: Path, tensor: torch.Tensor, message: str) -> None:
    path = tmp_path / "attn_pool.pt"
    torch.save({"latents": tensor}, path)
    with pytest.raises(UserError, match=rf"attn_pool.pt: tensor latents .*{message}"):
        read_pickled_tensors(path)


def test_keys_with_the_adapters_name_are_explained(copy: Path) -> None:
    path = copy / "adapter_model.safetensors"
    save_file({key.replace(".weight", ".default.weight"): tensor for key, tensor in load_file(path).items()}, path)
    with pytest.raises(UserError, match=r"carry the name of a peft adapter.*'\.default\.weight'"):
        load(copy, device="cpu")
