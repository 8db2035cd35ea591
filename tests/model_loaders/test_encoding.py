"""One way from texts to vectors: a budget of tokens, order, counts, and what does not fit or is not finite."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from model_loaders import UserError, encoding
from model_loaders.backbone.launch_cost import MOST, launch_tokens
from model_loaders.backbone.lora_encoding import is_plain
from model_loaders.encoding import Vectors, out_of_memory, ready, texts_of_batch
from tests.model_loaders.families import FAMILIES
from tests.tiny import EVERY_DESIGN, ROOT, WORDS, new_model

TEXTS = [" ".join(WORDS[start : start + length]) for start, length in enumerate([3, 0, 40, 1, 9, 9, 21, 2, 5])]
LENGTHS = [5, 2, 42, 3, 11, 11, 23, 4, 7]  # with <s> and </s>
KERNEL = {"gemma2": "eager"}  # its scores are capped, which sdpa cannot do


def masked(model: Any, texts: list[str] = TEXTS) -> np.ndarray:
    """The vectors of one padded batch, with its mask, and LoRA as peft computes it."""
    batch = model.tokenizer.pad(model.tokenizer.ids(texts, 512))
    with torch.no_grad():
        return model.eval()(batch.input_ids, batch.attention_mask, batch.pool_mask).numpy()


def test_a_batch_has_at_most_the_budget_of_padded_tokens() -> None:
    assert [texts_of_batch(longest, 20, None) for longest in (50, 20, 9, 1)] == [1, 1, 2, 20]
    assert texts_of_batch(9, 10**6, 3) == 3


def test_tokens_and_cuts_are_counted_in_the_order_of_the_texts(base: Path) -> None:
    model = new_model("model1", base)
    seen: list[tuple[int, int]] = []
    found = model.encode_counted(TEXTS, max_length=11, batch_tokens=24, on_batch=lambda *counts: seen.append(counts))
    assert found.tokens.tolist() == [min(length, 11) for length in LENGTHS]
    assert found.cut.tolist() == [length > 11 for length in LENGTHS]
    assert (found.tokens.dtype, found.cut.dtype, found.vectors.dtype) == (np.int32, np.bool_, np.float32)
    assert seen == [(2, 22), (2, 22), (3, 16), (2, 5)]
    alone = np.concatenate([model.encode([text], max_length=11) for text in TEXTS])
    np.testing.assert_allclose(found.vectors, alone, atol=1e-6)


@pytest.mark.parametrize(("design", "dtype"), [("model1", "bfloat16"), ("model3", "float32"), ("model5", "bfloat16")])
def test_threads_have_the_vectors_of_one(base: Path, design: str, dtype: str) -> None:
    """With one model and with two; a packed pass and hooks on layers are seen by every thread that runs the modules."""
    expected = new_model(design, base, dtype=dtype).encode(TEXTS)
    models = [new_model(design, base, dtype=dtype) for _ in range(2)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    try:
        with ThreadPoolExecutor(4) as threads:
            found = list(threads.map(lambda number: models[number % 3 // 2].encode(TEXTS, batch_size=3), range(24)))
    finally:
        sys.setswitchinterval(before)
    for vectors in [*found, *(model.encode(TEXTS) for model in models)]:
        assert (vectors * expected).sum(axis=1).min() > 0.9999


def test_no_texts_have_no_vectors(base: Path) -> None:
    found = new_model("model1", base).encode_counted([])
    assert found.vectors.shape == (0, 32) and found.tokens.shape == found.cut.shape == (0,)


@pytest.mark.parametrize("option", ["batch_tokens", "batch_size"])
def test_an_empty_batch_is_refused(base: Path, option: str) -> None:
    with pytest.raises(UserError, match=f"{option} must be at least 1"):
        new_model("model1", base).encode(["word1"], **{option: 0})


@pytest.mark.parametrize("family", [*FAMILIES, "gpt2"])
@pytest.mark.parametrize("design", EVERY_DESIGN)
def test_the_fast_way_gives_the_vectors_of_the_masked_way(make_base: Callable[..., Path], family: str, design: str) -> None:
    model_type, changes = FAMILIES.get(family, ("gpt2", {"n_embd": 32, "n_layer": 3, "n_head": 4}))
    # Weights as wide as in a trained model: with wider ones rounding alone is above 1e-6.
    base = make_base(model_type, initializer_range=0.1, **changes)
    model = new_model(design, base, attn_implementation=KERNEL.get(family))
    expected = masked(model)
    for options in ({}, {"batch_tokens": 60}, {"batch_size": 1}):  # one padded batch, some, and texts alone
        found = model.encode(TEXTS, **options)
        assert float(np.abs(found - expected).max()) <= 1e-6
        assert float((found.astype(np.float64) * expected).sum(axis=1).min()) >= 0.99999


@pytest.mark.parametrize(("design", "padded"), [("model1", False), ("causal_mean", False), ("model4", True), ("model5", True)])
def test_a_mask_is_made_only_where_a_token_could_see_padding(
    base: Path, monkeypatch: pytest.MonkeyPatch, design: str, padded: bool
) -> None:
    model = new_model(design, base)
    given: list[bool] = []
    forward = model.backbone.forward

    def spy(**inputs: Any) -> Any:
        given.append(inputs.get("attention_mask") is not None)
        assert not torch.is_grad_enabled() and inputs["use_cache"] is False
        return forward(**inputs)

    monkeypatch.setattr(model.backbone, "forward", spy)
    model.encode(["word1 word2", "word3"])
    model.encode(["word1 word2", "word3 word4"])
    assert given == [padded, False]


def short_of_memory(model: Any, limit: int, error: type[Exception] = torch.OutOfMemoryError) -> list[tuple[int, int]]:
    """Let the model's forward pass fail above ``limit`` padded tokens; returns the shapes of those that went through."""
    forward, done = model.backbone.forward, []

    def limited(**inputs: Any) -> Any:
        ids = inputs["input_ids"]
        if ids.numel() > limit:
            raise error("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes")
        done.append(tuple(ids.shape))
        return forward(**inputs)

    model.backbone.forward = limited
    return done


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError, MemoryError])
def test_a_batch_that_does_not_fit_is_halved_and_that_is_remembered(
    base: Path, caplog: pytest.LogCaptureFixture, error: type[Exception]
) -> None:
    model = new_model("model1", base)
    expected = model.encode(TEXTS)
    done = short_of_memory(model, 60, error)
    with caplog.at_level(logging.WARNING):
        found = model.encode_counted(TEXTS, batch_tokens=85)
    np.testing.assert_allclose(found.vectors, expected, atol=1e-6)
    assert model.fitting_tokens == 42
    assert done == [(1, 42), (1, 23), (3, 11), (4, 5)] and len(caplog.records) == 1
    assert "2 texts of up to 42 tokens" in caplog.text and "at most 42 tokens" in caplog.text
    caplog.clear()
    np.testing.assert_allclose(model.encode(TEXTS), expected, atol=1e-6)
    assert done[4:] == done[:4] and not caplog.records, "the smaller budget is not remembered"


