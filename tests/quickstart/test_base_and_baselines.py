"""The shipped base model and its tokenizer; the baselines' shapes and that they find what they should."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from quickstart import baselines
from tests.tiny import ROOT

BASE = ROOT / "quickstart" / "base"
TEXTS = ["a sorted list of numbers", "an image in a window", "the inverse of a square matrix", ""]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(BASE)


@pytest.fixture(scope="module")
def triplets() -> list[tuple[str, str, str]]:
    return [(f"find {text}", f"returns {text}", TEXTS[0]) for text in TEXTS[1:3]] * 4


def test_the_base_model_is_small_and_whole() -> None:
    assert (BASE / "model.safetensors").stat().st_size <= 9_000_000
    model = AutoModelForCausalLM.from_pretrained(BASE)
    assert type(model).__name__ == "MistralForCausalLM" and model.dtype == torch.bfloat16
    assert model.num_parameters() <= 4_500_000
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())


def test_the_base_model_predicts_better_than_counting_pairs() -> None:
    facts = json.loads((BASE / "pretraining.json").read_text())
    perplexity = facts["perplexity"]
    assert perplexity["model"] < perplexity["bigram"] < perplexity["unigram"]
    card = (BASE / "README.md").read_text()
    assert all(str(perplexity[name]) in card for name in perplexity) and "CC BY 3.0" in card


def test_the_tokenizer_brackets_every_text(tokenizer: Any) -> None:
    encoded = tokenizer("Compute the mean.")
    assert set(encoded) == {"input_ids", "attention_mask"}
    ids = encoded["input_ids"]
    assert ids[0] == tokenizer.bos_token_id and ids[-1] == tokenizer.eos_token_id
    cut = tokenizer("many words " * 50, truncation=True, max_length=16)["input_ids"]
    assert len(cut) == 16 and cut[0] == tokenizer.bos_token_id and cut[-1] == tokenizer.eos_token_id
    assert len({tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id}) == 4
    assert tokenizer("")["input_ids"] == [tokenizer.bos_token_id, tokenizer.eos_token_id]


def test_the_tokenizer_represents_every_text(tokenizer: Any) -> None:
    ids = tokenizer("naïve Ω 漢字 🙂", add_special_tokens=False)["input_ids"]
    assert tokenizer.unk_token_id not in ids and tokenizer.decode(ids) == "naïve ω 漢字 🙂"
    assert ids == tokenizer("NAÏVE ω 漢字 🙂", add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("name", ["tfidf", "static_bag"])
def test_a_baseline_encodes_to_unit_rows(name: str, triplets: list[tuple[str, str, str]]) -> None:
    encoder = baselines.make(name, triplets, BASE)
    vectors = encoder.encode(TEXTS, "document", max_length=64)
    assert vectors.dtype == np.float32 and vectors.shape[0] == len(TEXTS) and np.isfinite(vectors).all()
    np.testing.assert_allclose(np.linalg.norm(vectors[:3], axis=1), 1, rtol=1e-5)
    assert not vectors[3].any()
    queries = encoder.encode(["the image in the window", "matrix inverse"], "query")
    assert (queries @ vectors[:3].T).argmax(axis=1).tolist() == [1, 2]
    alone = np.concatenate([encoder.encode([text]) for text in TEXTS])
    np.testing.assert_allclose(alone, vectors, atol=1e-6)


def test_hashed_tfidf_scores_are_those_of_plain_tfidf(triplets: list[tuple[str, str, str]]) -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer

    fitted = sorted({text for query, positive, _ in triplets for text in (query, positive)})
    plain = TfidfVectorizer(sublinear_tf=True).fit(fitted).transform(fitted).toarray()
    hashed = baselines.TfIdf(triplets).encode(fitted)
    np.testing.assert_allclose(hashed @ hashed.T, plain @ plain.T, atol=1e-5)


def test_an_unknown_baseline_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="tfidf, static_bag"):
        baselines.make("bm26", [], BASE)
