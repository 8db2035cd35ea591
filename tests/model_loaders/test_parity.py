"""Published adapters give the published vectors: golden numbers made with the published code."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from model_loaders.text.tokenizer import TextTokenizer, load_tokenizer

HEADS = 4  # of the golden poolings; no shape tells it


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("design", ["model1", "model2", "model3", "model4", "model5"])
def test_vectors_equal_the_published_ones(parity: Path, design: str, attention: str) -> None:
    golden = np.load(parity / f"golden_{design}.npz")
    texts, expected = [str(text) for text in golden["texts"]], golden["embeddings_single"]
    loader = importlib.import_module(f"model_loaders.{design}").EmbedModel
    model = loader(parity / "base", parity / "adapters" / design, num_heads=HEADS, attn_implementation=attention, device="cpu")
    one_batch = model.encode(texts, max_length=64)
    one_by_one = model.encode(texts, max_length=64, batch_size=1)
    with torch.no_grad():  # the published left padding, through forward
        forward = model(torch.tensor(golden["input_ids"]), torch.tensor(golden["attention_mask"])).numpy()
    for vectors in (one_batch, one_by_one, forward):
        np.testing.assert_allclose(vectors, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("directory", "golden"), [("base", "base"), ("adapters/model5", "adapter5"), ("tokenizer_stock", "stock+add_bos+eos")]
)
def test_token_ids_equal_the_published_ones(parity: Path, directory: str, golden: str) -> None:
    expected = json.loads((parity / "tokenizer_ids_transformers4.40.2.json").read_text())[golden]["ids"]
    texts = [str(text) for text in np.load(parity / "golden_model1.npz")["texts"]]
    assert TextTokenizer(load_tokenizer(parity / directory)).ids(texts, 64) == expected
