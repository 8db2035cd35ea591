"""Texts that are cut are counted, logged and, when they are many, warned of."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from torch import nn

from common.errors import UserError
from model_loaders.text.recipe import Recipe
from tests.trainers.commands import arguments
from trainers.monitor.metrics import RunningMetrics, truncation_warning
from trainers.run.preflight import check_positions
from trainers.train import main


def cut(monkeypatch: pytest.MonkeyPatch, documents: Sequence[int]) -> None:
    """Make each batch in turn say that it cut so many documents."""
    original, numbers = RunningMetrics.add, iter(documents)

    def counted(self: RunningMetrics, batch: Any, result: Any) -> None:
        original(self, replace(batch, truncated=(0, next(numbers))), result)

    monkeypatch.setattr(RunningMetrics, "add", counted)


@pytest.mark.parametrize(
    ("documents", "share", "warning"),
    [((0, 0, 1), 0.0417, ""), ((2, 2, 2), 0.25, "25%")],
)
def test_shares_are_logged_and_reported(
    base: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    documents: tuple[int, ...],
    share: float,
    warning: str,
) -> None:
    cut(monkeypatch, documents)
    # 4 queries and 8 documents a batch; the third step comes after the last line, and counts in the end all the same.
    assert main(arguments(base, tmp_path, "--max_steps", "3"), design="model1") == 0
    logged = json.loads((tmp_path / "out" / "metrics.jsonl").read_text().splitlines()[0])
    result = json.loads((tmp_path / "out" / "train_result.json").read_text())
    assert logged["truncated_documents"] == sum(documents[:2]) / 16
    assert result["truncated_documents"] == share
    assert logged["truncated_queries"] == result["truncated_queries"] == 0
    told = capsys.readouterr()
    assert f"{share:.1%} of the documents" in told.out
    assert ("warning: " in told.err) == bool(warning)
    assert f"{warning} of the documents are cut to 512 tokens" in told.err or not warning


def test_a_tenth_is_no_warning() -> None:
    recipe = Recipe(max_length=20, query_max_length=10)
    assert truncation_warning({"truncated_queries": 0.1, "truncated_documents": 0.1}, recipe) == ""
    told = truncation_warning({"truncated_queries": 0.5, "truncated_documents": 0.25}, recipe)
    assert "50% of the queries are cut to 10 tokens and 25% of the documents are cut to 20 tokens" in told


def test_what_is_cut_is_counted(base: Path, tmp_path: Path) -> None:
    assert main(arguments(base, tmp_path, "--query_max_length", "4"), design="model1") == 0  # BOS, three words, EOS
    result = json.loads((tmp_path / "out" / "train_result.json").read_text())
    assert result["truncated_queries"] == 1.0 and result["truncated_documents"] == 0.0


class WithTable(nn.Module):
    """What GPT-2 has of positions."""

    def __init__(self, known: int) -> None:
        super().__init__()
        self.wpe = nn.Embedding(known, 4)
        self.config = SimpleNamespace(max_position_embeddings=known)


def test_a_table_of_positions_is_a_limit() -> None:
    model = SimpleNamespace(
        recipe=Recipe(max_length=17), base_model=SimpleNamespace(name_or_path="gpt"), backbone=WithTable(16)
    )
    with pytest.raises(UserError, match="17 tokens, gpt knows 16 positions: lower --max_seq_length"):
        check_positions(model)
    model.recipe = Recipe(max_length=16)
    assert check_positions(model) == ""


def test_longer_texts_than_a_rotary_base_knows_are_a_note(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = arguments(base, tmp_path, "--max_steps", "1")
    assert main([*argv, "--query_max_length", "513", "--max_seq_length", "16"], design="model1") == 0
    assert "texts of up to 513 tokens" in capsys.readouterr().out
