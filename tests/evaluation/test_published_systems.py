"""Each published system scores task folders from the command line, without network, and runs no code of a checkpoint."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from evaluation.encode.lazy_model import open_adapter
from evaluation.evaluate import _mteb_encoder
from evaluation.options import EvaluationOptions
from model_loaders import load
from model_loaders.saving import save
from tests.evaluation.conftest import make_tasks
from tests.tiny import ROOT, SHARED, without_network

NEIGHBOURS = SHARED / "neighbours"
FIVE = ["TinySTS", "TinyClassification", "TinyClustering", "TinyRetrieval", "TinyReranking"]
FAMILIES = ["llama", "mistral", "qwen2", "gemma"]
RECIPES = ["e5", "qwen3", "gritlm", "echo", "echo_last", "echo_zero_shot", "prompteol", "mean", "last", "weighted_mean"]
BASE = NEIGHBOURS / "recipes" / "base"

pytestmark = pytest.mark.skipif(not NEIGHBOURS.is_dir(), reason="the tiny published checkpoints are not here")


# Hub names by which whole models are known; each is the tiny base LLM here.
BY_NAME = {
    "gritlm-7b": "GritLM/GritLM-7B",
    "e5-mistral": "intfloat/e5-mistral-7b-instruct",
    "qwen3-embedding": "Qwen/Qwen3-Embedding-8B",
}


def systems() -> dict[str, list[str]]:
    """The flags of ``run_mteb.py`` for each system; a hub name stands for a folder of that name (`folder_of`)."""
    flags = {
        "nv_embed": ["--adapter_path", str(NEIGHBOURS / "nv_embed" / "checkpoint")],
        "kalm": ["--adapter_path", str(NEIGHBOURS / "kalm" / "checkpoint")],
    }
    for family in FAMILIES:
        folder = NEIGHBOURS / "llm2vec" / family
        flags[f"llm2vec-{family}"] = ["--adapter_path", str(folder / "second"), "--base_model", str(folder / "mntp")]
        flags[f"llm2vec-{family}-mntp"] = ["--adapter_path", str(folder / "mntp"), "--base_model", str(folder / "base")]
    for system, name in BY_NAME.items():
        flags[system] = ["--adapter_path", name]
    for recipe in RECIPES:
        flags[recipe] = ["--recipe", recipe, "--base_model", str(BASE)]
    return flags


def folder_of(word: str) -> Path | None:
    """The folder that a word of the command line stands for, or ``None``."""
    return BASE if word in BY_NAME.values() else Path(word) if Path(word).is_dir() else None


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tasks(tmp_path_factory.mktemp("tasks"))


def score(tasks: Path, output: Path, flags: list[str], *, command: tuple[str, ...] = ()) -> str:
    """Run ``run_mteb.py`` on five task folders; returns what it printed."""
    words = [*command, sys.executable, str(ROOT / "run_mteb.py"), *flags, "--data_dir", str(tasks), "--tasks", *FIVE,
             "--output_dir", str(output), "--device", "cpu"]  # fmt: skip
    done = subprocess.run(
        words, capture_output=True, text=True, timeout=600, env={**os.environ, "HF_HUB_OFFLINE": "1"}, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def check_scores(output: Path) -> None:
    """Check that each of the five tasks has a score, a number."""
    for task in FIVE:
        (path,) = [file for file in output.rglob(f"{task}.json") if "recipes" not in file.parts and "items" not in file.parts]
        (scores,) = json.loads(path.read_text())["scores"].values()
        assert 0 <= abs(scores[0]["main_score"]) <= 1


def test_names_of_results(tmp_path: Path) -> None:
    """Published models and foreign folders have their own names; adapters of the designs have that of their design."""
    llm2vec = NEIGHBOURS / "llm2vec" / "mistral"
    shutil.copytree(BASE, tmp_path / "GritLM" / "GritLM-7B")
    gritlm = open_adapter(load, None, adapter_path=tmp_path / "GritLM" / "GritLM-7B")
    second = open_adapter(load, None, adapter_path=llm2vec / "second", base_model=llm2vec / "mntp")
    save(second.load(), tmp_path / "ours")
    ours = open_adapter(load, None, adapter_path=tmp_path / "ours")
    names = []
    for encoder in (gritlm, second, second.load(), ours):
        names.append(_mteb_encoder(encoder, EvaluationOptions(), None).mteb_model_meta.name)
    assert names == ["ours/GritLM_GritLM-7B", "ours/mistral_second", "ours/mistral_second", "ours/bidirectional_mean"]
    assert _mteb_encoder(second, EvaluationOptions(name="mine"), None).mteb_model_meta.name == "ours/mine"


@pytest.mark.slow
@pytest.mark.parametrize("system", systems())
def test_five_task_folders(tasks: Path, tmp_path: Path, system: str) -> None:
    flags = systems()[system]
    if system in BY_NAME:
        shutil.copytree(BASE, tmp_path / BY_NAME[system])
        flags = ["--adapter_path", str(tmp_path / BY_NAME[system])]
    said = score(tasks, tmp_path / "out", flags)
    check_scores(tmp_path / "out")
    if system in BY_NAME:
        assert f"{BY_NAME[system]}: design " in said and "licence" in said
        assert (tmp_path / "out" / "results" / f"ours__{BY_NAME[system].replace('/', '_')}").is_dir()


@pytest.mark.slow
@pytest.mark.parametrize("system", ["nv_embed", "kalm", "llm2vec-mistral", "prompteol", *BY_NAME])
def test_without_network_and_without_code_of_the_checkpoint(tasks: Path, tmp_path: Path, system: str) -> None:
    """Each folder gets Python files that would leave a trace, under every name that a config gives to its classes."""
    trace, copies, flags = tmp_path / "ran", tmp_path / "copies", []
    for number, word in enumerate(systems()[system]):
        source = folder_of(word)
        if source is None:
            flags.append(word)
            continue
        folder = copies / str(number) / (word if word in BY_NAME.values() else source.name)
        shutil.copytree(source, folder)
        plant_code(folder, trace)
        flags.append(str(folder))
    if system == "llm2vec-mistral":  # the first adapter's base LLM lies beside it
        shutil.copytree(NEIGHBOURS / "llm2vec" / "mistral" / "base", Path(flags[-1]).parent / "base")
    score(tasks, tmp_path / "out", flags, command=without_network())
    check_scores(tmp_path / "out")
    assert not trace.exists()


def plant_code(folder: Path, trace: Path) -> None:
    """Write Python files that leave a trace when they are imported, and name classes of theirs in the configs."""
    for name in ("modeling_own", "configuration_own", "tokenization_own", "modeling_nvembed", "configuration_nvembed"):
        (folder / f"{name}.py").write_text(f"open({str(trace)!r}, 'w').close()\n")
    config = folder / "config.json"
    if config.is_file():
        content = json.loads(config.read_text())
        content.setdefault("auto_map", {"AutoConfig": "configuration_own.Config", "AutoModel": "modeling_own.Model"})
        config.write_text(json.dumps(content))
    tokenizer = folder / "tokenizer_config.json"
    if tokenizer.is_file():
        content = json.loads(tokenizer.read_text())
        content["auto_map"] = {"AutoTokenizer": ["tokenization_own.Tokenizer", None]}
        tokenizer.write_text(json.dumps(content))
