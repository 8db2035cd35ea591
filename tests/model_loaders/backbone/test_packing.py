"""Texts of a batch in one row without padding: the states, vectors and gradients that they have in a padded batch."""

from __future__ import annotations

import itertools
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from model_loaders.backbone import packing
from model_loaders.backbone.packing import NAME, longest_packed, takes_all_texts
from tests.contracts.gradients import batch_of, engine, gradients, relative, rows_with
from tests.tiny import new_model, write_base
from trainers.step.contrastive import ContrastiveStep

KERNELS = ("sdpa", "eager")


def in_both_ways(model: Any, lengths: tuple[int, ...] = (3, 12, 7, 1)) -> tuple[Tensor, Tensor]:
    """Return the vectors of texts of these lengths, padded, and packed in two parts."""
    batch = model.tokenizer.pad([[4 + (7 * row + 3 * place) % 50 for place in range(n)] for row, n in enumerate(lengths)])
    packed = batch.packed(lengths, (1, len(lengths) - 1)).lean(model.design.attention == "causal")
    assert packed.row is not None and len(packed.row.lengths) == len(lengths)
    with torch.no_grad():
        padded = model(batch.input_ids, batch.attention_mask, batch.pool_mask)
        return padded, model(packed.input_ids, packed.attention_mask, packed.pool_mask, packed.row)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("design", ["model1", "model2", "model3", "model4", "model5", "causal_mean"])
def test_vectors_are_those_of_the_padded_batch(design: str, kernel: str, base: Path) -> None:
    model = new_model(design, base, attn_implementation=kernel)
    assert longest_packed(model.backbone, model.design.attention == "causal") >= 512
    padded, packed = in_both_ways(model)
    assert float((padded - packed).abs().max()) < 1e-6
    assert model.attn_implementation == kernel != NAME, "the kernel is the base LLM's own again"


def test_vectors_in_bfloat16(base: Path) -> None:
    model = new_model("model4", base, dtype="bfloat16")
    assert longest_packed(model.backbone, False) > 0
    padded, packed = in_both_ways(model)
    assert float((1 - (padded * packed).sum(dim=1)).max()) < 1e-3


@pytest.mark.parametrize("design", ["model1", "model4", "model5"])
def test_encoding_in_bfloat16_gives_the_vectors_of_padded_batches(design: str, base: Path) -> None:
    model = new_model(design, base, dtype="bfloat16")
    texts = [f"word{number} " * (1 + number * 7 % 20) for number in range(12)]
    packed, up_to = model.encode(texts), model.packs_up_to
    model.packs_up_to = 0
    assert up_to > 0 and float((packed * model.encode(texts)).sum(axis=1).min()) > 1 - 1e-3
    plain = new_model(design, base)
    plain.encode(texts)
    assert plain.packs_up_to == 0, "in float32 attention is not eager"


@pytest.mark.parametrize("chunk_tokens", [None, 30])
@pytest.mark.parametrize("design", ["model1", "model5"])
def test_the_gradient_is_that_of_padded_groups(design: str, chunk_tokens: int | None, base: Path) -> None:
    model = new_model(design, base)
    batch = batch_of(model, rows_with(2))
    results = []
    for is_packed in (False, True):
        step = ContrastiveStep.of(model, engine(), chunk_tokens=chunk_tokens, packing=is_packed)
        results.append((float(step(model, batch).loss), gradients(model)))
    (loss, padded), (other_loss, packed) = results
    assert abs(loss - other_loss) < 1e-6 and relative(packed, padded) < 1e-5


def attend_one_by_one(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    starts: Tensor,
    other_starts: Tensor,
    longest: int,
    other_longest: int,
    **options: Any,
) -> Tensor:
    """Compute what `varlen_attn` does on CUDA: the texts of ``(tokens, heads, head)`` each alone."""
    assert starts.dtype == torch.int32 and starts is other_starts and longest == other_longest == int(starts.diff().max())
    outputs = []
    for begin, end in itertools.pairwise(starts.tolist()):
        text = [states[begin:end].transpose(0, 1) for states in (query, key, value)]
        causal = options["window_size"] == (-1, 0)
        flags = {"is_causal": causal, "scale": options["scale"], "enable_gqa": options["enable_gqa"]}
        outputs.append(F.scaled_dot_product_attention(*text, **flags).transpose(0, 1))
    return torch.cat(outputs)


