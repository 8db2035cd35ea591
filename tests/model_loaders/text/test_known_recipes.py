"""The named recipes give the vectors of the published codes (``../shared/neighbours/recipes``)."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from model_loaders.text.named import named_recipe
from model_loaders.text.recipe import Recipe
from model_loaders.text.render import read_texts
from tests.tiny import SHARED, new_model

NEIGHBOUR = SHARED / "neighbours" / "recipes"
pytestmark = pytest.mark.skipif(not NEIGHBOUR.is_dir(), reason="needs ../shared/neighbours/recipes")
WEB_SEARCH = "Given a web search query, retrieve relevant passages that answer the query"
ECHO = {"max_length": 512, "text_max_length": 16}
# By the beginning of the case's name: the recipe, its task's instruction, and the lengths of the case.
CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "e5_mistral": ("e5", WEB_SEARCH, {"max_length": 72}),
    "qwen3": ("qwen3", WEB_SEARCH, {"max_length": 72}),
    "gritlm": ("gritlm", "Retrieve the answer", {"max_length": 64}),
    "echo_query_mean": ("echo", "Retrieve passages that answer the question", ECHO),
    "echo_query_last": ("echo_last", "Retrieve passages that answer the question", ECHO),
    "echo_document_mean": ("echo", "", ECHO),
    "echo_document_last": ("echo_last", "", ECHO),
    "echo_zero_shot": ("echo_zero_shot", "", {}),
    "prompteol_cut32": ("prompteol", "", {"text_max_length": 32}),
    "prompteol": ("prompteol", "", {}),
}
GOLDEN = json.loads((NEIGHBOUR / "golden.json").read_text()) if NEIGHBOUR.is_dir() else {}


def case_of(name: str) -> tuple[str, Recipe, str]:
    """Return the design, the recipe and the prompt of a case."""
    start = next(start for start in CASES if name.startswith(start))
    recipe_name, instruction, lengths = CASES[start]
    named = named_recipe(recipe_name)
    recipe = replace(named.recipe, **lengths)
    prompt = recipe.instructed(instruction, "query") if "query" in name else recipe.prompt("document")
    return named.design, recipe, prompt


@pytest.mark.parametrize("name", list(GOLDEN))
def test_ids_positions_and_vectors_are_those_of_the_published_code(name: str) -> None:
    design, recipe, prompt = case_of(name)
    model = new_model(design, NEIGHBOUR / "base", lora=None, recipe=recipe)
    rows = GOLDEN[name]["rows"]
    texts = [row["text"] for row in rows]
    tokens = read_texts(model.tokenizer, recipe, texts, [prompt] * len(texts), recipe.max_length)
    assert tokens.ids == [row["ids"] for row in rows]
    if "mean" in GOLDEN[name]["pooling"]:
        assert tokens.pooled is not None
        for places, row in zip(tokens.pooled, rows, strict=True):
            assert list(places) == row["pooled"]

    expected = np.load(NEIGHBOUR / "golden.npz")[name]
    known = np.isfinite(expected).all(axis=1)
    assert known.sum() >= len(texts) - 1  # nothing is pooled of an empty text
    together = model.encode(texts, prompt=prompt, batch_tokens=10**6)
    alone = np.concatenate([model.encode([text], prompt=prompt) for text in texts])
    assert np.isfinite(together).all()
    assert np.abs(together - expected)[known].max() < 1e-5
    assert np.abs(alone - expected)[known].max() < 1e-5