def test_what_was_encoded_before_a_batch_that_does_not_fit_is_not_encoded_again(base: Path) -> None:
    model = new_model("model1", base)
    expected, done = model.encode(TEXTS), short_of_memory(model, 42)
    seen: list[tuple[int, int]] = []
    found = model.encode_counted(TEXTS, batch_tokens=46, on_batch=lambda *counts: seen.append(counts))
    np.testing.assert_allclose(found.vectors, expected, atol=1e-6)
    assert sum(rows for rows, _ in done) == len(TEXTS) == sum(texts for texts, _ in seen)
    assert sum(tokens for _, tokens in seen) == sum(LENGTHS)


def test_a_process_of_a_sharded_model_does_not_halve_a_batch_alone(base: Path) -> None:
    model = new_model("model1", base)
    done = short_of_memory(model, 8)
    model.unshard = model.reshard = lambda: None  # as FSDP2 gives them
    with pytest.raises(torch.OutOfMemoryError):
        model.encode(["word1 word2 word3"] * 4)
    assert not done and model.fitting_tokens is None


def test_the_lora_layers_of_a_sharded_model_stay_pefts(base: Path) -> None:
    """FSDP2 gathers a layer's parameters when that is called: whoever reads them past it finds one process's part."""
    model = new_model("model1", base)

    def replaced() -> bool:
        return any("forward" in vars(module) for module in model.backbone.modules())

    with ready(model):
        assert replaced()
    model.unshard = model.reshard = lambda: None  # as FSDP2 gives them
    with ready(model):
        assert not replaced()


def test_one_text_that_does_not_fit_is_named(base: Path) -> None:
    model = new_model("model1", base).train()
    short_of_memory(model, 30)
    with pytest.raises(UserError, match=r"text 2 of 42 tokens does not fit the memory of cpu.*--max_length.*21.*bfloat16"):
        model.encode(TEXTS)
    assert model.training
    assert not any(is_plain(module) != ("lora.Linear" in repr(module)[:11]) for module in model.backbone.modules())
    assert model.encode(TEXTS, max_length=21).shape == (9, 32)


def test_other_errors_are_not_taken_for_a_lack_of_memory(base: Path) -> None:
    with pytest.raises(RuntimeError, match="allocate") as found:
        torch.empty(2**58, dtype=torch.uint8)  # what PyTorch really says
    assert out_of_memory(found.value)
    model = new_model("model1", base)
    model.backbone.forward = lambda **_: torch.ones(2) @ torch.ones(3)
    with pytest.raises(RuntimeError, match="size"):
        model.encode(TEXTS)
    assert model.fitting_tokens is None


