"""What loading checks an adapter by: computed as the loader computes, compared by the rounding noise of the same model."""

from __future__ import annotations

import itertools
import json
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model_loaders import UserError, load
from model_loaders.backbone.load import choose_kernel
from model_loaders.fingerprints import (
    CEILING,
    FACTOR,
    FLOOR,
    as_loaded,
    farthest,
    lora_effect,
    rounding_noise,
    without_lora,
)
from model_loaders.layouts.manifest import MANIFEST, read_manifest
from model_loaders.loading import saved_kernel
from model_loaders.saving import save
from tests.tiny import EVERY_DESIGN, ROOT, new_model, small_sizes, trained_parameters, triplets, write_base

CPU = torch.device("cpu")
WAYS = list(itertools.product(("float32", "bfloat16"), ("sdpa", "eager")))


def saved_in_bf16(design: str, base: Path, directory: Path, **options: Any) -> Any:
    """Save a model as a run leaves it: the base LLM in bf16, LoRA and pooling in fp32."""
    model = new_model(design, base, dtype="bfloat16", **options)
    save(model, directory)
    return model


def change(directory: Path, **values: Any) -> None:
    """Change or, by None, take out keys of a manifest."""
    content = json.loads((directory / MANIFEST).read_text()) | values
    taken = {key for key, value in values.items() if value is None}
    (directory / MANIFEST).write_text(json.dumps({key: value for key, value in content.items() if key not in taken}))


def older(directory: Path) -> None:
    """Make a manifest one that knows neither kernel nor noise."""
    change(directory, attn_implementation=None, noise=None, lora_effect=None)


@pytest.mark.parametrize("design", EVERY_DESIGN)
def test_fingerprints_are_those_of_the_loaded_model_bit_for_bit(base: Path, tmp_path: Path, design: str) -> None:
    model = saved_in_bf16(design, base, tmp_path)
    loaded, manifest = load(tmp_path, device="cpu"), read_manifest(tmp_path)
    assert {tensor.dtype for tensor in trained_parameters(loaded).values()} == {torch.bfloat16}
    found = np.array([[round(float(value), 7) for value in row] for row in loaded.fingerprints()])
    np.testing.assert_array_equal(found, manifest.fingerprints)
    assert farthest(model.fingerprints(), loaded.fingerprints()) > 1e-7, "fp32 LoRA gives the same: nothing is shown"
    assert (manifest.dtype, manifest.attn_implementation) == ("bfloat16", "eager")
    save(load(tmp_path, device="cpu", trainable=True), tmp_path / "again")  # LoRA in fp32 again, of the values in the file
    assert read_manifest(tmp_path / "again") == manifest


def test_saving_leaves_the_trained_tensors_as_they_were(base: Path, tmp_path: Path) -> None:
    model = new_model("model3", base, dtype="bfloat16")
    before = {name: (p, p.data_ptr(), p.dtype, p.requires_grad, p.clone()) for name, p in model.named_parameters()}
    save(model, tmp_path)
    for name, parameter in model.named_parameters():
        old, pointer, dtype, requires_grad, values = before[name]
        assert parameter is old
        assert (parameter.data_ptr(), parameter.dtype, parameter.requires_grad) == (pointer, dtype, requires_grad), name
        assert torch.equal(parameter, values)
    loaded = load(tmp_path, device="cpu")
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    with without_lora(loaded):
        pass
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_an_error_meanwhile_leaves_them_too(base: Path) -> None:
    model = new_model("model1", base, dtype="bfloat16")
    with pytest.raises(KeyboardInterrupt), as_loaded(model):
        raise KeyboardInterrupt
    assert {tensor.dtype for tensor in trained_parameters(model).values()} == {torch.float32}


@pytest.mark.parametrize("design", ["model1", "model4", "model5"])
def test_the_noise_is_as_large_as_what_rounding_does(base: Path, tmp_path: Path, design: str) -> None:
    """Both are held against fp32; a noise far too large would catch nothing, one too small refuses what is right."""
    save(new_model(design, base), tmp_path)
    exact, rounded = load(tmp_path, device="cpu"), load(tmp_path, device="cpu", dtype="bfloat16")
    off = farthest(exact.fingerprints(), rounded.fingerprints())
    noise = rounding_noise(rounded, rounded.fingerprints())
    assert off / FACTOR <= noise <= 20 * off
    assert rounding_noise(exact, exact.fingerprints()) == 0
    assert off / FACTOR <= rounding_noise(exact, exact.fingerprints(), torch.finfo(torch.bfloat16).eps) <= 20 * off


