"""KaLM-Embedding's tiny checkpoint, read as the sentence-transformers folder that it is, gives the published code's vectors."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_loaders import load
from tests.tiny import SHARED

KALM = SHARED / "neighbours" / "kalm"
DESIGNS = {"causal": "causal_mean", "bidirectional": "bidirectional_mean"}
DIMENSIONS = [32, 16, 8]

pytestmark = pytest.mark.skipif(not KALM.is_dir(), reason="the published code's vectors are not here")


@pytest.fixture(scope="module", params=DESIGNS)
def attention(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def model(attention: str) -> Any:
    return load(KALM / "checkpoint", design=DESIGNS[attention], device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def golden() -> tuple[dict[str, Any], Any]:
    return json.loads((KALM / "golden.json").read_text(encoding="utf-8")), np.load(KALM / "golden.npz")


def off(vectors: np.ndarray, expected: np.ndarray, texts: list[str]) -> float:
    """Return the largest difference, of texts that have a token."""
    real = [bool(text) for text in texts]
    assert np.isfinite(vectors).all()
    return float(np.abs(vectors[real] - expected[real]).max())


def test_vectors(model: Any, attention: str, golden: tuple[dict[str, Any], Any]) -> None:
    facts, arrays = golden
    texts = facts["texts"]
    assert off(model.encode(texts), arrays[f"{attention}_plain"], texts) <= 1e-5
    assert off(model.encode(texts, batch_size=3), arrays[f"{attention}_plain"], texts) <= 1e-5
    alone = np.concatenate([model.encode([text]) for text in texts])
    assert off(alone, arrays[f"{attention}_single"], texts) <= 1e-5
    assert off(model.encode(texts, max_length=16), arrays[f"{attention}_max16"], texts) <= 1e-5
    prompted = model.encode(texts, prompt=facts["prompt"])
    assert np.abs(prompted - arrays[f"{attention}_prompt"]).max() <= 1e-5
    instruction = facts["prompt"].removeprefix("Instruct: ").removesuffix(" \n Query: ")
    assert f"Instruct: {instruction} \n Query: " == facts["prompt"]


@pytest.mark.parametrize("dimensions", DIMENSIONS)
def test_dimensions(model: Any, attention: str, golden: tuple[dict[str, Any], Any], dimensions: int) -> None:
    facts, arrays = golden
    vectors = model.encode(facts["texts"], dimensions=dimensions)
    assert off(vectors, arrays[f"{attention}_dim{dimensions}"], facts["texts"]) <= 1e-5


def test_the_names_of_the_table(tmp_path: Path, golden: tuple[dict[str, Any], Any]) -> None:
    facts, arrays = golden
    for name, attention in (
        ("HIT-TMG/KaLM-embedding-multilingual-mini-instruct-v1.5", "causal"),
        ("HIT-TMG/KaLM-embedding-multilingual-mini-instruct-v2", "bidirectional"),
    ):
        folder = tmp_path / name
        shutil.copytree(KALM / "checkpoint", folder)
        model = load(folder, device="cpu", dtype="float32")
        assert model.design_name == DESIGNS[attention]
        instruction = facts["prompt"].removeprefix("Instruct: ").removesuffix(" \n Query: ")
        prompt = model.recipe.instructed(instruction, "query")
        vectors = model.encode(facts["texts"], "query", prompt=prompt)
        assert np.abs(vectors - arrays[f"{attention}_prompt"]).max() <= 1e-5
