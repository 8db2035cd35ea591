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
from tests.tiny import ROOT, SHARED

NEIGHBOURS = SHARED / "neighbours"
FIVE = ["TinySTS", "TinyClassification", "TinyClustering", "TinyRetrieval", "TinyReranking"]
FAMILIES = ["llama", "mistral", "qwen2", "gemma"]
RECIPES = ["e5", "qwen3", "gritlm", "echo", "echo_last", "echo_zero_shot", "prompteol", "mean", "last", "weighted_mean"]
BASE = NEIGHBOURS / "recipes" / "base"

pytestmark = pytest.mark.skipif(not NEIGHBOURS.is_dir(), reason="the tiny published checkpoints are not here")


def systems() -> dict[str, list[str]]:
    """The flags of ``run_mteb.py`` for each system."""
    flags = {
        "nv_embed": ["--adapter_path", str(NEIGHBOURS / "nv_embed" / "checkpoint")],
        "kalm": ["--adapter_path", str(NEIGHBOURS / "kalm" / "checkpoint")],
    }
    for family in FAMILIES:
        folder = NEIGHBOURS / "llm2vec" / family
        flags[f"llm2vec-{family}"] = ["--adapter_path", str(folder / "second"), "--base_model", str(folder / "mntp")]
        flags[f"llm2vec-{family}-mntp"] = ["--adapter_path", str(folder / "mntp"), "--base_model", str(folder / "base")]
    for recipe in RECIPES:
        flags[recipe] = ["--recipe", recipe, "--base_model", str(BASE)]
    return flags


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
    score(tasks, tmp_path, systems()[system])
    check_scores(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("system", ["nv_embed", "kalm", "llm2vec-mistral", "prompteol"])
def test_without_network_and_without_code_of_the_checkpoint(tasks: Path, tmp_path: Path, system: str) -> None:
    """Each folder gets Python files that would leave a trace, under every name that a config gives to its classes."""
    alone = ("unshare", "-n") if shutil.which("unshare") and subprocess.run(["unshare", "-n", "true"]).returncode == 0 else ()
    trace, copies, flags = tmp_path / "ran", tmp_path / "copies", []
    for number, word in enumerate(systems()[system]):
        if not Path(word).is_dir():
            flags.append(word)
            continue
        folder = copies / str(number) / Path(word).name
        shutil.copytree(word, folder)
        plant_code(folder, trace)
        flags.append(str(folder))
    if system == "llm2vec-mistral":  # the first adapter's base LLM lies beside it
        shutil.copytree(NEIGHBOURS / "llm2vec" / "mistral" / "base", Path(flags[-1]).parent / "base")
    score(tasks, tmp_path / "out", flags, command=alone)
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
