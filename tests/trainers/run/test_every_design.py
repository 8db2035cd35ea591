"""Each cell of the table of designs is trained, planned, named and loaded as the five designs are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model_loaders import get_design, load
from model_loaders.designs import CELL_POOLINGS, DESIGNS, design_name
from study.report.study_json import pooling_words
from tests.tiny import SLOW_CELLS, small_sizes, trained_parameters
from tests.trainers.commands import arguments
from trainers.train import main

# model5_normalised has no name by the rule
CELLS = ["model5_normalised", *(name for name in DESIGNS if name.split("_", 1)[-1] in CELL_POOLINGS)]
TRAINED = [pytest.param(name, marks=pytest.mark.slow) if name in SLOW_CELLS else name for name in CELLS]


@pytest.mark.parametrize("design", TRAINED)
def test_a_cell_is_planned_trained_and_loaded(
    design: str, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = [word for name, size in small_sizes(design).items() for word in (f"--pooling_{name}", str(size))]
    flags = arguments(base, tmp_path, "--design", design, "--max_steps", "2", "--disable_tqdm", "true", *sizes)
    assert main(flags) == 0
    shown = capsys.readouterr().out
    assert f"{design}: {get_design(design).summary}" in shown
    assert "memory" in shown and "not planned" not in shown
    model = load(tmp_path / "out", device="cpu")
    assert model.design_name == design
    trained = trained_parameters(model)
    if small_sizes(design):
        assert any(name.startswith("pooling.") for name in trained)
    vectors = model.encode(["word1 word2", "word3", ""])
    assert vectors.shape == (3, 32) and np.isfinite(vectors).all()


@pytest.mark.parametrize(
    ("design", "words"),
    [
        ("causal_weighted_mean", "weighted mean"),
        ("bidirectional_max", "max"),
        ("causal_first", "first token"),
        ("causal_last_layer", "last-layer trainable"),
        ("bidirectional_latent_attention", "latent attention"),
        ("causal_self_attention", "self-attention"),
        ("causal_eos", "EOS"),
        ("bidirectional_multi_layer", "multi-layer trainable"),
        ("causal_normalised_mean", "normalised mean"),
        ("model5_normalised", "multi-layer trainable on normalised mean"),
    ],
)
def test_reports_name_the_pooling(design: str, words: str) -> None:
    assert pooling_words(get_design(design_name(design))) == words
