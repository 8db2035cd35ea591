"""Every design in every format, verified by the command in a process without this project."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from common.errors import UserError
from model_loaders import DESIGNS, load
from model_loaders.export.__main__ import main
from model_loaders.export.table import FORMATS
from model_loaders.saving import save
from model_loaders.text.recipe import Recipe
from tests.tiny import ROOT, WORDS, new_model, write_base

RECIPE = Recipe(query_prompt="word1 word2 ", document_prompt="word3 ", max_length=32, query_max_length=20)
TEXTS = ["word1", "word2 word3 word4", " ".join(WORDS), "", "word7 unheard word9"]
LORA_ALONE = ("model1", "causal_mean", "causal_weighted_mean", "causal_max", "causal_first")
FAMILIES: dict[str, dict[str, Any]] = {
    "mistral": {"sliding_window": 6},
    "gemma3_text": {"sliding_window": 6},
    "qwen2": {"vocab_size": 300},
}


def write_qwen_tokenizer(folder: Path) -> None:
    """Write a byte-level tokenizer by transformers' class for Qwen2, whose rules real ones have."""
    from tokenizers import pre_tokenizers
    from transformers import Qwen2Tokenizer

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: index for index, letter in enumerate(letters)} | {"or": 256, "wor": 257, "word": 258}
    merges = [("o", "r"), ("w", "or"), ("wor", "d")]
    Qwen2Tokenizer(vocab=vocabulary, merges=merges).save_pretrained(str(folder))


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = {}
    for family, changes in FAMILIES.items():
        made[family] = write_base(tmp_path_factory.mktemp(family), family, **changes)
    for file in made["qwen2"].glob("token*"):
        file.unlink()
    write_qwen_tokenizer(made["qwen2"])
    return made


def cases() -> list[Any]:
    """All designs on Mistral; on the others one of each kind of pooling."""
    few = ("model1", "bidirectional_mean", "model3", "model4", "model5")
    listed = []
    for family in FAMILIES:
        for design in DESIGNS if family == "mistral" else few:
            listed.append(pytest.param(family, design, id=f"{family} {design}"))
    return listed


def check_no_path(folder: Path, places: Iterable[Path]) -> None:
    """No file of a folder names a place of this machine; ONNX graphs come with tracebacks by nature."""
    for file in folder.rglob("*"):
        content = file.read_bytes() if file.is_file() else b""
        for place in places:
            assert f"{place}/".encode() not in content, file


@pytest.mark.slow
@pytest.mark.parametrize(("family", "design"), cases())
def test_formats(bases: dict[str, Path], tmp_path: Path, family: str, design: str, capsys: pytest.CaptureFixture[str]) -> None:
    save(new_model(design, bases[family], recipe=RECIPE), tmp_path / "adapter")
    model = load(tmp_path / "adapter", device="cpu", dtype="float32")
    for format in FORMATS:
        if format == "onnx" and find_spec("onnxruntime") is None:
            continue  # its extra is not installed
        out = tmp_path / format
        refused = (format == "peft" and design not in LORA_ALONE) or design.endswith("normalised_mean")
        flags = ["--format", format, "--device", "cpu", "--base_name", "owner/base"]
        assert main([str(tmp_path / "adapter"), str(out), *flags]) == int(refused), capsys.readouterr().err
        assert out.exists() != refused
        if refused:
            continue
        assert "verified in a process of its own: 128 vectors" in capsys.readouterr().out
        check_no_path(out, (ROOT, tmp_path, bases[family], Path(sys.prefix)))
        if format == "onnx":
            with pytest.raises(UserError, match="ONNX graph"):
                load(out, device="cpu")
            continue
        again = load(out, bases[family] if format == "peft" else None, device="cpu", dtype="float32")
        for role in ("query", "document"):
            assert np.abs(again.encode(TEXTS, role) - model.encode(TEXTS, role)).max() <= 5e-6


@pytest.mark.slow
@pytest.mark.parametrize("design", ["model1", "model2", "model3", "causal_mean"])
def test_unmerged(bases: dict[str, Path], tmp_path: Path, design: str, capsys: pytest.CaptureFixture[str]) -> None:
    save(new_model(design, bases["mistral"], recipe=RECIPE), tmp_path / "adapter")
    flags = ["--format", "sentence-transformers", "--lora", "unmerged", "--base_name", "owner/base", "--device", "cpu"]
    assert main([str(tmp_path / "adapter"), str(tmp_path / "out"), *flags]) == 0, capsys.readouterr().err
    assert not (tmp_path / "out" / "config.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("design", ["bidirectional_mean", "model5"])
def test_saved_again_by_sentence_transformers(bases: dict[str, Path], tmp_path: Path, design: str) -> None:
    save(new_model(design, bases["mistral"], recipe=RECIPE), tmp_path / "adapter")
    flags = ["--format", "sentence-transformers", "--device", "cpu"]
    assert main([str(tmp_path / "adapter"), str(tmp_path / "out"), *flags]) == 0
    first = SentenceTransformer(str(tmp_path / "out"), device="cpu", trust_remote_code=True)
    first.save_pretrained(str(tmp_path / "again"))
    second = SentenceTransformer(str(tmp_path / "again"), device="cpu", trust_remote_code=True)
    assert np.abs(first.encode_query(TEXTS) - second.encode_query(TEXTS)).max() <= 1e-6


@pytest.mark.slow
def test_a_tokenizer_that_transformers_builds_anew_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For Qwen2, AutoTokenizer takes its own rules whatever tokenizer.json says: other ids, so other vectors."""
    base = write_base(tmp_path / "base", "qwen2")
    save(new_model("causal_mean", base, recipe=RECIPE), tmp_path / "adapter")
    flags = ["--format", "sentence-transformers", "--device", "cpu"]
    assert main([str(tmp_path / "adapter"), str(tmp_path / "out"), *flags]) == 1
    assert "AutoTokenizer" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter", "base"]


@pytest.mark.slow
def test_smaller_weights(bases: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(new_model("bidirectional_mean", bases["mistral"], recipe=RECIPE), tmp_path / "adapter")
    flags = ["--format", "sentence-transformers", "--device", "cpu", "--dtype", "bfloat16"]
    assert main([str(tmp_path / "adapter"), str(tmp_path / "out"), *flags]) == 0, capsys.readouterr().err
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == "bfloat16"