def test_a_vector_that_is_not_finite_is_an_error_that_names_its_text(base: Path) -> None:
    model = new_model("model1", base)
    with torch.no_grad():
        token = model.tokenizer.tokenizer.convert_tokens_to_ids("word22")
        model.backbone.get_base_model().embed_tokens.weight[token] = float("nan")
    with pytest.raises(UserError, match=r"text 2 \('word2 word3 .*42 tokens\) is not finite; of the 9 texts .* 2 are not"):
        model.encode(TEXTS)
    assert np.isfinite(model.encode(TEXTS[7:])).all()


def test_vectors_wait_until_there_are_enough_of_them() -> None:
    vectors = Vectors(["a", "b", "c"], np.ones(3), dim=2, wait=16)
    vectors.vectors[:] = -1
    vectors.add(np.array([2]), torch.full((1, 2), 5.0))
    assert vectors.vectors.max() == -1, "fetched too early"
    vectors.add(np.array([0]), torch.full((1, 2), 3.0))
    assert vectors.vectors.tolist() == [[3, 3], [-1, -1], [5, 5]]
    vectors.add(np.array([1]), torch.full((1, 2), 4.0))
    vectors.fetch()
    assert vectors.vectors[:, 0].tolist() == [3, 4, 5]


def test_vectors_that_still_wait_are_fetched_at_the_end(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = new_model("model1", base)
    expected = model.encode(TEXTS, batch_tokens=46)
    monkeypatch.setattr(encoding, "Vectors", lambda texts, lengths, dim, wait, check: Vectors(texts, lengths, dim, 2**30))
    np.testing.assert_array_equal(model.encode(TEXTS, batch_tokens=46), expected)


def test_the_budget_of_a_cpu(base: Path) -> None:
    model = new_model("model1", base)
    sizes: list[tuple[int, int]] = short_of_memory(model, 10**9)
    model.encode(["word1"] * 500)
    assert sizes == [(encoding.CPU_BATCH_TOKENS // 3, 3), (500 - encoding.CPU_BATCH_TOKENS // 3, 3)]


def test_a_gpu_gets_larger_batches_the_smaller_the_layers() -> None:
    def on_gpu(hidden: int, inner: int, layers: int) -> SimpleNamespace:
        backbone = torch.nn.Module()
        backbone.embed_tokens = torch.nn.Embedding(9, 10**6, device="meta")
        backbone.layers = torch.nn.ModuleList(torch.nn.Linear(hidden, inner, device="meta") for _ in range(layers))
        backbone.config = SimpleNamespace(num_hidden_layers=layers)
        return SimpleNamespace(device=torch.device("cuda"), backbone=backbone)

    mistral, qwen = on_gpu(4096, 53248, 32), on_gpu(896, 16640, 24)  # 218 and 15 million parameters a layer
    assert launch_tokens(mistral.backbone) == 2063
    assert encoding.default_batch_tokens(mistral) == 4126
    assert encoding.default_batch_tokens(qwen) == 2 * MOST
    assert encoding.default_batch_tokens(on_gpu(16384, 53248, 2)) == 4096
    mistral.backbone.experts = torch.nn.Parameter(torch.empty(8, 32, 218_103_808 // 2, device="meta"))
    mistral.backbone.config.num_experts_per_tok = 2  # of eight experts of 3.5 G: as much again in each of 32 layers
    assert launch_tokens(mistral.backbone) == 1031


@pytest.mark.parametrize("design", ["model3", "model4", "model5"])
def test_short_texts_are_pooled_in_parts_with_the_same_vectors(
    base: Path, monkeypatch: pytest.MonkeyPatch, design: str
) -> None:
    model = new_model(design, base)
    texts = [" ".join(WORDS[start : start + start % 4]) for start in range(40)]
    expected = masked(model, texts)
    parts: list[int] = []
    forward = model.pooling.forward
    monkeypatch.setattr(model.pooling, "forward", lambda states, mask: parts.append(len(states)) or forward(states, mask))
    np.testing.assert_allclose(model.encode(texts), expected, atol=2e-6)
    assert sum(parts) == 40 and len(parts) > 2


def test_design_5_needs_hardly_more_memory_than_design_1() -> None:
    from trainers.memory.live_bytes import LiveBytes

    texts = ["one", "two words"] * 300
    peaks = []
    for design in ("model1", "model5"):
        sizes = {"latents": 32, "heads": 4, "head_dim": 32}
        model = new_model(design, ROOT / "quickstart" / "base", pooling_sizes=sizes)
        with LiveBytes([*model.parameters(), *model.buffers()]) as bytes_:
            model.encode(texts)
        peaks.append(bytes_.peak)
    assert peaks[1] <= 1.2 * peaks[0]
