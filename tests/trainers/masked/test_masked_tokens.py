"""Masked next-token prediction: the published code's losses and gradients, and the step beside a literal one."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from common.errors import UserError
from model_loaders import load_design
from model_loaders.backbone.head import load_head
from tests.contracts.gradients import engine, gradients, relative
from tests.tiny import SHARED, new_model
from trainers.masked.masking import IGNORED, Masking, mask_row
from trainers.masked.model import MaskedTokenModel
from trainers.masked.step import MaskedChunk, MaskedTokensStep, TokenRows
from trainers.step.chunks import Chunker

LLM2VEC = SHARED / "neighbours" / "llm2vec"
FAMILIES = ("llama", "mistral", "qwen2", "gemma")
WITHOUT = pytest.mark.skipif(not LLM2VEC.is_dir(), reason="numbers of the published code are not here")
MASKING = Masking(mask_id=50, share=0.3, all_masked=False, special_ids=frozenset((0, 1, 2, 3)), vocabulary=54, seed=7)
# Three rows of six tokens: texts begin at some places, and one runs on in the second row.
ROWS = [[1, 10, 11, 1, 12, 13], [14, 15, 1, 16, 17, 18], [1, 19, 20, 21, 22, 23]]
STARTS = [[1, 0, 0, 1, 0, 0], [0, 0, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0]]


def published_model(family: str) -> MaskedTokenModel:
    folder = LLM2VEC / family
    model = load_design(
        "bidirectional_mean", folder / "base", folder / "mntp", device="cpu", dtype="float32", trainable=True
    )  # fmt: skip
    return MaskedTokenModel(model, load_head(folder / "base", model.backbone)).eval()


def loss_of(model: MaskedTokenModel, ids: np.ndarray, labels: np.ndarray) -> Tensor:
    chunk = MaskedChunk.of(ids.astype(np.int64), labels.astype(np.int64), None)
    return chunk.run(model, torch.device("cpu"))[0] / len(chunk.places)


def peft_name(name: str) -> str:
    return name.removeprefix("backbone.").replace(".default.", ".")


@WITHOUT
@pytest.mark.parametrize("collator", ["bert_blank", "all_blank", "bert_eos"])
@pytest.mark.parametrize("family", FAMILIES)
def test_losses_and_gradients_are_the_published_ones(family: str, collator: str) -> None:
    golden = json.loads((LLM2VEC / family / "mntp_training.json").read_text())[collator]
    arrays = np.load(LLM2VEC / family / "mntp_training.npz")
    ids, labels = arrays[f"{collator}.input_ids"], arrays[f"{collator}.labels"]
    model = published_model(family)
    loss = loss_of(model, ids[0], labels[0])
    assert loss.item() == pytest.approx(golden["loss_batch0"], abs=1e-5)
    loss.backward()
    found = {peft_name(name): p.grad for name, p in model.named_parameters() if p.grad is not None}
    total = torch.stack([gradient.norm() for gradient in found.values()]).norm()
    assert float(total) == pytest.approx(golden["lora_grad_norm_total"], rel=1e-5)
    for name, norm in golden["grad_norms"].items():
        if name == "lm_head.weight":  # the published code trains it, and throws it away
            continue
        assert float(found[name].norm()) == pytest.approx(norm, rel=1e-5, abs=1e-6)
    compared = [name for name in arrays.files if name.startswith(f"{collator}.grad.")]
    assert len(compared) == 4
    for name in compared:
        expected = torch.tensor(arrays[name])
        ours = found[name.removeprefix(f"{collator}.grad.")]
        assert float((ours - expected).norm()) <= 1e-5 * float(expected.norm())


@WITHOUT
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("family", FAMILIES)
def test_steps_are_the_published_ones(family: str, optimizer: str) -> None:
    golden = json.loads((LLM2VEC / family / "mntp_training.json").read_text())["bert_blank"]
    arrays = np.load(LLM2VEC / family / "mntp_training.npz")
    model = published_model(family)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    made: torch.optim.Optimizer = torch.optim.SGD(trained, lr=0.01)
    if optimizer == "adamw":
        made = torch.optim.AdamW(trained, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
    losses = []
    for batch in (0, 1, 2, 0):
        loss = loss_of(model, arrays["bert_blank.input_ids"][batch], arrays["bert_blank.labels"][batch])
        losses.append(loss.item())
        made.zero_grad()
        loss.backward()
        made.step()
    assert losses == pytest.approx(golden[f"steps.{optimizer}.lm_head_frozen"], abs=1e-4)


@WITHOUT
def test_the_published_masks_obey_our_rule() -> None:
    """Chosen tokens are labels, and never special: the golden masks hold that, and so do ours."""
    for family in FAMILIES:
        arrays = np.load(LLM2VEC / family / "mntp_training.npz")
        chosen = arrays["bert_blank.labels"] != IGNORED
        assert not chosen[arrays["bert_blank.special"].astype(bool)].any()


@pytest.mark.parametrize("all_masked", [False, True])
def test_shares_of_masked_tokens(all_masked: bool) -> None:
    masking = Masking(5, 0.2, all_masked, frozenset((0, 1, 2)), vocabulary=400, seed=1)
    candidates = masking.random_ids()
    ordinary = np.random.default_rng(0).integers(6, 400, size=125_000)
    ordinary[::5] = 1  # a fifth is special
    read, labels = mask_row(ordinary, masking, candidates, masking.draws(3, 4))  # type: ignore[arg-type]
    special, chosen = ordinary == 1, labels != IGNORED
    assert not chosen[special].any() and (read[special] == 1).all() and (read[~chosen] == ordinary[~chosen]).all()
    assert (labels[chosen] == ordinary[chosen]).all()
    assert chosen.sum() / 1e5 == pytest.approx(0.2, abs=0.005)
    masked, kept = (read[chosen] == 5).mean(), (read[chosen] == ordinary[chosen]).mean()
    if all_masked:
        assert masked == 1.0
        return
    assert masked == pytest.approx(0.8, abs=0.015) and kept == pytest.approx(0.1, abs=0.015)
    assert not np.isin(read[chosen], (0, 1, 2)).any()


def test_a_mask_depends_on_seed_step_and_row_alone() -> None:
    row = list(range(10, 40))

    def masked(step: int, number: int) -> list[int]:
        return mask_row(row, MASKING, MASKING.random_ids(), MASKING.draws(step, number))[0].tolist()

    assert masked(1, 2) == masked(1, 2)
    assert len({tuple(masked(step, number)) for step in (1, 2) for number in (1, 2)}) == 4


def rows_of(numbers: list[int]) -> TokenRows:
    count = len(numbers)
    return TokenRows(
        ids=[ROWS[number] for number in numbers], queries=count, hashes=torch.zeros(count, dtype=torch.int64),
        texts=[""] * count, negatives=torch.zeros(count, dtype=torch.int64), in_batch=torch.ones(count, dtype=torch.bool),
        starts=[np.array(STARTS[number], dtype=bool) for number in numbers], numbers=numbers,
    )  # fmt: skip


def tiny_model(base: Path, **options: Any) -> MaskedTokenModel:
    model = new_model("bidirectional_mean", base, **options)
    return MaskedTokenModel(model, load_head(base, model.backbone)).train()


def step_of(model: MaskedTokenModel, chunk_tokens: int | None, **options: Any) -> MaskedTokensStep:
    chunker = Chunker(model.tokenizer, chunk_tokens)
    return MaskedTokensStep(chunker, engine(), masking=MASKING, dim=model.dim, number=lambda: 1, **options)


def literal(model: MaskedTokenModel, block_diagonal: bool) -> tuple[float, dict[str, Tensor]]:
    """One text or row after the other, through the whole language model, with its loss written out."""
    losses = []
    for number, (row, starts) in enumerate(zip(ROWS, STARTS, strict=True)):
        read, labels = mask_row(row, MASKING, MASKING.random_ids(), MASKING.draws(1, number))
        cuts = [0, len(row)]
        if block_diagonal:
            cuts = sorted({0, len(row), *(place for place, begins in enumerate(starts) if begins)})
        for begin, end in itertools.pairwise(cuts):
            ids = torch.tensor(read[begin:end])[None]
            scores = model.head(model.backbone(input_ids=ids).last_hidden_state[0])
            for place in range(1, end - begin):
                if labels[begin + place] != IGNORED:
                    target = torch.tensor([labels[begin + place]])
                    losses.append(F.cross_entropy(scores[place - 1][None], target))
    loss = torch.stack(losses).mean()
    loss.backward()
    return loss.item(), gradients(model)


@pytest.mark.parametrize("block_diagonal", [False, True])
@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
def test_chunks_give_the_literal_gradient(base: Path, kernel: str, block_diagonal: bool) -> None:
    model = tiny_model(base, attn_implementation=kernel)
    expected_loss, expected = literal(model, block_diagonal)
    for chunk_tokens in (None, 1, 12):
        result = step_of(model, chunk_tokens, block_diagonal=block_diagonal)(model, rows_of([0, 1, 2]))
        assert result.loss.item() == pytest.approx(expected_loss, abs=1e-5)
        assert relative(gradients(model), expected) <= 5e-6


def test_scores_in_blocks_give_the_same(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model(base)
    whole = step_of(model, None)(model, rows_of([0, 1, 2])).loss.item(), gradients(model)
    monkeypatch.setattr("trainers.masked.model.SCORES_AT_ONCE", 64)
    parts = step_of(model, None)(model, rows_of([0, 1, 2])).loss.item(), gradients(model)
    assert parts[0] == pytest.approx(whole[0], abs=1e-6) and relative(parts[1], whole[1]) <= 2e-6


def test_an_empty_share_has_a_gradient_of_zero(base: Path) -> None:
    model = tiny_model(base)
    result = step_of(model, None)(model, rows_of([]))
    assert result.loss.item() == 0.0
    found = gradients(model)
    assert found and all(float(gradient.abs().max()) == 0.0 for gradient in found.values())


def test_it_encodes_as_the_embedder_does(base: Path) -> None:
    model = new_model("bidirectional_mean", base).eval()
    masked = MaskedTokenModel(model, load_head(base, model.backbone)).eval()
    assert np.array_equal(masked.encode(["word1 word2"]), model.encode(["word1 word2"]))


def test_evaluation_counts_hidden_tokens(base: Path) -> None:
    model = tiny_model(base).eval()
    step = step_of(model, None)
    result, count = step.evaluate_rows(model, rows_of([0, 1]))
    again, _ = replace(step, number=lambda: 9).evaluate_rows(model, rows_of([0, 1]))
    assert count > 0 and float(result.loss) == float(again.loss) > 0


def test_a_causal_design_is_refused(base: Path) -> None:
    model = new_model("causal_mean", base)
    with pytest.raises(UserError, match="bidirectional_mean"):
        MaskedTokenModel(model, load_head(base, model.backbone))
