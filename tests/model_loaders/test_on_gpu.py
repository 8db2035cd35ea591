"""Encoding on a GPU: the CPU's vectors, whatever the batches, and batches that really do not fit are halved."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.model_loaders.test_encoding import TEXTS
from tests.on_gpu import needs_gpu
from tests.tiny import EVERY_DESIGN, WORDS, new_model, write_base

pytestmark = needs_gpu


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base with weights as wide as a trained model's, 64 wide: smaller heads leave the fused kernels."""
    sizes = {"hidden_size": 64, "num_attention_heads": 4, "head_dim": 16, "initializer_range": 0.1}
    return write_base(tmp_path_factory.mktemp("usual"), **sizes)


@pytest.mark.parametrize("design", EVERY_DESIGN)
def test_the_vectors_of_the_cpu(usual: Path, design: str) -> None:
    expected = new_model(design, usual).encode(TEXTS)
    model = new_model(design, usual, device="cuda")
    for options in ({}, {"batch_tokens": 60}, {"batch_size": 1}):
        assert float(np.abs(model.encode(TEXTS, **options) - expected).max()) <= 1e-5
    model = new_model(design, usual, device="cuda", dtype="bfloat16")
    assert float((model.encode(TEXTS) * expected).sum(axis=1).min()) > 0.99
    alone = np.concatenate([model.encode([text]) for text in TEXTS])
    assert float((model.encode(TEXTS) * alone).sum(axis=1).min()) > 0.999


def test_without_being_asked_it_is_bfloat16(usual: Path) -> None:
    model: Any = new_model("model1", usual, device=None, dtype=None)
    assert (model.device.type, model.dtype) == ("cuda", "bfloat16")


def test_batches_that_do_not_fit_are_halved(usual: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = new_model("causal_mean", usual, device="cuda")
    texts = [" ".join(WORDS[(row + k) % 50] for k in range(400)) for row in range(512)]
    expected = model.encode(texts)
    limit = torch.cuda.memory_allocated() + 64 * 2**20
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(limit / torch.cuda.get_device_properties(0).total_memory)
    try:
        with caplog.at_level(logging.WARNING):
            found = model.encode(texts, batch_tokens=10**9)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert "does not fit the memory of cuda" in caplog.text and model.fitting_tokens < 512 * 402
    np.testing.assert_allclose(found, expected, atol=1e-5)
