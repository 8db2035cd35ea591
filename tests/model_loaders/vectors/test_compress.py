"""Compressed vectors are those of sentence-transformers, and come back as near as their steps are fine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import quantize_embeddings

from common.errors import UserError
from model_loaders.vectors.compress import PRECISIONS, Precision, bytes_of, compress, ranges_of, restore, unit
from tests.tiny import WORDS, new_model


def vectors(count: int = 120, width: int = 20) -> np.ndarray:
    return unit(np.random.default_rng(0).normal(size=(count, width)).astype(np.float32))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("width", [16, 20])
def test_as_sentence_transformers(precision: Precision, width: int) -> None:
    own, corpus = vectors(width=width), vectors(300, width)
    theirs = quantize_embeddings(own, precision)
    assert np.array_equal(compress(own, precision), theirs) and compress(own, precision).dtype == theirs.dtype
    ranges = ranges_of(corpus)
    assert np.array_equal(compress(own * 2, precision, ranges), quantize_embeddings(own * 2, precision, ranges=ranges))
    assert compress(own, precision)[0].nbytes == bytes_of(width, precision)
    assert compress(own[:0], precision).shape == quantize_embeddings(own[:0], precision).shape


@pytest.mark.parametrize("precision", ["int8", "uint8"])
def test_steps_come_back(precision: Precision) -> None:
    own = vectors()
    ranges = ranges_of(own)
    again = restore(compress(own, precision, ranges), precision, 20, ranges)
    assert (np.abs(again - own) <= (ranges[1] - ranges[0]) / 255 * 0.51).all()


@pytest.mark.parametrize("precision", ["binary", "ubinary"])
def test_signs_come_back(precision: Precision) -> None:
    own = vectors()
    assert np.array_equal(restore(compress(own, precision), precision, 20), np.where(own > 0, 1, -1))


def test_what_cannot_be_compressed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="did you mean 'int8'"):
        compress(vectors(), "int4")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="one vector"):
        compress(vectors(1), "int8")
    with pytest.raises(UserError, match=r"\(2, 20\)"):
        compress(vectors(), "int8", ranges_of(vectors(width=8)))
    with pytest.raises(UserError, match="ranges"):
        restore(compress(vectors(), "int8"), "int8", 20)
    compress(vectors(5), "int8")
    assert "come from 5 vectors" in capsys.readouterr().err


def test_encode(base: Path) -> None:
    model = new_model("causal_mean", base)
    plain = model.encode(WORDS, dimensions=16)
    assert np.array_equal(model.encode(WORDS, dimensions=16, precision="binary"), compress(plain, "binary"))
    ranges = ranges_of(plain)
    assert np.array_equal(model.encode(WORDS, dimensions=16, precision="int8", ranges=ranges), compress(plain, "int8", ranges))
    with pytest.raises(UserError, match="precision"):
        model.encode(WORDS, precision="half")


def test_an_option_that_is_none(base: Path) -> None:
    with pytest.raises(TypeError, match="presision"):
        new_model("causal_mean", base).encode(WORDS, presision="int8")
