"""LLM2Vec's published numbers: what a re-implementation must equal, row by row."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_loaders import LoadOptions, UserError, load_design
from model_loaders.create import create
from model_loaders.text.render import read_texts
from tests.tiny import ROOT, SHARED, without_network

GOLDEN = SHARED / "neighbours" / "llm2vec"
FAMILIES = ["mistral", "llama", "qwen2", "gemma"]
EMPTY, SEPARATOR = (9, 10), 13
OFF_BY_ONE = {"mistral": [14], "gemma": [5]}  # rows where the published mask misses a token
MEANS = ["mean", "weighted_mean"]
DESIGNS = {"mean": "bidirectional_mean", "weighted_mean": "bidirectional_weighted_mean", "eos_token": "bidirectional_eos"}

pytestmark = pytest.mark.skipif(not GOLDEN.is_dir(), reason="the published numbers are not here")


@cache
def pairs() -> list[tuple[str, str]]:
    return [(instruction, text) for instruction, text in json.loads((GOLDEN / "pairs.json").read_text())]


@cache
def model_of(family: str, stage: str, pooling: str) -> Any:
    folder = GOLDEN / family
    below = folder / "mntp" if stage == "second" else None
    model = load_design(DESIGNS[pooling], below, folder / ("mntp" if stage == "base" else stage), device="cpu")
    if stage != "base":
        return model
    options = LoadOptions(device="cpu", dtype="float32")
    return create(DESIGNS[pooling], folder / "base", lora=None, recipe=model.recipe, options=options).eval()


def vectors_of(model: Any, length: int, batch_size: int | None = None) -> np.ndarray:
    """Vectors of the pairs, ``(16, hidden)``; NaN where the instruction leaves no room for the text."""
    found = np.full((len(pairs()), model.dim), np.nan)
    for instruction in {instruction for instruction, _ in pairs()}:
        rows = [row for row, pair in enumerate(pairs()) if pair[0] == instruction]
        prompt = model.recipe.instructed(instruction, "query")
        try:
            found[rows] = model.encode(
                [pairs()[row][1] for row in rows], "query", prompt=prompt, max_length=length, batch_size=batch_size
            )
        except UserError as error:
            assert "no room for the text" in str(error)
    return found


def compare(family: str, vectors: np.ndarray, array: str, rows: list[int]) -> None:
    golden = np.load(GOLDEN / family / "embeddings.npz")[array][rows]
    expected = golden / np.linalg.norm(golden, axis=1, keepdims=True)
    assert np.abs(vectors[rows] - expected).max() <= 1e-5, array


@pytest.mark.parametrize("stage", ["base", "mntp", "second"])
@pytest.mark.parametrize("family", FAMILIES)
def test_means_of_the_text(family: str, stage: str) -> None:
    for pooling in MEANS if stage == "second" else MEANS[:1]:
        texts = [row for row in range(16) if row not in EMPTY]
        vectors = vectors_of(model_of(family, stage, pooling), 512)
        compare(family, vectors, f"{stage}.{pooling}.sound.512", texts)
        if stage == "second":
            as_published = [row for row in texts if row != SEPARATOR and row not in OFF_BY_ONE.get(family, [])]
            compare(family, vectors, f"{stage}.{pooling}.skip.512.b1", as_published)
        assert np.isfinite(vectors).all()  # an empty text has all its tokens pooled
        singly = vectors_of(model_of(family, stage, pooling), 512, batch_size=1)
        assert (vectors * singly).sum(axis=1).min() >= 0.99999


@pytest.mark.parametrize("family", FAMILIES)
def test_cut_texts(family: str) -> None:
    """Where the published mask is empty, the instruction filled the window: an error here."""
    for pooling in MEANS:
        vectors = vectors_of(model_of(family, "second", pooling), 32)
        golden = np.load(GOLDEN / family / "embeddings.npz")[f"second.{pooling}.sound.32"]
        room = [row for row in range(16) if np.isfinite(golden[row]).all()]
        assert set(room) == {row for row in range(16) if np.isfinite(vectors[row]).all()} - set(EMPTY)
        compare(family, vectors, f"second.{pooling}.sound.32", room)


@pytest.mark.parametrize("family", FAMILIES)
def test_instructions_kept(family: str) -> None:
    model = model_of(family, "second", "mean")
    kept = replace(model.recipe, pooled="all")
    model.recipe, before = kept, model.recipe
    try:
        texts = [row for row in range(16) if row not in EMPTY]
        compare(family, vectors_of(model, 512), "second.mean.keep.512.b16", texts)
        fits = [row for row in texts if np.isfinite(vectors_of(model, 32)[row]).all()]
        compare(family, vectors_of(model, 32), "second.mean.keep.32.b1", fits)
    finally:
        model.recipe = before


@pytest.mark.parametrize("family", ["mistral", "qwen2", "gemma"])
def test_the_end_token(family: str) -> None:
    vectors = vectors_of(model_of(family, "second", "eos_token"), 512)
    compare(family, vectors, "second.eos_token.skip.512.b1", list(range(16)))
    compare(family, vectors, "second.eos_token.skip.512.b16", list(range(16)))


def read_as(family: str, pooling_mode: str, tmp_path: Path) -> Any:
    """The second adapter with another pooling mode in its settings."""
    folder = tmp_path / family
    folder.mkdir()
    for file in (GOLDEN / family / "second").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    settings = json.loads((folder / "llm2vec_config.json").read_text()) | {"pooling_mode": pooling_mode}
    (folder / "llm2vec_config.json").write_text(json.dumps(settings))
    return load_design(None, GOLDEN / family / "mntp", folder, device="cpu")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_last_and_the_first_token(family: str, tmp_path: Path) -> None:
    for mode in ("last_token", "bos_token"):
        array = f"second.{mode}.skip.32.b1"
        if array not in np.load(GOLDEN / family / "embeddings.npz"):
            assert (family, mode) == ("qwen2", "bos_token")  # its tokenizer has none
            continue
        model = read_as(family, mode, tmp_path / mode) if (tmp_path / mode).mkdir() is None else None
        vectors = vectors_of(model, 32)
        compare(family, vectors, array, [row for row in range(16) if row not in EMPTY and np.isfinite(vectors[row]).all()])


@pytest.mark.parametrize("family", FAMILIES)
def test_token_ids(family: str) -> None:
    golden = json.loads((GOLDEN / family / "tokens.json").read_text())["mntp.plain.512"]
    model = model_of(family, "mntp", "mean")
    prompts = [model.recipe.instructed(instruction, "query") for instruction, _ in pairs()]
    tokens = read_texts(model.tokenizer, model.recipe, [text for _, text in pairs()], prompts, 512)
    for row, (ids, pooled, expected) in enumerate(zip(tokens.ids, tokens.pooled, golden, strict=True)):
        if row in EMPTY:
            continue
        assert ids == expected["input_ids"]
        assert list(pooled) == [place for place, digit in enumerate(expected["sound_mask"]) if digit == "1"]


@pytest.mark.parametrize("family", FAMILIES)
def test_white_space_around_an_instruction(family: str) -> None:
    """The published code strips it, so that the vectors are those of the bare instruction."""
    model = model_of(family, "second", "mean")
    vectors = vectors_of(model, 512)
    for row in (3, 5, 7):
        instruction, text = pairs()[row]
        prompt = model.recipe.instructed(f" \n{instruction}\t ", "query")
        np.testing.assert_allclose(model.encode([text], "query", prompt=prompt)[0], vectors[row], atol=1e-6)


ENCODE = """
import json, sys
import numpy as np
from model_loaders import load
folder, pairs, out = sys.argv[1:]
model = load(folder, device="cpu", dtype="float32")
vectors = []
for instruction, text in json.loads(open(pairs).read()):
    vectors.append(model.encode([text], "query", prompt=model.recipe.instructed(instruction, "query"))[0])