@pytest.mark.parametrize("design", ["model1", "model4", "model5"])
def test_one_call_for_all_texts_gives_the_gradient_of_padded_groups(
    design: str, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FlashAttention is of CUDA; here its arguments are right, and what it is told to compute gives the same gradient."""
    model = new_model(design, base)
    batch = batch_of(model, rows_with(2))
    loss = float(ContrastiveStep.of(model, engine())(model, batch).loss)
    padded, calls = gradients(model), 0

    def counted(*args: Any, **options: Any) -> Tensor:
        nonlocal calls
        calls += 1
        return attend_one_by_one(*args, **options)

    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", counted)
    monkeypatch.setattr("model_loaders.backbone.packing.takes_all_texts", lambda *_: True)
    step = ContrastiveStep.of(model, engine(), packing=True)
    assert step.chunker.packs_up_to > 0 and calls
    assert float(step(model, batch).loss) == pytest.approx(loss, rel=1e-6)
    assert relative(gradients(model), padded) < 1e-5


def test_attention_that_flash_attention_lacks_is_not_packed(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", attend_one_by_one)
    monkeypatch.setattr("model_loaders.backbone.packing.takes_all_texts", lambda *_: True)
    model = new_model("model1", base)
    assert longest_packed(model.backbone, True) > 0
    kernel = packing.attend_at_once

    def capped(rows: Any, of_batch: Any, starts: Tensor, options: dict[str, Any]) -> Tensor:
        return kernel(rows, of_batch, starts, {**options, "softcap": 30.0})

    monkeypatch.setattr("model_loaders.backbone.packing.attend_at_once", capped)
    assert longest_packed(model.backbone, True) == 0


def test_one_call_is_of_cuda_and_half_precision() -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert takes_all_texts("sdpa", torch.bfloat16, cuda)
    for kernel, dtype, device in (
        ("eager", torch.bfloat16, cuda),
        ("sdpa", torch.float32, cuda),
        ("sdpa", torch.bfloat16, cpu),
    ):
        assert not takes_all_texts(kernel, dtype, device)


def test_groups_share_a_row_within_the_budget(base: Path) -> None:
    """Texts that the base LLM cannot pack stand alone, and a pooling that reads tokens keeps its groups."""
    model = new_model("model1", base)
    ids, groups = [[5] * 9, [6] * 9, [7] * 4, [8] * 3, [9]], [[0, 1], [2, 3], [4]]

    def sizes(**changes: int) -> list[Any]:
        chunker = replace(ContrastiveStep.of(model, engine(), packing=True).chunker, **changes)
        padded = chunker.pad(ids, groups, torch.device("cpu"))
        assert padded.restore(torch.cat([chunk.input_ids[:, 0] for chunk in padded.chunks])).tolist() == [5, 6, 7, 8, 9]
        return [chunk.row and chunk.row.sizes for chunk in padded.chunks]

    assert sizes() == [(2, 2, 1)]
    assert sizes(row_tokens=26) == [(2, 2), None]
    assert sizes(chunk_tokens=9) == [None, (2, 1)]
    assert sizes(packs_up_to=8) == [None, (2, 1)]
    assert sizes(row_tokens=0) == [None, (2,), None]
    assert ContrastiveStep.of(new_model("model4", base), engine(), packing=True).chunker.row_tokens == 0


def test_a_batch_without_padding_is_not_packed(base: Path) -> None:
    model = new_model("model1", base)
    step = ContrastiveStep.of(model, engine(), packing=True)
    for rows, packed in (([[5, 6, 7], [8, 9, 4]], False), ([[5, 6, 7], [8]], True)):
        chunk = step.chunker.pad(rows, [[0, 1]], model.device).chunks[0]
        assert (chunk.row is not None) == packed
        assert step.chunker.computed_tokens([3, len(rows[1])], [[0, 1]]) == [4 if packed else 6]


@pytest.mark.parametrize("family", ["qwen2", "gemma3_text"])
def test_other_families(family: str, tmp_path: Path) -> None:
    for design in ("model1", "model4"):
        model = new_model(design, write_base(tmp_path / f"{family}-{design}", family))
        assert longest_packed(model.backbone, model.design.attention == "causal") > 0
        padded, packed = in_both_ways(model)
        assert float((padded - packed).abs().max()) < 1e-6


def test_texts_beyond_the_window_are_padded(tmp_path: Path) -> None:
    """A causal window is part of the mask that packed texts have none of; bidirectional designs lift it."""
    base = write_base(tmp_path / "base", sliding_window=8)
    causal, both = new_model("model1", base), new_model("model4", base)
    assert longest_packed(causal.backbone, True) == 8
    assert longest_packed(both.backbone, False) == sys.maxsize
    step = ContrastiveStep.of(causal, engine(), packing=True)
    chunks = step.chunker.pad([[5] * 9, [6] * 3, [7] * 8, [8]], [[0, 1], [2, 3]], torch.device("cpu")).chunks
    assert [chunk.row is None for chunk in chunks] == [True, False]


def test_a_state_that_runs_along_the_row_is_found_by_trying(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base", "mamba", state_size=4, without=("num_attention_heads",))
    assert longest_packed(new_model("model1", base, lora=None).backbone, True) == 0


def test_attention_that_does_not_ask_for_its_kernel_is_found_by_trying(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers.models.mistral import modeling_mistral

    model = new_model("model1", base, attn_implementation="eager")
    plain = modeling_mistral.MistralAttention.forward

    def stubborn(self: Any, hidden_states: Tensor, *args: Any, **options: Any) -> Any:
        name = self.config._attn_implementation
        self.config._attn_implementation = "eager"
        try:
            return plain(self, hidden_states, *args, **options)
        finally:
            self.config._attn_implementation = name

    monkeypatch.setattr(modeling_mistral.MistralAttention, "forward", stubborn)
    assert longest_packed(model.backbone, True) == 0
