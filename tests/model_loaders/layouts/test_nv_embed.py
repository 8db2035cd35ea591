"""NV-Embed: a checkpoint made from code gives the vectors of its parts, the published one the published numbers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from evaluation.encode.lazy_model import LazyModel, open_adapter
from model_loaders import LoadOptions, UserError, load, load_design
from model_loaders.convert import main as convert
from model_loaders.create import create
from model_loaders.loading import plan_loading
from model_loaders.text.render import read_texts
from tests.model_loaders.layouts.write_layouts import PROOF, edit_json, edit_tensors, latent_pooling, write_nv_embed
from tests.tiny import ROOT, SHARED

GOLDEN = SHARED / "neighbours" / "nv_embed"
TEXTS = ["word1 word2 word3", "", "word4", " ".join(f"word{number}" for number in range(30))]
PROMPT = "word40 word41 "


@pytest.fixture(scope="module")
def checkpoint(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_nv_embed(tmp_path_factory.mktemp("nv") / "NV-Embed", base)


@pytest.fixture
def copy(base: Path, tmp_path: Path) -> Path:
    return write_nv_embed(tmp_path / "NV-Embed", base)


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> Any:
    return load(checkpoint, device="cpu")


@pytest.fixture(scope="module")
def parts(base: Path) -> Any:
    """The same model, put together from its base LLM and its pooling."""
    made = create("bidirectional_latent_attention", base, lora=None, pooling_sizes={"latents": 6, "heads": 2, "head_dim": 4})
    made.pooling.load_state_dict(latent_pooling().state_dict())
    return made.eval()


def test_vectors_are_those_of_the_parts(model: Any, parts: Any, checkpoint: Path) -> None:
    np.testing.assert_allclose(model.encode(TEXTS), parts.encode(TEXTS), atol=1e-6)
    for text, vector in zip(TEXTS, model.encode(TEXTS, prompt=PROMPT), strict=True):
        batch = parts.tokenizer.pad(parts.tokenizer.ids([PROMPT + text], 512))
        hidden = batch.attention_mask.clone()
        hidden[:, :3] = 0  # BOS and the two words of the instruction; of an empty text EOS is left
        with torch.no_grad():
            expected = parts(batch.input_ids, batch.attention_mask, hidden)[0].numpy()
        np.testing.assert_allclose(vector, expected, atol=1e-6)
    assert not (checkpoint / PROOF).exists()  # no code of the folder ran


def test_nothing_is_said_to_be_unused(checkpoint: Path, caplog: pytest.LogCaptureFixture) -> None:
    load(checkpoint, device="cpu")
    assert not caplog.records


def test_a_text_has_one_vector_in_any_batch(model: Any) -> None:
    for prompt in ("", PROMPT):
        together = model.encode(TEXTS, prompt=prompt)
        alone = model.encode(TEXTS, prompt=prompt, batch_size=1)
        assert (together * alone).sum(axis=1).min() >= 0.99999


def test_keys_and_values_are_made_once_an_encoding(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    make = model.pooling.keys_and_values
    monkeypatch.setattr(model.pooling, "keys_and_values", lambda: (made.append(1), make())[1])
    model.encode(TEXTS, batch_size=1)
    assert len(made) == 1
    model.encode(TEXTS[:1])
    assert len(made) == 2


def test_instructions_are_for_queries(model: Any) -> None:
    recipe = model.recipe
    assert recipe.instructed("Find it", "query") == "Instruct: Find it\nQuery: {text}"
    assert recipe.instructed("Find it", "document") == ""
    with pytest.raises(UserError, match="no room for the text"):
        model.encode(["word1"], prompt=" ".join(["word2"] * 30), max_length=24)


def test_the_version_is_known_before_loading(model: Any, checkpoint: Path, copy: Path) -> None:
    plan = plan_loading(None, None, checkpoint, LoadOptions(device="cpu"))
    assert plan.version() == model.version
    lazy = open_adapter(load, None, adapter_path=checkpoint, device="cpu")
    assert isinstance(lazy, LazyModel) and lazy.version == model.version and lazy.dim == model.dim
    assert plan_loading(None, None, copy, LoadOptions(device="cpu")).version() == model.version  # wherever it lies
    edit_tensors(copy / "model.safetensors", lambda tensors: tensors["latent_attention_model.latents"].mul_(1.01))
    changed = plan_loading(None, None, copy, LoadOptions(device="cpu")).version()
    edit_tensors(copy / "model.safetensors", lambda tensors: tensors["embedding_model.norm.weight"].mul_(1.01))
    assert len({model.version, changed, plan_loading(None, None, copy, LoadOptions(device="cpu")).version()}) == 3


def test_it_is_converted_to_our_layout(model: Any, checkpoint: Path, tmp_path: Path) -> None:
    assert convert([str(checkpoint), str(tmp_path / "ours")]) == 0
    again = load(tmp_path / "ours", device="cpu")
    np.testing.assert_array_equal(again.encode(TEXTS, prompt=PROMPT), model.encode(TEXTS, prompt=PROMPT))
    assert again.recipe == model.recipe and again.version == model.version


DAMAGE: dict[str, tuple[Callable[[dict[str, torch.Tensor]], Any], str]] = {
    "pooling tensor missing": (lambda t: t.pop("latent_attention_model.latents"), "1 missing, such as latents"),
    "decoder tensor missing": (lambda t: t.pop("embedding_model.norm.weight"), "lack 1 tensors.*embedding_model.norm.weight"),
    "pooling tensor misshapen": (
        lambda t: t.update({"latent_attention_model.latents": torch.ones(5, 32)}),
        r"latents is \(5, 32\), the model needs \(6, 32\)",
    ),
    "decoder tensor misshapen": (
        lambda t: t.update({"embedding_model.norm.weight": torch.ones(5)}),
        r"embedding_model.norm.weight is \(5,\), its config.json asks for \(32,\)",
    ),
    "pooling tensor unknown": (lambda t: t.update({"latent_attention_model.pos": torch.ones(2)}), "1 unused, such as pos"),
    "decoder tensor unknown": (
        lambda t: t.update({"embedding_model.layers.9.norm.weight": torch.ones(2)}),
        "hold 1 tensors that belong to no part.*layers.9",
    ),
    "tensor of no part": (lambda t: t.update(stray=torch.ones(2)), "hold 1 tensors that belong to no part.*such as stray"),
    "not finite": (lambda t: t["latent_attention_model.latents"].fill_(float("nan")), "NaN or infinite"),
    "no pooling": (
        lambda t: [t.pop(name) for name in list(t) if name.startswith("latent")],
        "no safetensors file with latent_attention_model",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_tensors(copy: Path, damage: str) -> None:
    change, message = DAMAGE[damage]
    edit_tensors(copy / "model.safetensors", change)
    with pytest.raises(UserError, match=message):
        load(copy, device="cpu")


@pytest.mark.parametrize("keep", [0, 100, -1])
def test_a_cut_file(copy: Path, keep: int) -> None:
    path = copy / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"no readable safetensors file.*take a fresh copy"):
        load(copy, device="cpu")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text_config": None}, "no 'text_config'"),
        ({"latent_attention_config": {"num_cross_heads": "two", "latent_dim": 32, "hidden_dim": 32}}, "positive whole number"),
        ({"latent_attention_config": []}, "latent_attention_config is no object"),
        ({"latent_attention_config": None}, "the model needs"),  # the published sizes
        ({"mask_type": "c"}, "mask_type is 'c'"),
        ({"model_type": "nvembed3"}, "of no layout that can be loaded; it holds: .*model.safetensors"),
    ],
)
def test_a_damaged_config(copy: Path, changes: dict[str, Any], message: str) -> None:
    edit_json(copy / "config.json", **changes)
    with pytest.raises(UserError, match=message):
        load(copy, device="cpu")


def test_what_is_asked_must_be_there(checkpoint: Path, base: Path) -> None:
    with pytest.raises(UserError, match="whose design is bidirectional_latent_attention, not model4"):
        load_design("model4", None, checkpoint, device="cpu")
    with pytest.raises(UserError, match="leave base_model out"):
        load(checkpoint, base, device="cpu")
    with pytest.raises(UserError, match="says 2 heads"):
        load_design(None, None, checkpoint, num_heads=3, device="cpu")


@pytest.fixture(scope="module")
def golden() -> Any:
    if not GOLDEN.is_dir():
        pytest.skip("the published numbers are not here")
    return np.load(GOLDEN / "golden.npz")


@pytest.fixture(scope="module")
def published(golden: Any) -> tuple[Any, dict[str, Any]]:
    return load(GOLDEN / "checkpoint", device="cpu"), json.loads((GOLDEN / "golden.json").read_text())


@pytest.mark.parametrize("instruction", range(5))
def test_published_vectors_with_the_mask_by_characters(published: Any, golden: Any, instruction: int) -> None:
    model, about = published
    prompt = about["instructions"][instruction]
    vectors = model.encode(about["texts"], prompt=prompt)
    assert np.abs(vectors - golden[f"i{instruction}_offset"]).max() <= 1e-5
    tokens = read_texts(model.tokenizer, model.recipe, about["texts"], [prompt] * len(about["texts"]), 4096)
    for places, mask in zip(tokens.pooled, golden[f"i{instruction}_offset_pool"], strict=True):
        assert list(places) == np.flatnonzero(mask).tolist()


@pytest.mark.parametrize("case", ["i0_L48_keepeos", "i0_L24_keepeos", "i1_L48_keepeos"])
@pytest.mark.parametrize("side", ["right", "left"])
def test_published_vectors_with_the_end_token_kept(published: Any, golden: Any, case: str, side: str) -> None:
    """Through the forward pass, with the published masks, padded on either side."""
    model, about = published
    ids, mask, pool_mask = (golden[f"{case}_{name}"].astype(np.int64) for name in ("ids", "mask", "pool"))
    if side == "left":
        free = [mask.shape[1] - int(row.sum()) for row in mask]
        ids, mask, pool_mask = (
            np.stack([np.roll(row, shift) for row, shift in zip(rows, free, strict=True)]) for rows in (ids, mask, pool_mask)
        )
    with torch.inference_mode():
        vectors = model(*(torch.from_numpy(rows) for rows in (ids, mask, pool_mask))).numpy()
    assert np.abs(vectors - golden[case]).max() <= 1e-5
    length = int(case.split("_L")[1].split("_")[0])
    found = model.encode(about["texts"], prompt=about["instructions"][int(case[1])], max_length=length)
    same = np.abs(found - golden[case]).max(axis=1) <= 1e-5
    # With an instruction the published mask, which counts tokens, pools the instruction's last one in four texts: there the
    # numbers contradict those of the mask by characters (i1_offset), which `encode` equals.
    assert np.flatnonzero(~same).tolist() == ([] if case.startswith("i0") else [4, 5, 6, 8])


def test_an_instruction_that_fills_the_window_is_refused(published: Any) -> None:
    model, about = published
    with pytest.raises(UserError, match=r"no room for the text.*maximum length is 24"):
        model.encode(about["texts"], prompt=about["instructions"][1], max_length=24)


@pytest.mark.slow
def test_in_a_new_process(checkpoint: Path, tmp_path: Path, model: Any) -> None:
    command = [sys.executable, "-m", "model_loaders.convert", str(checkpoint), str(tmp_path / "ours")]
    subprocess.run(command, cwd=ROOT, check=True, timeout=300)
    script = (
        f"import numpy, model_loaders; model = model_loaders.load({str(tmp_path / 'ours')!r}, device='cpu'); "
        f"numpy.save({str(tmp_path / 'vectors.npy')!r}, model.encode({TEXTS!r}, prompt={PROMPT!r}))"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, timeout=300)
    np.testing.assert_allclose(np.load(tmp_path / "vectors.npy"), model.encode(TEXTS, prompt=PROMPT), atol=1e-6)
