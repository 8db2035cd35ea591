"""An adapter goes to a hub on this machine and comes back; a dry run, refusals and a broken connection leave it as it was."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from common.errors import UserError
from model_loaders import load
from model_loaders.push.__main__ import main
from model_loaders.push.upload import make_repository, name_in_card, send
from model_loaders.saving import save
from model_loaders.text.recipe import Recipe
from tests.comparison.conftest import write_items, write_result
from tests.model_loaders.push.hub_server import TOKEN, Hub, hub
from tests.tiny import ROOT, new_model

RECIPE = Recipe(query_prompt="word1 ", max_length=32)
TEXTS = ["word1 word2", "", "word3"]


@pytest.fixture
def adapter(base: Path, tmp_path: Path) -> Path:
    save(new_model("model3", base, recipe=RECIPE), tmp_path / "adapter")
    config = {"dataset_name": str(tmp_path / "secret" / "mine.jsonl"), "learning_rate": 1e-4, "max_steps": 10}
    (tmp_path / "adapter" / "train_config.json").write_text(json.dumps(config))
    result = {"steps": 10, "tokens": 12345, "train_runtime": 120.0, "device": "GPU", "processes": 2}
    result |= {"data_rows": 1660, "data_content": "abc", "train_loss": 0.5}
    (tmp_path / "adapter" / "train_result.json").write_text(json.dumps(result))
    return tmp_path / "adapter"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Hub]:
    with hub(tmp_path / "hub") as running:
        yield running


@pytest.fixture
def client(server: Hub, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """The hub on this machine, which the client in this process takes for the hub."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.url)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return server


def written(folder: Path, *names: str) -> Path:
    """A folder of files with these names, which hold their own name."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def names_in(server: Hub, name: str) -> list[str]:
    return [path.relative_to(server.root / name).as_posix() for path in server.files(name)]


def card_of(text: str) -> tuple[dict[str, Any], str]:
    """Split a card into its YAML block and its text."""
    _, block, body = text.split("---\n", 2)
    return yaml.safe_load(block), body


def test_a_dry_run_sends_nothing(adapter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = tmp_path / "results" / "ours__model3" / "revision"
    write_result(results, "Task0Retrieval", 0.5)
    (results / "model_meta.json").write_text("{}")
    (results / "recipes").mkdir(exist_ok=True)
    record = {"type": "Retrieval", "main_score": "ndcg_at_10", "dataset": {"path": "mteb/task0"}}
    (results / "recipes" / "Task0Retrieval.json").write_text(json.dumps(record))
    write_items(results, "Task0Retrieval", [{"ndcg_at_10": 0.4}, {"ndcg_at_10": 0.6}])
    flags = ["--dry_run", "--base_name", "owner/base", "--device", "cpu", "--results", str(tmp_path / "results")]
    assert main([str(adapter), "me/model3", *flags, "--licence", "mit"]) == 0
    output = capsys.readouterr().out
    about, body = card_of(output[output.index("---\n") :])
    assert about["license"] == "mit" and about["base_model"] == "owner/base"
    (entry,) = about["model-index"][0]["results"]
    assert entry["metrics"][0]["value"] == 0.5 and entry["dataset"]["type"] == "mteb/task0"
    assert "| Task0Retrieval | default | test | ndcg_at_10 | 0.5000 | [0.3040, 0.6960] over 2 items |" in body
    assert "mine.jsonl" in body and "secret" not in output and str(tmp_path) not in output
    assert ".eval_results/Task0Retrieval.yaml" in output and 'model_loaders.load("me/model3")' in body
    assert (
        "licence: not stated" in body
        and "1,660 rows, content hash `abc`" in body
        and "12,345 tokens, 2 min" in body
        and "on 2 × GPU" in body
    )
    assert "`</s>`" in body and "bibtex" in body
    assert "pooling.safetensors" in output and "train_config" not in output and "nothing was sent" in output


def test_what_cannot_be_sent(adapter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(adapter), "me/model3", "--dry_run", "--device", "cpu"]) == 1
    assert "--base_name" in capsys.readouterr().err
    assert main([str(adapter), "not a name", "--dry_run"]) == 1
    assert "no name of a repository" in capsys.readouterr().err
    assert main([str(tmp_path), "me/x", "--dry_run"]) == 1
    assert "embedder.json" in capsys.readouterr().err
    assert main([str(adapter), "me/model3", "--dry_run", "--results", str(tmp_path / "none")]) == 1
    assert "model_meta.json" in capsys.readouterr().err


def test_a_hub_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr("model_loaders.push.upload.ANSWER_SECONDS", 0.2)
        with pytest.raises(UserError, match=f"{address} broke"):
            make_repository("me/model3", private=True)


def test_files_of_an_earlier_push_are_removed(client: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Else the earlier model is what loads: an adapter beside an export, one file of weights beside the index of several."""
    adapter = written(tmp_path / "adapter", "README.md", "embedder.json", "adapter_config.json", "adapter_model.safetensors")
    written(adapter, "model.safetensors", "pooling.safetensors", ".eval_results/Task.yaml", "tokenizer.json")
    send(adapter, "me/x", private=False)
    own = ("images/plan.png", "notes.md", ".gitattributes", "pooling/notes/old.md", "tokenizer_notes.md")
    written(client.root / "me" / "x", *own)
    client.keep("me/x")
    new = ("README.md", "model.safetensors.index.json", "model-00001-of-00002.safetensors", "tokenizer.json", "modules.json")
    send(written(tmp_path / "export", *new), "me/x", private=False)
    assert names_in(client, "me/x") == sorted((*own, *new))
    assert "removed, of an earlier push: .eval_results/Task.yaml, adapter_config.json" in capsys.readouterr().out
    assert len(client.titles["me/x"]) == 2  # files come and go with one commit


