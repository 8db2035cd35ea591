"""SimCSE: the sound numbers of LLM2Vec's published model, dropout replayed by gradient caching, duplicates, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from common.errors import UserError
from common.text_hash import text_hashes
from model_loaders import load_design
from model_loaders.backbone.dropout import has_dropout, set_attention_dropout
from tests.contracts.gradients import engine, gradients, relative
from tests.tiny import LORA, SHARED, new_model
from trainers.run.preflight import check_dropout
from trainers.step.batch import TripletBatch, TripletCollator
from trainers.step.chunks import Chunker, Grouping
from trainers.step.contrastive import ContrastiveStep
from trainers.step.loss import ContrastiveLoss

LLM2VEC = SHARED / "neighbours" / "llm2vec"
FAMILIES = ("llama", "mistral", "qwen2", "gemma")
WITHOUT = pytest.mark.skipif(not LLM2VEC.is_dir(), reason="numbers of the published code are not here")


def published_batch(arrays: Any, key: str, sides: int) -> TripletBatch:
    """Return the golden texts without their padding: queries, positives, negatives, each with what is pooled of it."""
    ids: list[list[int]] = []
    pooled: list[Any] = []
    rows = len(arrays[f"{key}.input_ids0"])
    for side in range(sides):
        for row in range(rows):
            real = arrays[f"{key}.attention_mask{side}"][row].astype(bool)
            ids.append(arrays[f"{key}.input_ids{side}"][row][real].tolist())
            pooled.append(np.flatnonzero(arrays[f"{key}.embed_mask{side}"][row][real]).tolist())
    return TripletBatch(
        ids=ids, queries=rows, hashes=torch.arange(len(ids)), texts=[""] * rows, pooled=pooled,
        negatives=torch.full((rows,), sides - 2), in_batch=torch.ones(rows, dtype=torch.bool),
    )  # fmt: skip


@WITHOUT
@pytest.mark.parametrize("case", ["simcse.sound_mean", "supervised.mean"])
@pytest.mark.parametrize("family", FAMILIES)
def test_losses_and_gradients_are_the_published_ones(family: str, case: str) -> None:
    folder = LLM2VEC / family
    golden = json.loads((folder / "contrastive_training.json").read_text())[case]
    arrays = np.load(folder / "contrastive_training.npz")
    model = load_design("bidirectional_mean", folder / "mntp", folder / "second", device="cpu", dtype="float32", trainable=True)
    scale, sides = (20.0, 2) if case.startswith("simcse") else (50.0, 3)
    batch = published_batch(arrays, case, sides)
    loss = ContrastiveLoss(scale, mask_duplicates=False)
    for chunk_tokens in (None, 64):
        model.eval()
        result = ContrastiveStep.of(model, engine(), chunk_tokens=chunk_tokens, loss=loss)(model, batch)
        assert result.loss.item() == pytest.approx(golden["loss"], rel=1e-4 if sides == 2 else 1e-5)
        off, norm = gradient_of_second(model, golden["grad_norms"])
        assert off <= 1e-4 * norm


def gradient_of_second(model: Any, norms: dict[str, float]) -> tuple[float, float]:
    """Compare norms of the second adapter's gradients, which are the last rows of the stacked one's."""
    squares = total = 0.0
    for name, parameter in model.named_parameters():
        if parameter.grad is None:
            continue
        golden = norms[name.removeprefix("backbone.").replace(".default.", ".")]
        gradient: Tensor = parameter.grad
        half = gradient.shape[0 if "lora_A" in name else 1] // 2
        part = gradient[half:] if "lora_A" in name else 2.0 * gradient[:, half:]  # B is saved times its scale, 2
        squares += (float(part.norm()) - golden) ** 2
        total += golden**2
    model.zero_grad()
    return squares**0.5, total**0.5


def texts_batch(model: Any, texts: list[str]) -> TripletBatch:
    rows = [{"query": text, "positive": text, "negatives": []} for text in texts]
    return TripletCollator(model.tokenizer, model.recipe)(rows)


@pytest.mark.parametrize("design", ["bidirectional_mean", "model1"])
def test_dropout_is_replayed(base: Path, design: str) -> None:
    """Reference: the same chunks with the same random states, their graphs kept, nothing replayed."""
    model = new_model(design, base, lora={**LORA, "lora_dropout": 0.1}).train()
    set_attention_dropout(model.backbone, 0.3)
    batch = texts_batch(model, [f"word{k} word{k + 1} word{2 * k}" for k in range(7)])

    def run(**chunking: Any) -> tuple[float, dict[str, Tensor]]:
        torch.manual_seed(5)
        step = ContrastiveStep(Chunker(model.tokenizer, **chunking), engine())
        return step(model, batch).loss.item(), gradients(model)

    kept, cached = run(grouping=Grouping(24, overhead=128)), run(chunk_tokens=24)
    assert cached[0] == kept[0] and relative(cached[1], kept[1]) <= 1e-6
    assert kept[0] > 1e-3  # a text and its positive had other dropouts


def test_duplicates_are_no_negatives_and_the_positive_stays(base: Path) -> None:
    """With every text the same there is nothing but the positive: the loss is 0; with other texts beside it is not."""
    model = new_model("bidirectional_mean", base, lora={**LORA, "lora_dropout": 0.3}).train()
    step = ContrastiveStep(Chunker(model.tokenizer), engine())
    same = step(model, texts_batch(model, ["word1 word2"] * 3))
    assert same.loss.item() == 0.0 and float(same.accuracy) == 1.0
    other = step(model, texts_batch(model, ["word1 word2", "WORD1  word2", "word3"]))
    assert other.loss.item() > 0.0 and float(other.excluded) == pytest.approx(2 / 6)
    assert len(set(text_hashes(["word1 word2", "WORD1  word2"]))) == 1


def test_no_dropout_is_refused(base: Path) -> None:
    model = new_model("bidirectional_mean", base, lora={**LORA, "lora_dropout": 0.0})
    assert not has_dropout(model.backbone)
    with pytest.raises(UserError, match="--lora_dropout or --attention_dropout"):
        check_dropout(model, "simcse")
    check_dropout(model, "contrastive")
    set_attention_dropout(model.backbone, 0.1)
    check_dropout(model, "simcse")


def test_a_base_without_such_a_dropout_is_named(base: Path) -> None:
    model = new_model("bidirectional_mean", base)
    for module in model.backbone.modules():
        if hasattr(module, "attention_dropout"):
            del module.attention_dropout
    with pytest.raises(UserError, match="of the 3 layers of this base model 0 have"):
        set_attention_dropout(model.backbone, 0.1)


def test_of_triplets_the_queries_are_read(base: Path) -> None:
    model = new_model("bidirectional_mean", base)
    rows = [{"query": f"word{k}", "positive": "word9 word8", "negatives": ["word7"]} for k in range(3)]
    batch = TripletCollator(model.tokenizer, model.recipe, own_positive=True)(rows)
    assert batch.ids == texts_batch(model, ["word0", "word1", "word2"]).ids and batch.negatives.sum() == 0
