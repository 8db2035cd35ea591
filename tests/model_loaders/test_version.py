from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model_loaders import LoadOptions, load
from model_loaders.loading import plan_loading
from model_loaders.saving import save
from model_loaders.version import content_hash
from tests.tiny import new_model, trained_parameters

DESIGNS = ["model1", "model2", "model3", "model4", "model5", "causal_mean"]


@pytest.fixture(scope="module")
def adapter(base, tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("adapter") / "model3"
    save(new_model("model3", base), directory)
    return directory


def planned(directory, notes=None, **options) -> str:
    found = plan_loading(None, None, directory, LoadOptions(device="cpu", **options)).version(notes)
    assert found is not None
    return found


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_files_and_the_loaded_model_have_the_same_version(design, dtype, base, tmp_path):
    model = new_model(design, base)
    save(model, tmp_path / "a")
    loaded = load(tmp_path / "a", device="cpu", dtype=dtype)
    loaded.encode(["a text", "another text, which is cut"], max_length=4)  # leaves truncation set in the tokenizer
    assert planned(tmp_path / "a", dtype=dtype) == loaded.version
    if dtype == "float32":
        assert loaded.version == model.version
        assert planned(tmp_path / "a", dtype="bfloat16") != loaded.version


def test_every_file_of_the_adapter_and_every_setting_counts(adapter, tmp_path, base):
    versions = {planned(adapter)}

    def changed(name, change) -> None:
        copy = tmp_path / f"{len(versions)}"
        shutil.copytree(adapter, copy)
        path = copy / name
        path.write_bytes(change(path.read_bytes()))
        versions.add(planned(copy))

    def flip_last_byte_but_one(content: bytes) -> bytes:  # of a float32: its exponent stays
        return content[:-3] + bytes([content[-3] ^ 1]) + content[-2:]

    def edit(change):
        def apply(content: bytes) -> bytes:
            data = json.loads(content)
            change(data)
            return json.dumps(data).encode()

        return apply

    changes = [
        ("adapter_model.safetensors", flip_last_byte_but_one),
        ("pooling.safetensors", flip_last_byte_but_one),
        ("adapter_config.json", edit(lambda data: data.update(lora_alpha=data["lora_alpha"] + 1))),
        ("adapter_config.json", edit(lambda data: data.update(init_lora_weights="pissa"))),  # peft then changes the base
        ("embedder.json", edit(lambda data: data["recipe"].update(max_length=100))),
        ("embedder.json", edit(lambda data: data["recipe"].update(query_prompt="q: "))),
        ("embedder.json", edit(lambda data: data["pooling"].update(heads=1, head_dim=8))),
        ("embedder.json", edit(lambda data: data.update(end_token="<s>"))),
        ("tokenizer.json", edit(lambda data: data["model"].update(unk_token="<s>"))),
    ]
    for name, change in changes:
        changed(name, change)
    assert len(versions) == 1 + len(changes)
    shutil.copytree(adapter, tmp_path / "same")
    shutil.copytree(base, tmp_path / "base")
    assert planned(tmp_path / "same", **{}) in versions  # where it lies does not count
    assert plan_loading(None, tmp_path / "base", adapter, LoadOptions(device="cpu")).version() in versions


def test_notes_spare_peft_and_change_no_version(adapter, tmp_path, monkeypatch):
    notes = tmp_path / "notes.json"
    plan = plan_loading(None, None, adapter, LoadOptions(device="cpu"))
    assert plan.version(notes) == plan.version()
    with monkeypatch.context() as patch:
        patch.setattr("model_loaders.backbone.lora.lora_config", None)
        assert plan.version(notes) == planned(adapter, notes)
        patch.setattr("importlib.metadata.version", lambda name: "99")  # another peft may have other defaults
        with pytest.raises(TypeError):
            plan.version(notes)
    config, _ = plan.source.lora
    config["lora_alpha"] += 1
    assert plan.version(notes) == plan.version() != planned(adapter)
    del config["lora_alpha"]  # now it is peft's default
    assert plan.version(notes) == plan.version()
    for damage in ("{", "[]", ""):
        notes.write_text(damage)
        assert plan.version(notes) == plan.version()
    whole = json.loads(notes.read_text())
    for damage in ("garbage", "null", "[]"):
        notes.write_text(json.dumps(dict.fromkeys(whole, damage)))
        assert plan.version(notes) == plan.version()


def test_a_model_that_was_changed_in_memory_has_another_version(adapter):
    model = load(adapter, device="cpu")
    before = model.version
    with torch.no_grad():
        model.pooling.latents[0, 0] += 1e-3
    assert model.version != before


def test_a_quantised_base_has_a_version_for_each_dtype_of_its_products(base):
    # On a quantised base LoRA stays in fp32 in every dtype, so that its tensors are the same.
    models = [new_model("model1", base, dtype=dtype) for dtype in ("float32", "bfloat16")]
    for model in models:
        model.base_model = replace(model.base_model, quantisation="4bit")
        for tensor in trained_parameters(model).values():
            tensor.data.fill_(0.5)
    assert models[0].dtype == models[1].dtype
    assert models[0].version != models[1].version


def test_the_content_of_a_base_counts_to_the_last_byte_and_is_read_once(base, tmp_path, monkeypatch):
    copy, notes = tmp_path / "base", tmp_path / "notes.json"
    shutil.copytree(base, copy)
    before = content_hash(copy, notes)
    assert before == content_hash(base)
    reads = []
    from model_loaders import version

    whole = version.file_hash
    monkeypatch.setattr(version, "file_hash", lambda path: reads.append(path.name) or whole(path))
    assert content_hash(copy, notes) == before and not reads
    weights = copy / "model.safetensors"
    stat = weights.stat()
    content = bytearray(weights.read_bytes())
    content[-9999] ^= 1
    weights.write_bytes(content)
    os.utime(weights, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # even where the time is set back
    assert content_hash(copy, notes) != before and reads == ["model.safetensors"]
    notes.write_text("{")
    assert content_hash(base, notes) == before


def test_the_dtype_counts_also_where_nothing_is_trained(base, tmp_path):
    save(new_model("causal_mean", base, lora=None), tmp_path / "bare")
    assert planned(tmp_path / "bare") == load(tmp_path / "bare", device="cpu").version
    assert planned(tmp_path / "bare") != planned(tmp_path / "bare", dtype="bfloat16")
