"""``--push_to_hub``: a run's adapter goes to a hub on this machine, or the run says early why it cannot."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from common.errors import UserError
from model_loaders import load
from tests.model_loaders.push.hub_server import TOKEN, Hub, hub
from tests.tiny import ROOT, new_model, triplets
from trainers.checkpoints.upload import repository_of
from trainers.flags.command_line import parse


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Hub]:
    with hub(tmp_path / "hub") as running:
        yield running


def flags(base: Path, tmp_path: Path, *more: str) -> list[str]:
    rows = [{"query": row["query"], "positive": row["positive"]} for row in triplets(16)]
    (tmp_path / "data.jsonl").write_text("\n".join(map(json.dumps, rows)))
    words = ["--model_name_or_path", str(base), "--dataset_name", str(tmp_path / "data.jsonl"), "--max_steps", "2"]
    words += ["--per_device_train_batch_size", "4", "--max_seq_length", "32", "--use_cpu", "true", "--lora_r", "4"]
    return [*words, "--output_dir", str(tmp_path / "my-model"), *more]


def run(server: Hub, words: list[str], token: str = TOKEN) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"HF_ENDPOINT": server.url, "HF_TOKEN": token, "HF_HUB_OFFLINE": "0", "PYTHONPATH": str(ROOT)}
    environment |= {"HF_HUB_DISABLE_XET": "1", "HF_HOME": str(server.root.parent / "home"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "trainers" / "train.py"), "--design", "causal_mean", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900, cwd=server.root.parent)


@pytest.mark.slow
def test_a_run_sends_its_adapter(base: Path, tmp_path: Path, server: Hub) -> None:
    upload = ["--push_to_hub", "--hub_private_repo", "--hub_base_name", "owner/base", "--hub_licence", "mit"]
    done = run(server, flags(base, tmp_path, *upload))
    assert done.returncode == 0, done.stderr[-3000:]
    assert "/me/my-model/commit/" in done.stdout and "me/my-model" in server.private
    card = (server.root / "me" / "my-model" / "README.md").read_text()
    assert "license: mit" in card and "base_model: owner/base" in card and "learning_rate" in card
    assert str(tmp_path) not in "".join(path.read_text(errors="replace") for path in server.files("me/my-model"))
    sent = load(server.root / "me" / "my-model", base, device="cpu").encode(["word1 word2"])
    assert np.array_equal(sent, load(tmp_path / "my-model", device="cpu").encode(["word1 word2"]))
    assert "hub" not in (tmp_path / "my-model" / "train_config.json").read_text()


@pytest.mark.slow
def test_a_refused_token_stops_a_run_before_it_trains(base: Path, tmp_path: Path, server: Hub) -> None:
    done = run(server, flags(base, tmp_path, "--push_to_hub", "--hub_base_name", "owner/base"), token="bad")
    assert done.returncode == 1 and "refuses the token" in done.stderr and "saved" not in done.stdout


@pytest.mark.slow
def test_an_upload_that_breaks_leaves_the_adapter(base: Path, tmp_path: Path, server: Hub) -> None:
    server.breaks = True
    done = run(server, flags(base, tmp_path, "--push_to_hub", "--hub_base_name", "owner/base"))
    assert done.returncode == 1 and "python -m model_loaders.push" in done.stderr and not server.files("me/my-model")
    assert (tmp_path / "my-model" / "embedder.json").is_file()


def test_flags_of_an_upload(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = {"--hub_model_id does nothing without --push_to_hub": ["--hub_model_id", "me/x"]}
    wrong["hf auth login"] = ["--push_to_hub", "--hub_token", "hf_x"]
    for message, words in wrong.items():
        with pytest.raises(SystemExit):
            parse(flags(base, tmp_path, *words), design="causal_mean")
        assert message in capsys.readouterr().err
    model = new_model("causal_mean", base)
    config = parse(flags(base, tmp_path, "--push_to_hub"), design="causal_mean")
    with pytest.raises(UserError, match="--hub_base_name"):
        repository_of(model, config)
    words = ["--push_to_hub", "--hub_base_name", "o/b", "--hub_model_id", "no name"]
    config = parse(flags(base, tmp_path, *words), design="causal_mean")
    with pytest.raises(UserError, match="no name of a repository"):
        repository_of(model, config)
    assert "hub_model_id" not in config.record() and "push_to_hub" not in config.record()
    assert repository_of(model, parse(flags(base, tmp_path), design="causal_mean")) == ""
