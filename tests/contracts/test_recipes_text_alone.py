"""With any recipe too, a text's vector depends on the text alone, and the pooled tokens are those that the recipe says."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model_loaders import DESIGNS, load
from model_loaders.saving import save
from model_loaders.text.named import named_recipe, recipe_names
from model_loaders.text.recipe import Recipe
from model_loaders.text.render import read_texts
from tests.contracts.test_text_alone import TEXTS, worst
from tests.tiny import EVERY_DESIGN, WORDS, new_model
from trainers.step.batch import TripletCollator

LENGTH = 40
TEMPLATE = "word20 {prompt} word21 {text}"
RECIPES: dict[str, Recipe] = {
    "text": Recipe(prompt_template=TEMPLATE, pooled="text", end_token="none", max_length=LENGTH),
    "after the prompt": Recipe(prompt_template=TEMPLATE, pooled="after_prompt", max_length=LENGTH),
    "text before and behind": Recipe(
        query_prompt="word22 {text} word23 {text} word24", pooled="text_and_end", truncation="text", max_length=LENGTH
    ),
    "dimensions": Recipe(dimensions=8, max_length=LENGTH),
}


def check(model: Any, cosine: float = 0.99999) -> None:
    """Compare texts alone with batches of other sizes, orders and mates, for both roles."""
    assert isinstance(model.recipe, Recipe)
    prompt = model.recipe.instructed("word25 word26", "query")
    for role, given in (("query", prompt), ("document", model.recipe.prompt("document"))):
        options = {"prompt": given}
        alone = np.concatenate([model.encode([text], role, **options) for text in TEXTS])
        assert np.isfinite(alone).all() and alone.shape[1] == model.dim
        np.testing.assert_allclose(np.linalg.norm(alone, axis=1), 1, atol=1e-5)
        order = random.Random(0).sample(range(len(TEXTS)), len(TEXTS))
        mixed = model.encode([TEXTS[index] for index in order], role, batch_size=4, **options)
        assert worst(model.encode(TEXTS, role, **options), alone) >= cosine
        assert worst(mixed, alone[order]) >= cosine
        assert worst(model.encode([*TEXTS[3:6], *["word49"] * 5], role, **options)[:3], alone[3:6]) >= cosine


@pytest.mark.parametrize("attention", ["sdpa", pytest.param("eager", marks=pytest.mark.slow)])
@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("design", EVERY_DESIGN)
def test_every_design_with_each_kind_of_recipe(base: Path, design: str, recipe: str, attention: str) -> None:
    check(new_model(design, base, attn_implementation=attention, recipe=RECIPES[recipe]).eval())


@pytest.mark.parametrize("name", recipe_names())
def test_every_named_recipe(make_base: Callable[..., Path], name: str) -> None:
    named = named_recipe(name)
    model = new_model(named.design, make_base(pad="</s>"), recipe=named.recipe).eval()
    check(model)


def check_tokens(model: Any, cosine: float) -> None:
    """Training and serving read the same tokens; what is pooled, and the last token, is what the recipe says."""
    recipe, tokenizer = model.recipe, model.tokenizer
    texts = [text for text in TEXTS if text.startswith("word")]
    batch = TripletCollator(tokenizer, recipe)([{"query": text, "positive": text, "negatives": []} for text in texts])
    padded = tokenizer.pad(batch.ids, batch.pooled)
    with torch.inference_mode():
        trained = model(padded.input_ids, padded.attention_mask, padded.pool_mask)
    assert trained.dtype == torch.float32  # unit norm in fp32, whatever the backbone's dtype
    served = np.concatenate([model.encode(texts, "query"), model.encode(texts, "document")])
    assert worst(trained.numpy(), served) >= cosine
    for row, ids, mask in zip([*texts, *texts], batch.ids, padded.pool_mask, strict=True):
        assert len(ids) <= LENGTH and (not tokenizer.back or tuple(ids[-len(tokenizer.back) :]) == tokenizer.back)
        pooled = mask[: len(ids)].bool().tolist()
        words = tokenizer.tokenizer.convert_ids_to_tokens([token for token, read in zip(ids, pooled, strict=True) if read])
        if recipe.pooled == "all":
            assert all(pooled)
        elif recipe.pooled == "text" and not recipe.text_edits and set(row.split()) <= set(WORDS):
            assert words == row.split()[: len(words)] and words


@pytest.mark.slow
@pytest.mark.parametrize(
    ("attention", "dtype", "cosine"),
    # In bf16 on a CPU a model that is asked for sdpa is computed by eager.
    [("sdpa", "float32", 0.99999), ("eager", "float32", 0.99999), ("eager", "bfloat16", 0.999)],
)
@pytest.mark.parametrize("design", DESIGNS)
def test_every_named_recipe_with_every_design(
    make_base: Callable[..., Path], tmp_path: Path, design: str, attention: str, dtype: str, cosine: float
) -> None:
    """An adapter of each is saved and loaded, with its checks of attention and fingerprints, and keeps vectors and recipe."""
    base = make_base(pad="<unk>", initializer_range=0.1)
    for name in recipe_names():
        recipe = replace(named_recipe(name).recipe, max_length=LENGTH)
        made = new_model(design, base, attn_implementation=attention, recipe=recipe).eval()
        save(made, tmp_path / name)
        model = load(tmp_path / name, dtype=dtype, attn_implementation=attention, device="cpu")
        assert (model.recipe, model.design_name, model.attn_implementation) == (recipe, design, attention)
        assert {parameter.dtype for parameter in model.parameters()} == {getattr(torch, dtype)}
        assert worst(model.encode(TEXTS), made.encode(TEXTS)) >= (cosine if dtype == "float32" else 0.99)
        check(model, cosine)
        check_tokens(model, cosine)


@pytest.mark.parametrize("length", [6, 8, LENGTH])
def test_what_is_pooled_is_the_text(base: Path, length: int) -> None:
    """Also where texts are cut: the prompt stays, and neither it nor BOS is pooled."""
    model = new_model("bidirectional_mean", base, recipe=RECIPES["text"])
    prompt = model.recipe.instructed("word25", "query")
    texts = ["word1", "word1 word2 word3 word4 word5", "word6 " * 60]
    tokens = read_texts(model.tokenizer, model.recipe, texts, [prompt] * 3, length)
    assert tokens.pooled is not None
    for row, pooled, text in zip(tokens.ids, tokens.pooled, texts, strict=True):
        words = model.tokenizer.tokenizer.convert_ids_to_tokens([row[place] for place in pooled])
        assert words == text.split()[: len(words)] and words and len(row) <= length
        assert row[:4] == model.tokenizer.tokenizer("word20 word25 word21")["input_ids"]
