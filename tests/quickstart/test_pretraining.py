"""The start of the base model, what training may change, the order of batches, the counting baselines."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from quickstart.base_model.initialise import CONSTANT, LSA_DIMENSIONS, BaseSize, build_model, keep_meaning, make_config
from quickstart.base_model.lsa import count_matrix, inverse_document_frequency, token_vectors
from quickstart.base_model.perplexity import bigram_loss, unigram_loss
from quickstart.pretrain import Schedule, batch_of, evenly_spaced, held_out_loss, language_loss

VOCABULARY = 160


@pytest.fixture(scope="module")
def tokens() -> np.ndarray:
    """Two topics of tokens, in stretches of 64."""
    rng = np.random.default_rng(0)
    stretches = [rng.integers(4, 80, 64) + 76 * (number % 2) for number in range(200)]
    return np.concatenate(stretches).astype(np.uint16)


@pytest.fixture
def start(tokens: np.ndarray) -> dict[str, Any]:
    counts = count_matrix([tokens], VOCABULARY)
    unigram = np.bincount(tokens, minlength=VOCABULARY) + 0.5
    return {
        "lsa": token_vectors(counts, LSA_DIMENSIONS),
        "idf": inverse_document_frequency(counts),
        "unigram": (unigram / unigram.sum()).astype(np.float32),
    }


def build(start: dict[str, Any]) -> Any:
    config = make_config(BaseSize(vocabulary=VOCABULARY, layers=2), pad_id=0, bos_id=1, eos_id=2)
    return build_model(config, **start, seed=0)


def test_lsa_puts_tokens_of_one_topic_together(start: dict[str, Any]) -> None:
    first = start["lsa"][4:156, 0]  # the leading direction but one tells the topics apart; signs are free
    second = start["lsa"][4:156, 1]
    apart = max(abs(np.sign(part[:76]).mean() - np.sign(part[76:]).mean()) for part in (first, second))
    assert apart > 1.8


def test_the_model_starts_near_the_unigram_loss(start: dict[str, Any], tokens: np.ndarray) -> None:
    loss = held_out_loss(build(start), tokens, 8, 64)
    assert abs(loss - unigram_loss(tokens, evenly_spaced(tokens, 8, 64), VOCABULARY)) < 0.2


def test_the_first_state_carries_the_token_and_the_mean_of_its_context(start: dict[str, Any]) -> None:
    model = build(start)
    ids = torch.tensor([[10, 11, 12, 13, 2], [90, 91, 92, 93, 2]])
    last = model.model(ids).last_hidden_state[:, -1, :LSA_DIMENSIONS]
    context = model.model.embed_tokens.weight[ids].mean(dim=1)[:, :LSA_DIMENSIONS]
    similar = torch.nn.functional.cosine_similarity(last[:, None], context[None], dim=-1)
    assert (similar.argmax(dim=1) == torch.arange(2)).all()


def test_training_leaves_the_meaning_alone(start: dict[str, Any], tokens: np.ndarray) -> None:
    model = build(start)
    keep_meaning(model)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    schedule = Schedule(batch_size=4, sequence_length=32)
    for step in range(3):
        language_loss(model, batch_of(step, {"docstrings": tokens, "books": tokens}, schedule)).backward()
        optimizer.step()
        optimizer.zero_grad()
    after = dict(model.named_parameters())
    embeddings = "model.embed_tokens.weight"
    assert torch.equal(after[embeddings][:, : CONSTANT + 1], before[embeddings][:, : CONSTANT + 1])
    assert not torch.equal(after[embeddings][:, CONSTANT + 1 :], before[embeddings][:, CONSTANT + 1 :])
    for name in ("model.layers.1.self_attn.o_proj.weight", "model.layers.1.mlp.down_proj.weight"):
        assert torch.equal(after[name][: CONSTANT + 1], before[name][: CONSTANT + 1])
        assert not torch.equal(after[name][CONSTANT + 1 :], before[name][CONSTANT + 1 :])


def test_batches_depend_on_the_step_alone_and_cover_an_epoch(tokens: np.ndarray) -> None:
    schedule = Schedule(batch_size=4, sequence_length=64, book_share=0.25)
    data = {"docstrings": tokens, "books": tokens[::-1].copy()}
    assert torch.equal(batch_of(7, data, schedule), batch_of(7, data, schedule))
    windows = (len(tokens) - 1) // 64
    read = torch.cat([batch_of(step, data, schedule)[:3] for step in range(windows // 3)])
    assert len({tuple(row.tolist()) for row in read}) == windows // 3 * 3


def test_the_rate_warms_up_stays_and_decays() -> None:
    schedule = Schedule(tokens=1000 * 2048)
    rates = [schedule.rate(step) for step in range(schedule.steps)]
    assert rates[0] == pytest.approx(schedule.learning_rate / schedule.warmup_steps)
    assert rates[200] == rates[690] == schedule.learning_rate
    assert rates[850] == pytest.approx(schedule.learning_rate / 2) and rates[-1] == pytest.approx(schedule.learning_rate / 10)


def test_a_bigram_knows_what_follows_and_a_unigram_does_not() -> None:
    train = np.tile(np.arange(4, 12), 100).astype(np.uint16)
    windows = evenly_spaced(train, 4, 32)
    assert unigram_loss(train, windows, 12) == pytest.approx(np.log(8), abs=0.1)
    assert bigram_loss(train, windows, 12) < 0.25
