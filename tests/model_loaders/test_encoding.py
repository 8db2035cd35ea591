"""One way from texts to vectors: a budget of tokens, order, counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model_loaders import UserError
from model_loaders.encoding import batches
from tests.conftest import WORDS, new_model

TEXTS = [" ".join(WORDS[start : start + length]) for start, length in enumerate([3, 0, 40, 1, 9, 9, 21, 2, 5])]


def test_batches_hold_at_most_the_budget_of_padded_tokens() -> None:
    lengths = np.array([50, 20, 9, 9, 3, 2, 2, 1])
    assert list(batches(lengths, 20, None)) == [slice(0, 1), slice(1, 2), slice(2, 4), slice(4, 8)]
    assert list(batches(lengths, 10**6, 3)) == [slice(0, 3), slice(3, 6), slice(6, 8)]
    assert list(batches(lengths[:0], 20, None)) == []


def test_tokens_and_cuts_are_counted_in_the_order_of_the_texts(base: Path) -> None:
    model = new_model("model1", base)
    seen: list[tuple[int, int]] = []
    found = model.encode_counted(TEXTS, max_length=11, batch_tokens=24, on_batch=lambda *counts: seen.append(counts))
    assert found.tokens.tolist() == [5, 2, 11, 3, 11, 11, 11, 4, 7]  # with <s> and </s>
    assert found.cut.tolist() == [False, False, True, False, False, False, True, False, False]
    assert (found.tokens.dtype, found.cut.dtype, found.vectors.dtype) == (np.int32, np.bool_, np.float32)
    assert np.array(seen).sum(axis=0).tolist() == [len(TEXTS), found.tokens.sum()] and len(seen) > 3
    alone = np.concatenate([model.encode([text], max_length=11) for text in TEXTS])
    np.testing.assert_allclose(found.vectors, alone, atol=1e-6)


def test_no_texts_have_no_vectors(base: Path) -> None:
    found = new_model("model1", base).encode_counted([])
    assert found.vectors.shape == (0, 32) and found.tokens.shape == found.cut.shape == (0,)


@pytest.mark.parametrize("option", ["batch_tokens", "batch_size"])
def test_an_empty_batch_is_refused(base: Path, option: str) -> None:
    with pytest.raises(UserError, match=f"{option} must be at least 1"):
        new_model("model1", base).encode(["word1"], **{option: 0})
