"""The table of designs: every pairing of attention and pooling has a row, found by the rule of names."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import UserError
from model_loaders import DESIGNS, get_design
from model_loaders.create import create
from model_loaders.designs import ALIASES, GRID, PUBLISHED_SIZES, design_name
from pooling import POOLINGS, TOKEN_POOLINGS, size_names
from tests.tiny import EVERY_DESIGN, SLOW_CELLS
from trainers.flags.command_line import parse

# Those of the paper and the cells that it leaves open: their names stand in adapters and studies.
FIRST = ["model1", "model2", "model3", "model4", "model5", "causal_mean", "bidirectional_eos", "bidirectional_mean"]
NAMES_OF_TOKENS = {"last": "eos"}  # where the name of a cell is not that of the pooling


def test_the_first_names_stay() -> None:
    assert list(DESIGNS)[:8] == FIRST and set(GRID) == set(FIRST)


@pytest.mark.parametrize("attention", ["causal", "bidirectional"])
@pytest.mark.parametrize("pooling", [*TOKEN_POOLINGS, *POOLINGS])
def test_every_pairing_has_a_row(attention: str, pooling: str) -> None:
    row = get_design(f"{attention}_{NAMES_OF_TOKENS.get(pooling, pooling)}")
    assert row.attention == attention
    if pooling in TOKEN_POOLINGS:
        assert (row.layers, row.tokens, row.pooling) == ("last", pooling, "none")
    else:
        assert row.pooling == pooling
        assert row.layers == ("all" if pooling == "multi_layer" else "last")


def test_no_two_rows_are_alike() -> None:
    rows = [(row.attention, row.layers, row.tokens, row.pooling) for row in DESIGNS.values()]
    assert len(set(rows)) == len(rows)
    assert len({row.summary for row in DESIGNS.values()}) == len(rows)


def test_a_row_with_two_names_is_found_by_both(base: Path) -> None:
    assert ALIASES == {
        "causal_eos": "model1",
        "causal_multi_layer": "model3",
        "bidirectional_last_layer": "model4",
        "bidirectional_multi_layer": "model5",
    }
    assert create("causal_eos", base, lora=None).design_name == "model1"
    assert design_name("model4") == "model4"
    with pytest.raises(UserError, match="did you mean 'causal_last_layer'"):
        design_name("causal_last_layr")


def test_published_sizes_are_those_of_the_poolings() -> None:
    assert PUBLISHED_SIZES.keys() == POOLINGS.keys()
    for kind, sizes in PUBLISHED_SIZES.items():
        config = POOLINGS[kind].config(hidden_size=8)
        assert {name: getattr(config, name) for name in sizes} == sizes
        assert {*sizes, "feed_forward_multiple"} == set(size_names(kind))


@pytest.mark.parametrize(
    ("design", "sizes"),
    [
        ("model3", (768, 32, 2048)),
        ("bidirectional_latent_attention", (512, 8, 4096)),
        ("causal_self_attention", (768, 32, 128)),  # it has no latents
        ("causal_mean", (768, 32, 2048)),
    ],
)
def test_flags_have_the_published_sizes_of_the_design(design: str, sizes: tuple[int, ...], tmp_path: Path) -> None:
    flags = ["--model_name_or_path", "m", "--dataset_name", "d", "--output_dir", str(tmp_path), "--design", design]
    model = parse(flags).model
    assert (model.pooling_latents, model.pooling_heads, model.pooling_head_dim) == sizes
    if design != "causal_mean":
        assert parse([*flags, "--pooling_heads", "4"]).model.pooling_heads == 4


def test_latents_are_refused_where_there_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--model_name_or_path", "m", "--dataset_name", "d", "--output_dir", str(tmp_path)]
    with pytest.raises(SystemExit):
        parse([*flags, "--design", "bidirectional_self_attention", "--pooling_latents", "4"])
    assert "--pooling_latents does nothing for bidirectional_self_attention" in capsys.readouterr().err


def test_every_design_is_tested_somewhere() -> None:
    """A design in the slow tier shares its pooling with one in the fast tier."""
    names = [entry if isinstance(entry, str) else entry.values[0] for entry in EVERY_DESIGN]
    assert names == list(DESIGNS)
    fast = [DESIGNS[name] for name in names if name not in SLOW_CELLS]
    for name in SLOW_CELLS:
        row = DESIGNS[name]
        assert any((row.layers, row.tokens, row.pooling) == (other.layers, other.tokens, other.pooling) for other in fast)
