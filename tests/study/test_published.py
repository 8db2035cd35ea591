"""Published models and adapters beside the designs of a study."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from common.errors import UserError
from model_loaders import DESIGNS
from model_loaders.saving import save
from study.command import find_cell
from study.study import read_study
from tests.study.tiny_study import Main, change, load, record_of, write_study
from tests.tiny import ROOT, SHARED, new_model, without_network

NEIGHBOURS = SHARED / "neighbours"


def test_an_adapter_is_scored_and_named(study_file: Path, base: Path, main: Main) -> None:
    save(new_model("bidirectional_latent_attention", base), study_file.parent / "downloads" / "latent")
    change(study_file, designs=["model1"], baselines=None, published={"Latent-7": "downloads/latent"})
    status, _, errors = main(study_file, "--cell", "Latent-7")
    assert status == 0, errors
    cell = find_cell(read_study(study_file).cells, "Latent-7")
    assert cell.done and load(cell.scores_file)["system"] == "Latent-7"
    key = cell.folder
    about = json.loads((study_file.parent / "downloads" / "latent" / "embedder.json").read_text())
    assert load(cell.folder / "published.json")["design"] == about["design"]
    shutil.copytree(study_file.parent / "downloads" / "latent", study_file.parent / "copy")
    change(study_file, published={"Latent-7": {"adapter_path": "copy"}})
    assert find_cell(read_study(study_file).cells, "Latent-7").folder == key, "where it lies does not matter"
    (study_file.parent / "copy" / "embedder.json").write_text(json.dumps(about | {"dtype": "bfloat16"}))
    assert find_cell(read_study(study_file).cells, "Latent-7").folder != key


@pytest.mark.parametrize(
    ("published", "message"),
    [
        ({"a/b": "x"}, r"'a/b' is no name for the report: it takes letters.*, for example published: {KaLM-mini-v2: "),
        ({"model1": "x"}, "'model1' is the name of a design already"),
        ({"tfidf": "x"}, "'tfidf' is the name of a baseline already"),
        ({"kalm": "x"}, r"'kalm' is the name of a recipe already.*Give the model another name, for example published: {"),
        ({"a": 3}, "hub name or folder"),
        ({"a": {"base_model": "x"}}, "adapter_path"),
        ({"a": {"adapter_path": "x", "base_modell": "y"}}, "did you mean 'base_model'"),
    ],
)
def test_a_wrong_entry_is_an_error(study_file: Path, published: dict[str, Any], message: str) -> None:
    change(study_file, published=published)
    with pytest.raises(UserError, match=message):
        read_study(study_file)


def downloads(folder: Path) -> dict[str, Any]:
    """One published system of each kind, by name: the tiny checkpoints, whole models in folders of known names."""
    for name in ("GritLM/GritLM-7B", "intfloat/e5-mistral-7b-instruct", "Qwen/Qwen3-Embedding-8B"):
        shutil.copytree(NEIGHBOURS / "recipes" / "base", folder / name)
    llm2vec = NEIGHBOURS / "llm2vec" / "mistral"
    return {
        "NV-Embed": str(NEIGHBOURS / "nv_embed" / "checkpoint"),
        "LLM2Vec": {"adapter_path": str(llm2vec / "second"), "base_model": str(llm2vec / "mntp")},
        "LLM2Vec-mntp": {"adapter_path": str(llm2vec / "mntp"), "base_model": str(llm2vec / "base")},
        "KaLM": str(NEIGHBOURS / "kalm" / "checkpoint"),
        "GritLM": str(folder / "GritLM" / "GritLM-7B"),
        "E5": str(folder / "intfloat" / "e5-mistral-7b-instruct"),
        "Qwen3-Embedding": str(folder / "Qwen" / "Qwen3-Embedding-8B"),
    }


RECIPES = ["echo", "prompteol", "last"]  # untrained systems
ABOUT = {
    "NV-Embed": ("bidirectional", "latent attention"),
    "LLM2Vec": ("bidirectional", "mean"),
    "LLM2Vec-mntp": ("bidirectional", "mean"),
    "KaLM": ("causal", "mean"),
    "GritLM": ("bidirectional", "mean"),
    "E5": ("causal", "EOS"),
    "Qwen3-Embedding": ("causal", "EOS"),
    "model1": ("causal", "EOS"),
    "model2": ("causal", "last-layer trainable"),
    "model3": ("causal", "multi-layer trainable"),
    "model4": ("bidirectional", "last-layer trainable"),
    "model5": ("bidirectional", "multi-layer trainable"),
    "bidirectional_latent_attention": ("bidirectional", "latent attention"),
}


@pytest.mark.slow
@pytest.mark.skipif(not NEIGHBOURS.is_dir(), reason="the tiny published checkpoints are not here")
def test_one_system_of_each_kind_beside_the_five_designs(base: Path, tmp_path: Path) -> None:
    """As a user runs it, without network."""
    study_file = write_study(tmp_path, base)
    designs = [name for name in ABOUT if name in DESIGNS]
    change(study_file, designs=designs, published=downloads(tmp_path / "models"), baselines=["mean_pooling", *RECIPES])
    done = subprocess.run(
        [*without_network(), sys.executable, str(ROOT / "run_study.py"), str(study_file)],
        capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "HF_HUB_OFFLINE": "1"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    about = {cell.system: (cell.attention, cell.pooling) for cell in record_of(study_file).cells}
    assert {name: about[name] for name in ABOUT} == ABOUT
    assert set(about) == {*ABOUT, "mean_pooling", *RECIPES}
    page = (tmp_path / "out" / "report" / "report.html").read_text(encoding="utf-8")
    for system in about:
        assert system in page
    assert "latent attention" in page
