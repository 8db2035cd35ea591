"""The record of a run lies beside the adapter: it names no home, and starts the run where another home is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trainers.checkpoints.output_dir import check_same_run
from trainers.flags.command_line import parse
from trainers.flags.home import with_home, without_home


def test_a_record_tells_no_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "alice"
    monkeypatch.setenv("HOME", str(home))
    flags = ["--model_name_or_path", f"{home}/base", "--dataset_name", f"{home}/train.jsonl", "--torch_dtype", "float32"]
    config = parse([*flags, "--output_dir", f"{home}/run"], design="model1")
    record = config.record()
    assert "alice" not in json.dumps(record, default=str)
    assert (record["model_name_or_path"], record["dataset_name"], record["output_dir"]) == ("~/base", "~/train.jsonl", "~/run")
    file = tmp_path / "train_config.json"
    file.write_text(json.dumps(record))
    again = parse(["--config", str(file), "--torch_dtype", "float32"], design=None)
    assert again.model.model_name_or_path == f"{home}/base" and again.record() == record
    monkeypatch.setenv("HOME", str(tmp_path / "bob"))  # the same record, on another machine
    assert parse(["--config", str(file)], design=None).data.dataset_name == f"{tmp_path}/bob/train.jsonl"


def test_an_older_record_is_the_same_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    older = {"cache_dir": f"{tmp_path}/cache", "eval_dataset": f"{tmp_path}/held_out.jsonl", "seed": 1}
    check_same_run(older, without_home(older), tmp_path, by_content=False)


def test_only_paths_in_the_home_are_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/al")
    values = {"a": "/home/alice/x", "b": ["/home/al/x", 3], "c": "query: /home/al/x", "d": "/home/al", "e": None}
    assert without_home(values) == {"a": "/home/alice/x", "b": ["~/x", 3], "c": "query: /home/al/x", "d": "~", "e": None}
    assert with_home(without_home(values)) == values
    assert with_home("~name/x") == "~name/x"
    monkeypatch.setenv("HOME", "/")
    assert without_home("/data/x") == "/data/x"