@pytest.mark.parametrize("noisy", [False, True], ids=["noise as measured", "a very noisy model"])
@pytest.mark.parametrize("design", ["model1", "model3", "model5", "causal_mean"])
def test_an_untrained_adapter_is_refused(base: Path, tmp_path: Path, design: str, noisy: bool) -> None:
    """Its B is zero. A noise that would allow any difference does not help it: LoRA must do something."""
    model = saved_in_bf16(design, base, tmp_path)
    if noisy:
        change(tmp_path, noise=1.0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.zero_()
    (tmp_path / "untrained").mkdir()
    save(model, tmp_path / "untrained")
    (tmp_path / "untrained" / "adapter_model.safetensors").replace(tmp_path / "adapter_model.safetensors")
    for path in tmp_path, tmp_path:
        with pytest.raises(UserError, match=r"LoRA of the adapter .* does nothing.*take a fresh copy"):
            load(path, device="cpu")
        older(tmp_path)


def test_training_that_moved_less_than_the_noise_is_still_seen_to_be_lost(base: Path, tmp_path: Path) -> None:
    model = new_model("model1", base, dtype="bfloat16")
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.mul_(0.1)
    save(model, tmp_path)
    manifest = read_manifest(tmp_path)
    assert manifest.lora_effect is not None and manifest.lora_effect > FLOOR
    change(tmp_path, noise=2 * manifest.lora_effect)
    load(tmp_path, device="cpu")
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.zero_()
    save(model, tmp_path / "untrained")
    (tmp_path / "untrained" / "adapter_model.safetensors").replace(tmp_path / "adapter_model.safetensors")
    with pytest.raises(UserError, match="does nothing"):
        load(tmp_path, device="cpu")


@pytest.mark.parametrize("old", [False, True], ids=["new manifest", "older manifest"])
@pytest.mark.parametrize("design", ["model2", "model3", "model4", "model5"])
def test_a_lost_head_is_refused(base: Path, tmp_path: Path, design: str, old: bool) -> None:
    saved_in_bf16(design, base, tmp_path)
    save(new_model(design, base, dtype="bfloat16", seed=7), tmp_path / "fresh")
    (tmp_path / "fresh" / "pooling.safetensors").replace(tmp_path / "pooling.safetensors")
    if old:
        older(tmp_path)
    with pytest.raises(UserError, match="does not give the vectors"):
        load(tmp_path, device="cpu")


@pytest.mark.parametrize("old", [False, True], ids=["new manifest", "older manifest"])
@pytest.mark.parametrize("design", EVERY_DESIGN)
def test_another_base_is_refused(base: Path, make_base: Callable[..., Path], tmp_path: Path, design: str, old: bool) -> None:
    """By its vectors, where its hash is not known."""
    saved_in_bf16(design, base, tmp_path)
    change(tmp_path, base_model=json.loads((tmp_path / MANIFEST).read_text())["base_model"] | {"weights": ""})
    if old:
        older(tmp_path)
    load(tmp_path, device="cpu")
    with pytest.raises(UserError, match="does not give the vectors"):
        load(tmp_path, make_base(seed=5), device="cpu")


def turned(vectors: list[list[float]], off: float) -> list[list[float]]:
    """Unit vectors whose cosine with the given ones is ``1 - off``."""
    given = np.array(vectors)
    other = np.roll(given, 1, axis=1)
    other -= (other * given).sum(axis=1, keepdims=True) * given
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    cosine = 1 - off
    return (cosine * given + (1 - cosine**2) ** 0.5 * other).tolist()  # type: ignore[no-any-return]


def test_what_is_allowed_follows_the_noise_up_to_a_ceiling(base: Path, tmp_path: Path) -> None:
    saved_in_bf16("model1", base, tmp_path)
    fingerprints = read_manifest(tmp_path).fingerprints

    def loads(off: float, noise: float | None) -> bool:
        change(tmp_path, fingerprints=turned(fingerprints, off), noise=noise)
        try:
            load(tmp_path, device="cpu")
        except UserError as error:
            assert f"cosine {1 - off:.4f} on the probe texts" in str(error)
            assert "bfloat16 with eager then, bfloat16 with eager now" in str(error)
            return False
        return True

    for noise in (0.001, 0.01):
        assert loads(0.9 * FACTOR * noise, noise)
        assert not loads(1.1 * FACTOR * noise, noise)
    assert loads(0.9 * FLOOR, 0.0) and not loads(1.1 * FLOOR, 0.0)
    assert not loads(1.1 * CEILING, 10.0)


def test_older_manifests_load_as_before_and_by_the_noise_of_the_loaded_model(base: Path, tmp_path: Path) -> None:
    model = saved_in_bf16("model1", base, tmp_path)
    older(tmp_path)
    change(tmp_path, fingerprints=model.fingerprints().tolist())  # of LoRA in fp32, as they were taken
    loaded = load(tmp_path, device="cpu")
    version, allowed = loaded.version, FACTOR * rounding_noise(loaded, loaded.fingerprints())
    assert allowed > 1e-3, "the noise of this base says nothing beyond the old threshold"
    exact = loaded.fingerprints().tolist()
    for off, fits in ((0.9e-3, True), (0.9 * allowed, True), (1.1 * allowed, False)):
        change(tmp_path, fingerprints=turned(exact, off))
        if fits:
            assert load(tmp_path, device="cpu").version == version
            continue
        with pytest.raises(UserError, match="does not give the vectors"):
            load(tmp_path, device="cpu")


def test_the_version_does_not_depend_on_what_newer_manifests_say(base: Path, tmp_path: Path) -> None:
    saved_in_bf16("model3", base, tmp_path)
    version = load(tmp_path, device="cpu").version
    older(tmp_path)
    assert load(tmp_path, device="cpu").version == version


def test_lora_that_does_nothing_has_no_effect(base: Path) -> None:
    model = new_model("model1", base, dtype="bfloat16")
    assert lora_effect(model, model.fingerprints()) > FLOOR
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.zero_()
    assert lora_effect(model, model.fingerprints()) == 0


def test_a_kernel_that_rounds_by_the_batch_is_not_chosen(base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    half, single, gpu = torch.bfloat16, torch.float32, torch.device("cuda")
    assert [choose_kernel(name, single, CPU) for name in (None, "sdpa", "eager")] == [None, "sdpa", "eager"]
    assert [choose_kernel(name, half, gpu) for name in (None, "sdpa", "eager")] == [None, "sdpa", "eager"]
    assert [choose_kernel(name, half, CPU) for name in (None, "eager")] == ["eager", "eager"]
    assert choose_kernel(None, torch.float16, CPU) == "eager"
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        assert new_model("model1", base, dtype="bfloat16", attn_implementation="sdpa").attn_implementation == "eager"
    assert "attention is computed by eager, not by sdpa as asked: in bfloat16 on a CPU that gives" in caplog.text


def test_an_adapter_is_loaded_with_the_kernel_that_it_was_trained_with(
    base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for kernel in ("sdpa", "eager"):
        save(new_model("model1", base, attn_implementation=kernel), tmp_path)
        assert load(tmp_path, device="cpu").attn_implementation == kernel
        assert load(tmp_path, device="cpu", trainable=True).attn_implementation == kernel
        assert load(tmp_path, device="cpu", dtype="bfloat16").attn_implementation == "eager"
    assert load(tmp_path, device="cpu", attn_implementation="sdpa").attn_implementation == "sdpa"
    assert not caplog.records, "what nobody asked for needs no line"
    change(tmp_path, attn_implementation="flash_attention_2")
    assert saved_kernel(read_manifest(tmp_path), torch.bfloat16, CPU) is None
    assert load(tmp_path, device="cpu").attn_implementation == "sdpa"


def run_script(name: str, *arguments: object, status: int = 0) -> str:
    command = [sys.executable, str(ROOT / name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "kernel"), WAYS)
@pytest.mark.parametrize("design", EVERY_DESIGN)
def test_train_load_in_a_new_process_and_evaluate(tmp_path: Path, design: str, dtype: str, kernel: str) -> None:
    """Of a base whose noise in bf16 is as large as a real LLM's."""
    base = write_base(tmp_path / "base", initializer_range=0.3)
    rows = triplets(24)
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row | {"negative": row.pop("negatives")}) + "\n" for row in rows))
    sizes = [word for name, value in small_sizes(design).items() for word in (f"--pooling_{name}", value)]
    run_script(
        "trainers/train.py", "--design", design, "--model_name_or_path", base, "--dataset_name", tmp_path / "rows.jsonl",
        "--output_dir", tmp_path / "run", "--per_device_train_batch_size", 8, "--max_steps", 12, "--learning_rate", 0.01,
        "--max_seq_length", 24, "--torch_dtype", dtype, "--attn_implementation", kernel, "--use_cpu",
        *sizes,
    )  # fmt: skip
    task = tmp_path / "eval" / "WordPairs"
    task.mkdir(parents=True)
    pairs = [{"sentence1": r["query"], "sentence2": r["positive"], "score": i % 5} for i, r in enumerate(rows)]
    (task / "test.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    sees_texts = design != "causal_first"  # it sees BOS alone, so that all texts have one vector, which has no score
    shown = run_script("run_mteb.py", "--adapter_path", tmp_path / "run", "--data_dir", tmp_path / "eval", "--tasks",
                       "WordPairs", "--output_dir", tmp_path / "results", "--device", "cpu",
                       status=0 if sees_texts else 1)  # fmt: skip
    assert "WordPairs" in shown
    if not sees_texts:
        assert "all its vectors" in shown
        return
    (record,) = (tmp_path / "results").rglob("recipes/WordPairs.json")
    encoder = json.loads(record.read_text())["encoder"]
    assert (encoder["dtype"], encoder["attention_kernel"]) == (dtype, "eager" if dtype == "bfloat16" else kernel)