def test_files_of_others_are_not_removed(client: Hub, tmp_path: Path) -> None:
    written(client.root / "me" / "x", "config.json", "model.safetensors", "README.md")
    with pytest.raises(UserError, match=r"config\.json, model\.safetensors.*another name"):
        send(written(tmp_path / "adapter", "embedder.json", "README.md"), "me/x", private=False)
    assert names_in(client, "me/x") == ["README.md", "config.json", "model.safetensors"]
    whole = written(tmp_path / "whole", "config.json", "model.safetensors", "README.md", "modules.json")
    send(whole, "me/x", private=False)  # nothing of the others would stay


def test_a_file_that_somebody_added_after_a_push_is_not_removed(client: Hub, tmp_path: Path) -> None:
    send(written(tmp_path / "adapter", "embedder.json", "README.md"), "me/x", private=False)
    written(client.root / "me" / "x", "onnx/model.onnx")
    client.keep("me/x")
    with pytest.raises(UserError, match=r"holds onnx/model\.onnx, which this toolkit did not send"):
        send(written(tmp_path / "export", "modules.json", "README.md"), "me/x", private=False)
    assert names_in(client, "me/x") == ["README.md", "embedder.json", "onnx/model.onnx"]


def test_what_shall_be_private_is_not_sent_to_a_public_repository(client: Hub, tmp_path: Path) -> None:
    folder = written(tmp_path / "adapter", "embedder.json")
    send(folder, "me/x", private=False)
    for _ in range(2):
        send(folder, "me/y", private=True)
    assert client.private == {"me/y"}
    with pytest.raises(UserError, match="me/x is there already, and public"):
        make_repository("me/x", private=True)


def test_a_name_in_a_card_leaves_longer_words(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text('load("FOLDER_OR_NAME", "FOLDER_OR_NAME_OF_THE_BASE_LLM")')
    name_in_card(tmp_path, r"me/\1")
    assert (tmp_path / "README.md").read_text() == r'load("me/\1", "FOLDER_OR_NAME_OF_THE_BASE_LLM")'


def run_push(server: Hub, *arguments: object, token: str = TOKEN) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "HF_ENDPOINT": server.url,
        "HF_TOKEN": token,
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HOME": str(server.root.parent / "home"),
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "model_loaders.push", *map(str, arguments), "--device", "cpu"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, cwd=server.root.parent)


@pytest.mark.slow
def test_there_and_back(adapter: Path, base: Path, server: Hub) -> None:
    done = run_push(server, adapter, "me/model3", "--base_name", "owner/base", "--private")
    assert done.returncode == 0, done.stderr
    assert "me/model3" in server.private and "/me/model3/commit/" in done.stdout
    names = {path.name for path in server.files("me/model3")}
    assert {"embedder.json", "adapter_model.safetensors", "pooling.safetensors", "README.md", "tokenizer.json"} <= names
    assert "train_config.json" not in names
    again = load(server.root / "me" / "model3", base, device="cpu")
    assert np.abs(again.encode(TEXTS) - load(adapter, device="cpu").encode(TEXTS)).max() <= 1e-6
    script = "import sys, model_loaders; m = model_loaders.load('me/model3', sys.argv[1], device='cpu'); print(m.design_name)"
    environment = os.environ | {"HF_ENDPOINT": server.url, "HF_TOKEN": TOKEN, "HF_HUB_OFFLINE": "0", "PYTHONPATH": str(ROOT)}
    environment |= {"HF_HOME": str(server.root.parent / "home"), "HF_HUB_DISABLE_XET": "1"}
    down = subprocess.run(
        [sys.executable, "-c", script, str(base)], env=environment, capture_output=True, text=True, timeout=600
    )
    assert down.stdout == "model3\n", down.stderr
    again_sent = run_push(server, adapter, "me/model3", "--base_name", "owner/base")
    assert again_sent.returncode == 0, again_sent.stderr


@pytest.mark.slow
def test_an_export_is_sent(adapter: Path, base: Path, server: Hub, tmp_path: Path) -> None:
    """It is what loads, also where an adapter was sent before."""
    save(new_model("causal_mean", base, recipe=RECIPE), tmp_path / "first")
    assert run_push(server, tmp_path / "first", "me/st", "--base_name", "owner/base").returncode == 0
    done = run_push(server, adapter, "me/st", "--format", "sentence-transformers")
    assert done.returncode == 0 and "adapter_config.json" in done.stdout, done.stderr
    again = load(server.root / "me" / "st", device="cpu")
    assert np.abs(again.encode(TEXTS) - load(adapter, device="cpu").encode(TEXTS)).max() <= 5e-6


@pytest.mark.slow
def test_a_token_that_is_refused(adapter: Path, server: Hub) -> None:
    done = run_push(server, adapter, "me/model3", "--base_name", "owner/base", token="bad")
    assert done.returncode == 1 and "refuses the token" in done.stderr and "Traceback" not in done.stderr
    assert not server.files("me/model3")


@pytest.mark.slow
def test_an_upload_that_is_cut_off(adapter: Path, server: Hub) -> None:
    server.breaks = True
    done = run_push(server, adapter, "me/model3", "--base_name", "owner/base")
    assert done.returncode == 1 and "Give the same command again" in done.stderr and "Traceback" not in done.stderr
    assert not server.files("me/model3")
    server.breaks = False
    assert run_push(server, adapter, "me/model3", "--base_name", "owner/base").returncode == 0
