"""KaLM-Embedding's way of reading gives the vectors of sentence-transformers (``../shared/neighbours/kalm``)."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from model_loaders.text.named import named_recipe
from tests.tiny import SHARED, new_model

NEIGHBOUR = SHARED / "neighbours" / "kalm"
pytestmark = pytest.mark.skipif(not NEIGHBOUR.is_dir(), reason="needs ../shared/neighbours/kalm")


@pytest.mark.parametrize(("recipe", "attention"), [("kalm_v1", "causal"), ("kalm", "bidirectional")])
def test_vectors_are_those_of_sentence_transformers(recipe: str, attention: str) -> None:
    golden, vectors = json.loads((NEIGHBOUR / "golden.json").read_text()), np.load(NEIGHBOUR / "golden.npz")
    named = named_recipe(recipe)
    model = new_model(named.design, NEIGHBOUR / "checkpoint", lora=None, recipe=named.recipe)
    texts, instruction = golden["texts"], "Classify the sentiment of the given text"
    prompt = named.recipe.instructed(instruction, "query")
    assert prompt.replace("{text}", "") == golden["prompt"]

    settings = {"plain": {}, "single": {"batch_size": 1}, "prompt": {"prompt": prompt}, "max16": {"max_length": 16}}
    for case, options in settings.items():
        found = model.encode(texts, batch_tokens=10**6, **options)
        assert np.abs(found - vectors[f"{attention}_{case}"]).max() < 1e-5, case
    for dim in golden["dims"]:
        if f"{attention}_dim{dim}" not in vectors:
            continue
        found = model.encode(texts, dimensions=dim)
        assert np.abs(found - vectors[f"{attention}_dim{dim}"]).max() < 1e-5
        shorter = new_model(named.design, NEIGHBOUR / "checkpoint", lora=None, recipe=replace(named.recipe, dimensions=dim))
        assert shorter.dim == dim
        assert np.abs(shorter.encode(texts) - found).max() < 1e-6
        assert shorter.version != model.version
    assert np.isfinite(model.encode([""])).all()
