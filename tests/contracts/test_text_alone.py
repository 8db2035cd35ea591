"""A text's vector depends on the text alone: not on padding, batch, order or mates."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model_loaders import load
from model_loaders.saving import save
from tests.tiny import EVERY_DESIGN, WORDS, new_model

MAX_LENGTH = 24
# Lengths from nothing to over-long, and texts that hold the text of every special token: masks made of ids would miss them.
TEXTS = [
    "",
    "word1",
    "<pad>",
    "</s> </s>",
    "word2 <pad> word3 </s> word4 <unk> word5 unheard",
    "word6 word7 word8 <pad>",
    "<unk> <s> word9 word10 word11 word12 word13 word14 </s>",
    " ".join(WORDS[:15]),
    " ".join(WORDS * 2),
    " ".join([*WORDS, "</s>", "<pad>"]),
]


def worst(found: np.ndarray, expected: np.ndarray) -> float:
    """The lowest cosine between rows."""
    return float((found.astype(np.float64) * expected.astype(np.float64)).sum(axis=1).min())


def forward_padded(model: Any, rows: list[list[int]], *, left: int, right: int, seed: int) -> np.ndarray:
    """Vectors of one padded batch through ``forward``, with random real tokens as the content of the padding.

    Args:
        model: an ``EmbedModel``.
        rows: token ids.
        left: 1 for padding on the left, -1 for a random side a row, 0 for the right.
        right: padding that even the longest row has.
        seed: of the content.
    """
    choose = random.Random(seed)
    width = max(map(len, rows)) + right
    ids = torch.tensor([[choose.randrange(64) for _ in range(width)] for _ in rows])
    mask = torch.zeros_like(ids)
    for index, row in enumerate(rows):
        start = (width - len(row)) * (left if left >= 0 else choose.randint(0, 1))
        ids[index, start : start + len(row)] = torch.tensor(row)
        mask[index, start : start + len(row)] = 1
    with torch.no_grad():
        return model(ids, mask).numpy()


def check_text_alone(model: Any, cosine: float) -> None:
    sees_texts = model.design_name != "causal_first"  # it sees BOS alone, so that all texts have one vector
    options: dict[str, Any] = {"max_length": MAX_LENGTH}
    alone = np.concatenate([model.encode([text], **options) for text in TEXTS])
    assert np.isfinite(alone).all()
    np.testing.assert_allclose(np.linalg.norm(alone, axis=1), 1, atol=1e-5)
    assert not sees_texts or (alone @ alone.T)[1, 7] < 1 - 1e-3, "texts that do not differ show nothing"

    assert worst(model.encode(TEXTS, **options), alone) >= cosine
    assert worst(model.encode(TEXTS, batch_size=3, **options), alone) >= cosine
    order = random.Random(0).sample(range(len(TEXTS)), len(TEXTS))
    assert worst(model.encode([TEXTS[index] for index in order], batch_size=4, **options), alone[order]) >= cosine
    mates = [*TEXTS[3:6], *(["word49"] * 5)]
    assert worst(model.encode(mates, **options)[:3], alone[3:6]) >= cosine

    rows = model.tokenizer.ids(TEXTS, MAX_LENGTH)
    for left, right, seed in ((0, 0, 1), (0, 5, 2), (1, 0, 3), (1, 5, 4), (-1, 5, 5)):
        assert worst(forward_padded(model, rows, left=left, right=right, seed=seed), alone) >= cosine, (left, right)


@pytest.mark.parametrize("pad", ["<pad>", "</s>", "<unk>", None])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("design", EVERY_DESIGN)
def test_vectors_depend_on_the_text_alone(make_base: Callable[..., Path], design: str, attention: str, pad: str | None) -> None:
    model = new_model(design, make_base(pad=pad), attn_implementation=attention)
    check_text_alone(model.eval(), 0.99999)


@pytest.mark.parametrize("design", ["model3", "model5"])
@pytest.mark.filterwarnings("ignore:fan_in_fan_out")
def test_vectors_depend_on_the_text_alone_with_learnt_positions(make_base: Callable[..., Path], design: str) -> None:
    """Rotary positions are relative and forgive a shift; GPT-2's are not, so that they must count real tokens only."""
    model = new_model(design, make_base("gpt2", n_embd=32, n_layer=3, n_head=4))
    check_text_alone(model.eval(), 0.99999)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("design", EVERY_DESIGN)
def test_vectors_depend_on_the_text_alone_in_bf16(
    make_base: Callable[..., Path], tmp_path: Path, design: str, attention: str
) -> None:
    # Weights as wide as in a trained model: with wider ones bf16 itself is off by more than the contract allows.
    save(new_model(design, make_base(pad="<unk>", initializer_range=0.1), attn_implementation=attention), tmp_path)
    model = load(tmp_path, dtype="bfloat16", attn_implementation=attention, device="cpu")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    check_text_alone(model, 0.999)


@pytest.mark.parametrize("design", ["model4", "model5", "bidirectional_mean"])
def test_tokens_that_the_pooling_leaves_out_are_still_attended(base: Path, design: str) -> None:
    """The published design 5 skips its pad token in the mean; a text of nothing else must stay finite."""
    from model_loaders.layouts.manifest import Recipe

    model = new_model(design, base, recipe=Recipe(unpooled_token_ids=(0, 3)))
    check_text_alone(model.eval(), 0.99999)
    plain = new_model(design, base)
    text = ["word1 <unk> word2"]
    assert worst(model.encode(text), plain.encode(text)) < 0.99999, "<unk> is still pooled"
    only_left_out = torch.tensor([[0, 0, 3]])
    with torch.no_grad():
        vectors = [one(only_left_out, torch.ones_like(only_left_out)).numpy() for one in (model, plain)]
    assert worst(*vectors) >= 0.99999
