"""The benchmarks of curves count what they say: operations, memory, a line a point; encoding is linear in length."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from transformers import masking_utils

from benchmarks import cost_curves, long_texts
from benchmarks.cost_curves import POINT, Point, taken
from benchmarks.encoding import attention_operations, operations
from benchmarks.operations import counted_operations
from benchmarks.random_models import random_model
from model_loaders.embed_model import EmbedModel
from trainers.memory.fake_masks import masks_of_real_batches

DESIGNS = ("causal_mean", "bidirectional_mean")


@pytest.fixture(scope="module", params=DESIGNS)
def model(request: pytest.FixtureRequest) -> EmbedModel:
    return random_model(request.param, "tiny", max_length=2048).eval()


def test_memory_is_linear_in_the_length_of_a_text(model: EmbedModel) -> None:
    peaks = [long_texts.peak(model, length) for length in (512, 1024, 2048)]
    assert peaks[1] < 2.1 * peaks[0] and peaks[2] < 2.1 * peaks[1]
    assert peaks[2] < 4 * 2048**2  # a square of scores of one head


def test_operations_of_a_long_text(model: EmbedModel) -> None:
    ids, counts = torch.arange(3, 99)[None], np.array([96])
    with torch.no_grad(), model.backbone.disable_adapter(), counted_operations() as counted:  # type: ignore[operator]
        model.backbone(input_ids=ids, use_cache=False)
    square = 4.0 * 2 * 64 * 96**2  # layers, width of all heads
    half = square * 97 / 192
    assert attention_operations(model, counts) == (half if model.design.attention == "causal" else square)
    assert operations(model, counts) == counted.get_total_flops()


@pytest.mark.parametrize("causal", [True, False])
def test_attention_of_a_cpu_is_counted_both_ways(causal: bool) -> None:
    query, key, value = (torch.randn(2, 4, 10, 8, requires_grad=True) for _ in range(3))
    with counted_operations() as counted:
        attended = F.scaled_dot_product_attention(query, key, value, is_causal=causal)
    expected = 4 * 2 * 4 * 8 * (55 if causal else 100)
    assert counted.get_total_flops() == expected
    with counted_operations() as counted:
        attended.sum().backward()
    assert counted.get_total_flops() == 2.5 * expected


def test_lengths_are_printed_with_their_shares(model: EmbedModel, capsys: pytest.CaptureFixture[str]) -> None:
    long_texts.curve(model, [64, 32], 1)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()[2:]]
    assert [line[:2] for line in lines] == [["32", "128"], ["64", "64"]]
    assert all(0 < int(line[3].rstrip("%")) < 200 for line in lines)
    with pytest.raises(SystemExit, match="texts have"):
        long_texts.encode(model, 64, ["short"])


def test_the_peak_of_memory_begins_anew_with_each_run() -> None:
    def fill(size: int) -> None:
        assert np.ones(size, np.uint8).sum() == size

    large, small = taken(lambda: fill(2**26), 2), taken(lambda: fill(2**22), 2)
    # The kernel counts resident pages of each core apart and adds them up late: some hundred KiB are missing or too much.
    assert abs(large.bytes - 2**26) < 2**23 and small.bytes < 2**24
    assert large.seconds > 0


def test_a_step_is_predicted_and_measured(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(cost_curves, "SHAPE", "tiny")
    tiny = replace(POINT, triplets=4, tokens=16, layers=2)
    eos = Point("model1", triplets=1, tokens=16, layers=2)
    assert replace(eos, layers=4).predicted().operations == pytest.approx(2 * eos.predicted().operations, rel=0.03)
    short, long = (replace(eos, tokens=tokens).predicted() for tokens in (256, 1024))
    assert 7 < long.operations / short.operations < 10  # half of the square of attention
    assert long.above < 4.2 * short.above  # and no mask of that square
    cached = Point("model1", triplets=8, tokens=4, layers=2, chunk_tokens=32)
    alone = replace(cached, chunk_tokens=None)
    assert 1.3 < cached.predicted().operations / alone.predicted().operations < 1.6  # the first pass once more
    assert cached.predicted().above < alone.predicted().above
    monkeypatch.setattr(cost_curves, "POINT", tiny)
    monkeypatch.setattr(cost_curves, "CURVES", {"batch": [cached], "layers": [tiny]})
    cost_curves.step_curves(["batch", "layers"], 1)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()[2:]]
    assert [line[:2] for line in lines] == [["batch", "8"], ["layers", "2"]]
    assert 0.1 < float(lines[1][6]) < 10


def test_the_exact_search_is_predicted_and_measured(capsys: pytest.CaptureFixture[str]) -> None:
    cost_curves.corpus_curve((200, 3000), queries=20, dim=8, count=5)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert [line[:2] for line in lines] == [["corpus", "200"], ["corpus", "3,000"]]


@pytest.mark.slow
def test_several_processes_are_measured(capsys: pytest.CaptureFixture[str]) -> None:
    cost_curves.process_curve((1, 2), 2)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[:2] for line in lines] == [["processes", "1"], ["processes", "2"]] and float(lines[0][6]) == 1


def test_the_curves_have_the_sizes_that_are_asked_for() -> None:
    assert [point.triplets for point in cost_curves.CURVES["batch"]] == [64, 1024, 16384]
    assert cost_curves.CURVES["length"][-1].tokens == 8192 and cost_curves.CORPUS[-1] == 1_000_000


def test_masks_of_real_batches_end_with_the_block() -> None:
    before = masking_utils.find_packed_sequence_indices
    positions = torch.tensor([[0, 1, 0, 1]])
    with pytest.raises(KeyError), masks_of_real_batches():
        assert masking_utils.find_packed_sequence_indices(positions) is None
        raise KeyError
    assert masking_utils.find_packed_sequence_indices is before and before(positions) is not None