np.save(out, np.stack(vectors))
"""


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["mntp", "second"])
@pytest.mark.parametrize("family", FAMILIES)
def test_converted_and_loaded_in_a_new_process(family: str, stage: str, tmp_path: Path) -> None:
    """Without network, by the command line; the vectors are the published ones and those before."""
    folder, ours, out = GOLDEN / family, tmp_path / "ours", tmp_path / "vectors.npy"
    below = ["--base_model", str(folder / ("mntp" if stage == "second" else "base"))]
    run_alone("-m", "model_loaders.convert", str(folder / stage), str(ours), *below)
    run_alone("-c", ENCODE, str(ours), str(GOLDEN / "pairs.json"), str(out))
    vectors = np.load(out)
    compare(family, vectors, f"{stage}.mean.sound.512", [row for row in range(16) if row not in EMPTY])
    assert np.abs(vectors - vectors_of(model_of(family, stage, "mean"), 512)).max() <= 1e-6


def run_alone(*words: str) -> None:
    """Run Python in a process of its own, without network."""
    offline = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*without_network(), sys.executable, *words], capture_output=True, text=True, timeout=300, env=offline, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_chat_template_is_put_around(tmp_path: Path) -> None:
    folder = tmp_path / "mntp"
    folder.mkdir()
    for file in (GOLDEN / "mistral" / "mntp").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    config = json.loads((folder / "config.json").read_text()) | {"_name_or_path": "mistralai/Mistral-7B-Instruct-v0.2"}
    (folder / "config.json").write_text(json.dumps(config))
    adapter = json.loads((folder / "adapter_config.json").read_text())
    adapter["base_model_name_or_path"] = str(GOLDEN / "mistral" / "base")
    (folder / "adapter_config.json").write_text(json.dumps(adapter))
    model = load_design(None, folder, GOLDEN / "mistral" / "second", device="cpu")
    vectors = vectors_of(model, 512)
    tokens = json.loads((GOLDEN / "mistral" / "tokens.json").read_text())["mntp.chat.512"]
    rows = [row for row in range(16) if tokens[row]["embed_mask"] == tokens[row]["sound_mask"]]
    compare("mistral", vectors, "second.mean.skip.512.chat.b1", rows)
    prompts = [model.recipe.instructed(instruction, "query") for instruction, _ in pairs()]
    found = read_texts(model.tokenizer, model.recipe, [text for _, text in pairs()], prompts, 512)
    assert len(rows) == 10 and found.ids[8] == tokens[8]["input_ids"]  # spaces at the end
