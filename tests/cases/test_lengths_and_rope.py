"""Rotary embeddings that change with the length: a text's vector stays that of the text alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from model_loaders import LoadOptions
from model_loaders.create import create

CPU = LoadOptions(device="cpu", dtype="float32")
SHORT, LONG = ["word1 word2 word3", "word4"], [" ".join(["word5 word6"] * count) for count in (12, 20, 40)]
ROPES: dict[str, dict[str, Any]] = {
    "longrope": {
        "rope_type": "longrope",
        "original_max_position_embeddings": 16,
        "short_factor": [1.0] * 4,
        "long_factor": [1.0, 4.0, 8.0, 16.0],
    },
    "dynamic": {"rope_type": "dynamic", "factor": 4.0},
}


def rope_base(make_base: Callable[..., Path], rope: str) -> Path:
    parameters = ROPES[rope] | {"rope_theta": 10000.0}
    if rope == "longrope":
        return make_base("phi3", rope_parameters=parameters, original_max_position_embeddings=16)
    return make_base("llama", rope_parameters=parameters, max_position_embeddings=16)


@pytest.mark.parametrize("rope", ROPES)
@pytest.mark.parametrize("design", ["model1", "causal_mean", "bidirectional_mean"])
def test_batch_mates_change_nothing(make_base: Callable[..., Path], rope: str, design: str) -> None:
    model = create(design, rope_base(make_base, rope), lora=None, options=CPU)
    texts = [*SHORT, *LONG]
    alone = [model.encode([text], max_length=128)[0] for text in texts]
    for order in (texts, texts[::-1]):
        mixed = dict(zip(order, model.encode(order, max_length=128, batch_tokens=4096), strict=True))
        for text, vector in zip(texts, alone, strict=True):
            assert float(vector @ mixed[text]) > 0.999999
    backbone: Any = model.backbone
    ids, _ = model.tokenizer.tokenise([LONG[1]], 128)
    ours = model.encode([LONG[1]], max_length=128)
    # transformers' own way, of the text alone
    fresh = type(backbone).from_pretrained(backbone.name_or_path, config=backbone.config)
    with torch.no_grad():
        states = fresh.eval()(input_ids=torch.tensor(ids), use_cache=False).last_hidden_state[0]
    theirs = states[-1] if design == "model1" else states.mean(dim=0)
    assert float(torch.cosine_similarity(theirs, torch.tensor(ours[0]), dim=0)) > 0.999999
